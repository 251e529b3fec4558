"""Fast algorithms: how far their rounding goes, what they refuse, and when `auto` takes them."""

import importlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnn as fn
from funcnn import convolution, cpu
from funcnn.convolution.auto import frequencies_pay, phases_pay, tile_that_pays
from funcnn.convolution.geometry import window
from funcnn.convolution.winograd import forward as winograd_forward
from funcnn.convolution.winograd import weight_gradient, winograd3

blocks = importlib.import_module("funcnn.convolution.phases")
FAST = {
    (convolution.winograd2, 3): 2e-6,
    (convolution.winograd2, 5): 2e-5,
    (winograd3, 2): 2e-6,
    (convolution.winograd4, 3): 2e-5,
    (convolution.phases, 3): 2e-6,
    (convolution.kn2row, 3): 2e-6,
    (convolution.im2col, 3): 2e-6,
    (convolution.rowwise, 3): 2e-6,
    (convolution.rowwise, 5): 2e-6,
    (convolution.fft, 3): 2e-6,
    (convolution.fft, 5): 2e-6,
    (convolution.shifted, 3): 2e-6,
}
"""Algorithms for windows of a size, and the largest error in float32, relative to the largest entry."""


def passes(algorithm, x, w, dy, geometry):
    y, residuals = algorithm.forward(x, w, geometry)
    return y, *algorithm.backward(residuals, dy, geometry)


def problem(n, h, w, c, o, size=3):
    rng = np.random.default_rng(0)
    geometry = window("conv", (size, size), 1, size // 2).over((h, w))
    arrays = (rng.standard_normal(s) for s in ((n, h, w, c), (size, size, c, o), (n, *(a.out for a in geometry.axes), o)))
    return *arrays, geometry


def check_errors(algorithm, bound, *arrays, geometry):
    exact = passes(convolution.direct, *arrays, geometry)
    low = [a.astype("float32") for a in arrays]
    for got in (passes(algorithm, *low, geometry), jax.jit(lambda *a: passes(algorithm, *a, geometry))(*low)):
        for a, e in zip(got, exact, strict=True):
            assert a.dtype == "float32"
            assert np.abs(a - e).max() <= bound * np.abs(e).max()


@pytest.mark.parametrize("fast", FAST, ids=lambda fast: f"{fast[0].name} {fast[1]}x{fast[1]}")
@pytest.mark.parametrize(
    "shape", [(3, 13, 14, 8, 16), *(pytest.param(s, marks=pytest.mark.slow) for s in ((2, 14, 14, 64, 32), (1, 7, 8, 256, 96)))], ids=str
)
def test_errors_in_float32_stay_below_what_is_stated(fast, shape):
    *arrays, geometry = problem(*shape, fast[1])
    check_errors(fast[0], FAST[fast], *arrays, geometry=geometry)


@pytest.mark.parametrize("name", [pytest.param("winograd4", marks=pytest.mark.slow), "im2col", "rowwise", "shifted"])
def test_parts_that_wait_for_each_other_change_nothing(name, monkeypatch):
    monkeypatch.setattr(cpu, "FEW", 1)
    monkeypatch.setattr(cpu, "BLOCK", 1)
    fast = getattr(convolution, name)
    *arrays, geometry = problem(3, 6, 7, 3, 4)
    check_errors(fast, FAST[fast, 3], *arrays, geometry=geometry)
    x, w, dy = (a.astype("float32") for a in arrays)
    manual = passes(fast, x, w, dy, geometry)[1:]
    auto = jax.jit(lambda x, w: jax.vjp(lambda *a: fast.forward(*a, geometry)[0], x, w)[1](dy))(x, w)
    for a, b in zip(manual, auto, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4)


def test_after_is_x_whatever_comes_first_and_needs_it_compiled(monkeypatch):
    monkeypatch.setattr(cpu, "FEW", 1)
    x = jnp.asarray([[np.nan, -np.inf], [0.0, 2.0]])
    for first in (jnp.asarray([0.0, np.nan]), jnp.asarray([np.inf]), jnp.ones((2, 3))):
        np.testing.assert_array_equal(jax.jit(cpu.after)(first, x)[0], x)
    assert cpu.after(np.ones(3), given := np.ones(2))[0] is given

    def both(a, b):
        first = a @ a
        return first, cpu.after(first, b)[0] @ b

    def program(f):
        return jax.jit(f).lower(jnp.ones((8, 8)), jnp.ones((8, 8))).compile().as_text()

    assert "select" in program(both), "the compiler has seen through the choice that always falls on x"


def test_weight_gradients_in_turn_need_less_memory():
    """As compiled: every row of tiles uses the memory of the one before."""
    x, _, dy, geometry = (a.astype("float32") if isinstance(a, np.ndarray) else a for a in problem(128, 14, 14, 32, 64))

    def megabytes():
        program = jax.jit(lambda x, dy: weight_gradient(4, x, dy, geometry)).lower(x, dy).compile()
        return program.memory_analysis().temp_size_in_bytes / 1e6

    in_turn = megabytes()
    with fn.cpu_tuning(False):
        assert in_turn < 0.9 * megabytes()


@pytest.mark.parametrize(
    "which",
    [convolution.fft, convolution.im2col, convolution.kn2row, convolution.rowwise, convolution.winograd2, convolution.winograd4],
    ids=lambda a: a.name,
)
def test_blocks_of_images_change_nothing(which, monkeypatch):
    x, w, _, geometry = problem(7, 6, 5, 3, 4)
    whole, _ = which.forward(x, w, geometry)
    monkeypatch.setattr(cpu, "BLOCK", 1)
    blocks, _ = which.forward(x, w, geometry)
    np.testing.assert_allclose(blocks, whole, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("which", "options"),
    [(convolution.winograd4, {"stride": 2}), (convolution.winograd2, {"dilation": 2}), (convolution.winograd4, {"groups": 2}),
     (convolution.kn2row, {"stride": 2}), (convolution.kn2row, {"groups": 2}), (convolution.fft, {"stride": 2}),
     (convolution.fft, {"dilation": 2}), (convolution.fft, {"groups": 2}),
     (convolution.rowwise, {"stride": (2, 1)}), (convolution.rowwise, {"groups": 2})],
)  # fmt: skip
def test_what_an_algorithm_does_not_support_is_refused(which, options):
    layer = fn.conv(4, (3, 3), algorithm=which, **options)
    params, _ = layer.init(jax.random.key(0), (8, 8, 2))
    with pytest.raises(ValueError, match=rf"^conv: algorithm '{which.name}' does not support .*use algorithm=fn.convolution.auto"):
        layer.apply(params, (), np.zeros((1, 8, 8, 2)))


@pytest.mark.parametrize(
    ("shape", "dtype", "tile"),
    [((2, 9, 8, 32, 32), "float32", 4), ((2, 9, 8, 32, 32, 5), "float32", 2), ((2, 9, 8, 31, 32), "float32", 0),
     ((2, 9, 8, 31, 32, 5), "float32", 0),
     ((2, 9, 8, 32, 32), "float64", 0), ((2, 9, 8, 32, 32), "bfloat16", 0), ((2, 3, 8, 32, 32), "float32", 0)],
)  # fmt: skip
def test_auto_is_winograd_in_float32_with_enough_channels(shape, dtype, tile):
    *arrays, geometry = problem(*shape)
    with jax.enable_x64(True):
        given = [jnp.asarray(a, dtype) for a in arrays]
        assert tile_that_pays(given[0], *shape[3:5], geometry) == tile
        assert tile_that_pays(np.asarray(given[0]), *shape[3:5], geometry) == 0, "NumPy is faster without"
        got = passes(convolution.auto, *given, geometry)
        if tile:
            chosen = {2: convolution.winograd2, 4: convolution.winograd4}[tile]
            for a, b in zip(got, passes(chosen, *given, geometry), strict=True):
                np.testing.assert_array_equal(a, b)
        elif dtype == "float64":
            for a, b in zip(got, passes(convolution.direct, *given, geometry), strict=True):
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-13 * np.abs(b).max())


@pytest.mark.parametrize(
    ("shape", "dtype", "pays"),
    [((2, 15, 16, 8, 8, 7), "float32", True), ((2, 15, 16, 8, 8, 7), "float64", True), ((2, 15, 16, 8, 8, 7), "bfloat16", False),
     ((2, 15, 16, 1, 8, 7), "float32", False), ((2, 15, 16, 16, 32, 3), "float32", False)],
)  # fmt: skip
def test_auto_is_the_fourier_transform_with_large_windows(shape, dtype, pays):
    *arrays, geometry = problem(*shape)
    given = [a.astype(jnp.dtype(dtype)) for a in arrays]
    assert frequencies_pay(given[0], *shape[3:5], geometry, 49) == pays
    assert not frequencies_pay(given[0], *shape[3:5], window("conv", (7, 7), 1, 0).over((7, 7)), 49), "one product is all there is"
    if pays:
        for a, b in zip(passes(convolution.auto, *given, geometry), passes(convolution.fft, *given, geometry), strict=True):
            np.testing.assert_array_equal(a, b)


FOURIER, TAPS, COLUMNS, ROWS = (3 * (name,) for name in ("fft", "shifted", "im2col", "rowwise"))


@pytest.mark.parametrize(
    ("shape", "compiled", "eager"),
    [((2, 5, 4, 8, 16), ROWS, TAPS), ((2, 5, 4, 4, 55), ("im2col", "kn2row", "im2col"), (*TAPS[:2], "im2col")),
     ((2, 5, 4, 3, 16), ("rowwise", "kn2row", "im2col"), (*TAPS[:2], "im2col")),
     ((2, 5, 4, 1, 8), ("shifted", "kn2row", "im2col"), ("im2col", "shifted", "im2col")),
     ((2, 5, 4, 1, 1), ("shifted", "shifted", "rowwise"), COLUMNS), ((2, 5, 4, 8, 8, 1), COLUMNS, TAPS),
     ((2, 15, 16, 8, 8, 7), (*ROWS[:2], "fft"), FOURIER), ((9, 15, 16, 8, 8, 11), FOURIER, FOURIER)],
)  # fmt: skip
def test_auto_takes_for_each_pass_what_moves_the_fewest_numbers(shape, compiled, eager, monkeypatch):
    """y, dx and dw, by whom `auto` has them made."""
    *arrays, geometry = problem(*shape)
    module, asked = importlib.import_module("funcnn.convolution.auto"), []
    for name in ("fft", "shifted", "im2col", "rowwise", "kn2row"):
        for entry in (f"{name}_forward" if name == "fft" else name, f"{name}_gradient"):
            if hasattr(module, entry):
                monkeypatch.setattr(module, entry, lambda *args, run=getattr(module, entry), name=name: asked.append(name) or run(*args))
    for convert, (y, dx, dw) in ((jnp.asarray, compiled), (np.asarray, eager)):
        asked.clear()
        passes(convolution.auto, *(convert(a.astype("float32")) for a in arrays), geometry)
        assert asked == [y, dw, dx]


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "groups", "pays"),
    [((4, 4), 2, 1, 1, True), ((2, 2), 2, 1, 1, True), ((3, 3), 2, 1, 1, False), ((3, 3), 3, 1, 1, True), ((3, 4), (1, 2), (2, 1), 1, True),
     ((4, 4), 2, 2, 1, False), ((4, 4), 2, 1, 2, False), ((3, 3), 1, 1, 1, False), ((1, 1), 2, 1, 1, False), ((257,), 64, 1, 1, True)],
)  # fmt: skip
def test_auto_goes_over_blocks_where_they_need_few_zeros(kernel, stride, dilation, groups, pays):
    geometry = window("conv", kernel, stride, "SAME", dilation).over((64,) * len(kernel))._replace(groups=groups)
    assert phases_pay(geometry) == pays


@pytest.mark.slow
def test_auto_takes_winograd_over_blocks():
    """Of x and dy as blocks of 2 x 2, with 256 channels: what comes out is bit for bit that of F(3x3, 2x2)."""
    rng = np.random.default_rng(0)
    x, w, dy = (rng.standard_normal(s).astype("float32") for s in ((2, 10, 12, 64), (4, 4, 64, 64), (2, 5, 6, 64)))
    geometry = window("conv", (4, 4), 2, 1).over((10, 12))

    def by_winograd(x, w, dy):
        to, back = (partial(run, 3) for run in (winograd_forward, weight_gradient))
        dx, dw = blocks.input_gradient_by(to, w, dy, geometry), blocks.weight_gradient(back, x, dy, geometry)
        return blocks.forward(to, x, w, geometry), dx, dw

    for a, b in zip(
        passes(convolution.auto, *map(jnp.asarray, (x, w, dy)), geometry), by_winograd(*map(jnp.asarray, (x, w, dy))), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * np.abs(b).max())


def test_long_strided_windows_compile_to_few_operations():
    """A filter bank of 256 taps, which one slice a tap took 22 s to compile."""
    layer = fn.conv_transpose(1, (256,), stride=64, padding=96, bias=False)
    params, x = {"w": jnp.ones((256, 1, 16))}, jnp.ones((2, 20, 16))

    def both(params, x):
        y, _, residuals = layer.forward(params, (), x)
        return y, layer.backward(residuals, y)

    assert jax.jit(both).lower(params, x).as_text().count("stablehlo.slice") < 60


def test_fourier_transforms_keep_the_dtype():
    *arrays, geometry = problem(2, 6, 7, 3, 4)
    for dtype in ("float16", "bfloat16"):
        for convert in (jnp.asarray, np.asarray):
            for a in passes(convolution.fft, *(convert(a, jnp.dtype(dtype)) for a in arrays), geometry):
                assert a.dtype == dtype
