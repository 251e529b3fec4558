"""The kinds of dropout: what is dropped together, how often, and that a seed means what it always meant."""

import hashlib

import jax
import numpy as np
import pytest

import funcnn as fn

KEY = jax.random.key(0)
ONES = np.ones((4000, 4, 5, 3), "float32")
TOGETHER = {"dropout": (fn.dropout, ()), "spatial_dropout": (fn.spatial_dropout, (1, 2)), "drop_path": (fn.drop_path, (1, 2, 3))}
each_kind = pytest.mark.parametrize(("make", "axes"), TOGETHER.values(), ids=TOGETHER.keys())


@each_kind
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_the_rate_is_dropped_together_and_the_rest_is_divided_by_its_share(make, axes, rate):
    y, _, residuals = make(rate).forward((), (), ONES, key=KEY, train=True)
    together = y.reshape(4000, 4, 5, 3)[tuple(slice(0, 1) if axis in axes else slice(None) for axis in range(4))]
    np.testing.assert_array_equal(y, np.broadcast_to(together, y.shape))
    np.testing.assert_allclose(np.unique(y), [0, 1 / (1 - rate)], rtol=1e-6)
    assert abs((together == 0).mean() - rate) < 5 * (rate * (1 - rate) / together.size) ** 0.5
    assert residuals.mask.shape == together.shape
    assert abs(y.mean() - 1) < 0.1
    np.testing.assert_array_equal(make(rate).backward(residuals, ONES)[1], y)
    assert make(rate).apply((), (), ONES)[0] is ONES


def test_the_masks_of_a_seed_are_those_of_always():
    for rate, shape, digest in ((0.5, (3, 4, 5), "c380487ccf08e56d"), (0.3, (2, 7), "bc6769754804076b")):
        mask = fn.dropout(rate).forward((), (), np.ones(shape, "float32"), key=jax.random.key(7), train=True)[2].mask
        assert hashlib.sha256(np.packbits(mask).tobytes()).hexdigest()[:16] == digest


def test_a_residual_whose_path_is_dropped_is_its_shortcut():
    net = fn.residual(fn.dense(5), fn.drop_path(0.5))
    params, state = net.init(KEY, (5,))
    x = np.random.default_rng(0).standard_normal((64, 5)).astype("float32")
    y = np.asarray(net.apply(params, state, x, key=KEY, train=True)[0])
    kept, whole = (y != x).any(1), np.asarray(fn.dense(5).apply(params[0][0], (), x)[0])
    assert 10 < kept.sum() < 54
    np.testing.assert_allclose(y, x + 2 * whole * kept[:, None], atol=1e-5)


@each_kind
def test_what_cannot_be_is_refused(make, axes):
    name = make.__name__
    for rate in (0, 1, -0.1, 1.5, "0.5", True, np.nan, None):
        with pytest.raises(
            ValueError, match=rf"^{name}: expected rate strictly between 0 and 1, the share dropped \(for none, fn.identity\), got "
        ):
            make(rate)
    with pytest.raises(ValueError, match=rf"^{name}: expected one random key, got none; pass key="):
        make(0.5).apply((), (), ONES, train=True)
    for train in (True, False):
        residuals = make(0.5).forward((), (), ONES, key=KEY, train=train)[2]
        with pytest.raises(ValueError, match=rf"^{name}: expected dy of shape "):
            make(0.5).backward(residuals, ONES[..., :2])


def test_channels_have_places():
    with pytest.raises(ValueError, match=r"^spatial_dropout: expected x of shape \(N, S0, ..., C\), got \(4000, 3\)"):
        fn.spatial_dropout(0.5).apply((), (), ONES[:, 0, 0], train=True, key=KEY)
