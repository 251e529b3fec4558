"""Odd shapes, compiled with all optimisations, against NumPy: some JAX releases compile some of them wrongly, and say nothing.

The laws' own shapes are few, and compilers treat each in its own way: `funcnn/_compatibility.py` tells of 4 rows of 5 numbers.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnn as fn
from funcnn.convolution.geometry import window

ALGORITHMS = [a for a in vars(fn.convolution).values() if isinstance(a, fn.convolution.ConvAlgorithm) and a is not fn.convolution.auto]
WINOGRAD = [fn.convolution.winograd2, fn.convolution.winograd4]
TOLERANCE = {"float64": 1e-12, "float32": 1e-4}


def check(layer, shape, dtype, seed=0):
    """Both passes, jitted apart, against NumPy in float64."""

    def passes(params, x, dy, wrap=lambda f: f):
        y, _, residuals = wrap(layer.forward)(params, state, x)
        return y, wrap(layer.backward)(residuals, dy)

    rng = np.random.default_rng(seed)
    with jax.enable_x64(dtype == "float64"):
        params, state = fn.to_numpy(layer.init(jax.random.key(seed), shape[1:]), dtype)
        x = rng.standard_normal(shape).astype(dtype)
        dy = rng.standard_normal(layer.apply(params, state, x)[0].shape).astype(dtype)
        got = passes(*jax.tree.map(jnp.asarray, (params, x, dy)), wrap=jax.jit)
    expected = passes(*fn.to_numpy((params, x, dy), "float64"))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE[dtype] * max(1, np.abs(b).max()))


def conv(algorithm, features, kernel, **options):
    return fn.conv(features, kernel, algorithm=algorithm, bias=False, **options)


NAMED = {
    **{f"strided {a.name}": (conv(a, 2, (3,), stride=2, padding=1), (1, 8, 5)) for a in (fn.convolution.shifted, fn.convolution.im2col)},
    "winograd2": (conv(fn.convolution.winograd2, 5, (3, 3), padding="VALID"), (1, 6, 7, 5)),
    "joined sums": (fn.parallel(fn.relu, fn.residual(conv(fn.convolution.shifted, 5, (1,))), merge="concatenate"), (3, 4, 5)),
}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("layer", "shape"), NAMED.values(), ids=NAMED.keys())
def test_shapes_that_were_once_wrong(layer, shape, dtype):
    check(layer, shape, dtype)


def drawn(rng):
    """A random layer that convolves or pools, and a shape that it takes."""

    def draw(low, high, count):
        return tuple(map(int, rng.integers(low, high + 1, count)))

    rank, (examples, c, o) = int(rng.integers(1, 3)), (*draw(1, 3, 1), *draw(1, 12, 2))
    shape = (examples, *draw(3, 10, rank), c)
    kind, padding = rng.integers(4), str(rng.choice(["SAME", "VALID", "SAME_LOWER"]))
    if kind == 0:
        pool = rng.choice([fn.max_pool, fn.avg_pool])
        return pool(draw(1, 3, rank), stride=draw(1, 3, rank), padding=padding), shape
    if kind == 1:
        shape = (examples, *draw(3, 12, 2), c)
        return conv(WINOGRAD[rng.integers(2)], o, (3, 3), padding=padding), shape
    kernel, options = draw(1, 3, rank), {"stride": draw(1, 4, rank), "dilation": (1,) * rank, "padding": padding}
    if rng.random() < 0.3:
        options |= {"stride": (1,) * rank, "dilation": draw(1, 2, rank)}
    if any((k - 1) * d + 1 > n for k, d, n in zip(kernel, options["dilation"], shape[1:-1], strict=True)):
        options["padding"] = "SAME"
    geometry = window("conv", kernel, **options).over(shape[1:-1])
    fit = [a for a in ALGORITHMS if a.supports(geometry) and a not in (fn.convolution.direct, *WINOGRAD)]
    return conv(fit[rng.integers(len(fit))], o, kernel, **options), shape


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 50))])
def test_random_odd_shapes(seed, dtype):
    check(*drawn(np.random.default_rng(seed)), dtype, seed)


@pytest.mark.slow
@pytest.mark.parametrize("channels", [3, 5, 6, 7, 9])
@pytest.mark.parametrize("tiles", [3, 4, 5, 8])
def test_odd_rows_of_channels(tiles, channels):
    """The number of tiles, phases and channels that a vector of the compiler's is made of, one by one."""
    for name, stride, size in (("shifted", 2, (2 * tiles,)), ("im2col", 3, (3 * tiles,)), ("winograd2", 1, (6, 2 * tiles))):
        algorithm = getattr(fn.convolution, name)
        check(conv(algorithm, channels, (3,) * len(size), stride=stride, padding=1), (2, *size, channels), "float64")
