"""Norms by an example's own statistics: what they are in plain NumPy, far from 0, of a single value; and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import funcnn as fn

KEY = jax.random.key(0)


def both(layer, params, x, dy):
    y, _, residuals = layer.forward(params, (), x)
    return y, *layer.backward(residuals, dy)


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), max_size=3),
    groups=st.integers(1, 3),
    each=st.integers(1, 3),
    axes=st.integers(1, 4),
    scale=st.booleans(),
    shift=st.booleans(),
    epsilon=st.sampled_from([1e-5, 0.3]),
    seed=st.integers(0, 99),
)
def test_any_options_together_are_the_definition_in_plain_numpy(sizes, groups, each, axes, scale, shift, epsilon, seed):
    rng = np.random.default_rng(seed)
    x = 3 + rng.standard_normal((2, *sizes, groups * each))
    options, axes = {"scale": scale, "shift": shift, "epsilon": epsilon}, min(axes, x.ndim - 1)
    shaped = x.reshape(*x.shape[:-1], groups, each)
    positions, last = tuple(range(1, x.ndim - 1)), tuple(range(x.ndim - axes, x.ndim))
    lines = [
        (fn.layer_norm(axes=axes, **options), x.mean(last, keepdims=True), x.var(last, keepdims=True)),
        (fn.rms_norm(axes=axes, scale=scale, epsilon=epsilon), 0 * x, (x * x).mean(last, keepdims=True)),
    ]
    over = (*positions, x.ndim)
    mean, var = (np.broadcast_to(a(over, keepdims=True), shaped.shape).reshape(x.shape) for a in (shaped.mean, shaped.var))
    lines.append((fn.group_norm(groups, **options), mean, var))
    if sizes:
        lines.append((fn.instance_norm(**options), x.mean(positions, keepdims=True), x.var(positions, keepdims=True)))
    for layer, mean, var in lines:
        params = jax.tree.map(lambda a: rng.standard_normal(a.shape), layer.init(KEY, x.shape[1:])[0])
        assert set(params) == {n for n, there in (("scale", scale), ("shift", shift and layer.name != "rms_norm")) if there}
        expected = (x - mean) / np.sqrt(var + epsilon)
        expected = expected * params["scale"] if "scale" in params else expected
        expected = expected + params["shift"] if "shift" in params else expected
        np.testing.assert_allclose(layer.apply(params, (), x)[0], expected, rtol=1e-9, atol=1e-9)


def test_layer_norms_of_the_channels_and_of_the_image_differ_and_flax_has_the_same_defaults():
    flax = pytest.importorskip("flax.linen")
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 6)).astype("float32")
    for ours, theirs in (
        (fn.layer_norm(epsilon=1e-6), flax.LayerNorm()),
        (fn.rms_norm(), flax.RMSNorm()),
        (fn.group_norm(3, epsilon=1e-6), flax.GroupNorm(3)),
        (fn.instance_norm(epsilon=1e-6), flax.InstanceNorm()),
    ):
        params, variables = ours.init(KEY, x.shape[1:])[0], theirs.init(KEY, x)
        assert sorted(a.shape for a in params.values()) == sorted(a.shape for a in jax.tree.leaves(variables))
        np.testing.assert_allclose(ours.apply(params, (), x)[0], theirs.apply(variables, x), atol=2e-5)
    assert not np.allclose(*(fn.layer_norm(axes=n, scale=False, shift=False).apply((), (), x)[0] for n in (1, 3)))


@pytest.mark.parametrize("library", ["NumPy", "JAX"])
@pytest.mark.parametrize("shape", [(2, 56, 56, 8), (2, 8, 8, 3), (8, 64, 4)])
def test_far_from_0_nothing_of_the_spread_is_lost(shape, library):
    """10,000 +- 1 in float32: PyTorch is off by 1e-3 there, and by 1,000 in the group norm of such images."""
    rng = np.random.default_rng(0)
    x, dy = (1e4 + rng.standard_normal(shape)).astype("float32"), rng.standard_normal(shape).astype("float32")
    for layer in (fn.layer_norm(), fn.layer_norm(axes=len(shape) - 1), fn.group_norm(1), fn.instance_norm()):
        params = fn.to_numpy(layer.init(KEY, shape[1:])[0])
        exact = both(layer, *fn.to_numpy((params, x, dy), "float64"))
        got = both(layer, params, x, dy) if library == "NumPy" else jax.jit(lambda *a, layer=layer: both(layer, *a))(params, x, dy)
        np.testing.assert_allclose(got[0], exact[0], atol=1e-5)
        np.testing.assert_allclose(got[2], exact[2], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("value", [1.0, *(pytest.param(value, marks=pytest.mark.slow) for value in (0.0, -1e4, 1e4))])
def test_of_a_single_value_or_equal_ones_the_norm_is_the_shift_and_the_gradient_0(value):
    """Variance 0 is right, not an error; forward, backward and by `jax.grad`."""
    for layer, shape in (
        (fn.layer_norm(), (3, 1)),
        (fn.layer_norm(axes=3), (4, 4, 2)),
        (fn.group_norm(3), (3,)),
        (fn.group_norm(3), (2, 2, 3)),
        (fn.instance_norm(), (1, 1, 3)),
        (fn.instance_norm(), (2, 4, 3)),
    ):
        x = np.full((2, *shape), value, "float32")
        params = jax.tree.map(lambda a: a + 0.5, fn.to_numpy(layer.init(KEY, shape)[0]))
        y, dparams, dx = both(layer, params, x, np.ones_like(x))
        np.testing.assert_array_equal(y, 0.5)
        np.testing.assert_array_equal(dparams["scale"], 0)
        np.testing.assert_allclose(dx, 0, atol=1e-4)
        by_jax = jax.grad(lambda x, layer=layer, params=params: layer.apply(params, (), x)[0].sum())(jnp.asarray(x))
        np.testing.assert_allclose(by_jax, 0, atol=1e-4)
    y, _, dx = both(fn.rms_norm(scale=False), (), np.zeros((2, 3)), np.ones((2, 3)))
    np.testing.assert_array_equal(y, 0)
    np.testing.assert_allclose(dx, 1e3)


def test_local_response_norm_is_its_definition_and_large_numbers_are_fine():
    x = np.random.default_rng(0).standard_normal((2, 3, 7))
    for size in (1, 2, 5, 6, 20):
        window = [slice(max(c - size // 2, 0), c + (size - 1) // 2 + 1) for c in range(7)]
        s = 2 + 0.5 / size * np.stack([(x[..., w] ** 2).sum(-1) for w in window], -1)
        np.testing.assert_allclose(fn.local_response_norm(size, alpha=0.5, beta=0.8, k=2).apply((), (), x)[0], x / s**0.8)
    for dtype in ("float16", "bfloat16", "float32"):
        y, _, dx = both(
            fn.local_response_norm(5, alpha=1.0), (), (1e4 * x).astype(jnp.dtype(dtype)), np.ones_like(x).astype(jnp.dtype(dtype))
        )
        assert y.dtype == dx.dtype == dtype
        assert np.isfinite(y.astype("float64")).all()
        assert np.isfinite(dx.astype("float64")).all()


def test_residuals_are_the_input_and_small_arrays():
    x = np.ones((8, 16, 16, 4), "float32")
    for layer in (fn.layer_norm(), fn.rms_norm(), fn.group_norm(2), fn.instance_norm(), fn.local_response_norm(3)):
        residuals = jax.tree.leaves(layer.forward(fn.to_numpy(layer.init(KEY, x.shape[1:])[0]), (), x)[2])
        assert residuals[0] is x
        assert sum(r.size for r in residuals[1:]) < x.size


BAD = {
    "axes": (lambda: fn.layer_norm(axes=0), "layer_norm: expected axes to be a whole number of at least 1, got 0"),
    "axes in a tuple": (lambda: fn.rms_norm(axes=(1, 2)), "rms_norm: expected axes to be a whole number of at least 1, got (1, 2)"),
    "epsilon": (lambda: fn.group_norm(2, epsilon=0), "group_norm: expected epsilon above 0, got 0"),
    "scale": (lambda: fn.instance_norm(scale="yes"), "instance_norm: expected scale to be True or False, got 'yes'"),
    "shift": (lambda: fn.layer_norm(shift=0), "layer_norm: expected shift to be True or False, got 0"),
    "groups": (lambda: fn.group_norm(2.0), "group_norm: expected groups to be a whole number of at least 1, got 2.0"),
    "channels": (lambda: fn.group_norm(4).init(KEY, (5, 6)), "group_norm: expected channels in a multiple of the 4 groups, got 6"),
    "channels of x": (
        lambda: fn.group_norm(4, scale=False, shift=False).apply((), (), np.ones((2, 6))),
        "group_norm: expected channels in a multiple of the 4 groups, got 6",
    ),
    "too few axes": (lambda: fn.layer_norm(axes=3).init(KEY, (5, 6)), "expected in_shape of shape (..., D0, D1, D2), got (5, 6)"),
    "too few axes of x": (
        lambda: fn.rms_norm(axes=2, scale=False).apply((), (), np.ones((5, 6))),
        "rms_norm: expected x of shape (N, ..., D0, D1), got (5, 6)",
    ),
    "another image": (
        lambda: fn.layer_norm(axes=2).apply(fn.layer_norm(axes=2).init(KEY, (5, 6))[0], (), np.ones((2, 5, 7), "float32")),
        "layer_norm: expected x of shape (N, ..., 5, 6), got (2, 5, 7)",
    ),
    "params of one axis": (
        lambda: fn.layer_norm(axes=2).apply(fn.layer_norm().init(KEY, (6,))[0], (), np.ones((2, 5, 6), "float32")),
        "layer_norm: expected params['scale'] of shape (D0, D1), got (6,)",
    ),
    "params that differ": (
        lambda: fn.layer_norm().apply({"scale": np.ones(6), "shift": np.ones(5)}, (), np.ones((2, 6))),
        "layer_norm: expected params['shift'] of shape (6,), got (5,)",
    ),
    "no space": (lambda: fn.instance_norm().init(KEY, (6,)), "instance_norm: expected examples of shape (H, ..., C), got (6,)"),
    "size": (lambda: fn.local_response_norm(0), "local_response_norm: expected size to be a whole number of at least 1, got 0"),
    "k": (lambda: fn.local_response_norm(5, k=0), "local_response_norm: expected k above 0, got 0"),
    "alpha": (lambda: fn.local_response_norm(5, alpha=-1), "local_response_norm: expected alpha at least 0, got -1"),
    "beta": (lambda: fn.local_response_norm(5, beta="a"), "local_response_norm: expected beta at least 0, got 'a'"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_right_is_named(make, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        make()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
