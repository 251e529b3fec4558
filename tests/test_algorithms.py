"""Fast algorithms: how far their rounding goes, what they refuse, and when `auto` takes them."""

import jax
import numpy as np
import pytest

import funcnn as fn
from funcnn import convolution
from funcnn.convolution.geometry import window

FAST = {
    convolution.winograd2: 2e-6,
    convolution.winograd4: 2e-5,
    convolution.kn2row: 2e-6,
    convolution.im2col: 2e-6,
    convolution.shifted: 2e-6,
}
"""The largest error in float32, relative to the largest entry."""


def passes(algorithm, x, w, dy, geometry):
    y, residuals = algorithm.forward(x, w, geometry)
    return y, *algorithm.backward(residuals, dy, geometry)


def problem(n, h, w, c, o, seed=0):
    rng = np.random.default_rng(seed)
    arrays = (rng.standard_normal(s) for s in ((n, h, w, c), (3, 3, c, o), (n, h, w, o)))
    return *arrays, window("conv", (3, 3), 1, 1).over((h, w))


@pytest.mark.parametrize("algorithm", FAST, ids=lambda a: a.name)
@pytest.mark.parametrize("shape", [(3, 13, 14, 8, 16), (2, 14, 14, 64, 32), (1, 7, 8, 256, 96)], ids=str)
def test_errors_in_float32_stay_below_what_is_stated(algorithm, shape):
    *arrays, geometry = problem(*shape)
    exact = passes(convolution.direct, *arrays, geometry)
    low = [a.astype("float32") for a in arrays]
    for got in (passes(algorithm, *low, geometry), jax.jit(lambda *a: passes(algorithm, *a, geometry))(*low)):
        for a, e in zip(got, exact, strict=True):
            assert a.dtype == "float32"
            assert np.abs(a - e).max() <= FAST[algorithm] * np.abs(e).max()


@pytest.mark.parametrize(
    "algorithm", [convolution.im2col, convolution.kn2row, convolution.winograd2, convolution.winograd4], ids=lambda a: a.name
)
def test_blocks_of_images_change_nothing(algorithm, monkeypatch):
    x, w, _, geometry = problem(7, 6, 5, 3, 4)
    whole, _ = algorithm.forward(x, w, geometry)
    monkeypatch.setattr(convolution.algorithm, "BLOCK", 1)
    blocks, _ = algorithm.forward(x, w, geometry)
    np.testing.assert_allclose(blocks, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [(convolution.winograd4, {"stride": 2}), (convolution.winograd2, {"dilation": 2}), (convolution.winograd4, {"groups": 2}),
     (convolution.kn2row, {"stride": 2}), (convolution.kn2row, {"groups": 2})],
)  # fmt: skip
def test_what_an_algorithm_does_not_support_is_refused(algorithm, options):
    layer = fn.conv(4, (3, 3), algorithm=algorithm, **options)
    params, _ = layer.init(jax.random.key(0), (8, 8, 2))
    with pytest.raises(ValueError, match=rf"^conv: algorithm '{algorithm.name}' does not support .*use algorithm=fn.convolution.auto"):
        layer.apply(params, (), np.zeros((1, 8, 8, 2)))


def test_auto_is_winograd_in_float32_and_the_plain_sum_in_float64():
    *arrays, geometry = problem(2, 9, 8, 32, 24)
    low = [a.astype("float32") for a in arrays]
    for given, chosen in ((low, convolution.winograd4), (arrays, None)):
        got = passes(convolution.auto, *given, geometry)
        if chosen:
            for a, b in zip(got, passes(chosen, *given, geometry), strict=True):
                np.testing.assert_array_equal(a, b)
        else:
            for a, b in zip(got, passes(convolution.direct, *given, geometry), strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-13 * np.abs(b).max())
