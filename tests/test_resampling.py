"""Padding, cropping, resampling: PyTorch's geometry bit for bit, Flax's modes, JAX's resizing; and one sentence for what cannot be."""

import re
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnn as fn
from tests.cases.resampling import CASES
from tests.test_laws import both_passes, on_jax, problem
from tests.test_promises import FORBIDDEN, primitives

TORCH = {"edge": "replicate"}
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def drawn(rng):
    """(our layer, PyTorch's on (N, C, ...), the shape of x) of a random geometry."""
    import torch
    from torch.nn import functional as F

    rank = int(rng.integers(1, 4))
    sizes = tuple(map(int, rng.integers(1, 8, rank)))
    shape = (2, *sizes, 2)
    kind = rng.choice(["pad", "crop", "nearest", "linear", "shuffle", "conv"])
    if kind == "pad":
        mode = str(rng.choice(["constant", "reflect", "edge", "circular"]))
        most = [n - (mode == "reflect") if mode in ("reflect", "circular") else 4 for n in sizes]
        widths = tuple((int(rng.integers(0, m + 1)), int(rng.integers(0, m + 1))) for m in most)
        flat = [n for pair in reversed(widths) for n in pair]
        return fn.pad(widths, mode=mode), lambda x: F.pad(x, flat, TORCH.get(mode, mode)), shape
    if kind == "crop":
        widths = tuple((low := int(rng.integers(0, n)), int(rng.integers(0, n - low))) for n in sizes)
        return fn.crop(widths), lambda x: F.pad(x, [-n for pair in reversed(widths) for n in pair]), shape
    if kind in ("nearest", "linear"):
        corners = bool(rng.integers(2)) if kind == "linear" else None
        options = {} if kind == "nearest" else {"align_corners": corners}
        mode, theirs = (kind, kind) if kind == "nearest" else (str(rng.choice(["linear", LINEAR[rank]])), LINEAR[rank])
        if rng.integers(2):
            outs = tuple(map(int, rng.integers(1, 20, rank)))
            return fn.upsample(size=outs, method=mode, **options), lambda x: F.interpolate(x, outs, mode=theirs, **options), shape
        factors = tuple(float(f) for f in rng.choice([0.3, 0.5, 0.75, 1.1, 1.3, 1.5, 1.9, 2, 2.3, 2.5, 3, 10 / 3, 4], rank))
        factors = tuple(max(f, 1 / n) if int(n * f) < 1 else f for f, n in zip(factors, sizes, strict=True))
        if kind == "nearest" and rank != 2:  # where out is H or 2 H by an uneven factor, only over two axes PyTorch agrees with itself
            factors = tuple(f if int(n * f) not in (n, 2 * n) else 3.0 for f, n in zip(factors, sizes, strict=True))
        layer = fn.upsample(factors, method=mode, **options)
        return layer, lambda x: F.interpolate(x, scale_factor=factors, mode=theirs, **options), shape
    if kind == "shuffle":
        f, (h, w) = int(rng.integers(1, 4)), map(int, rng.integers(1, 4, 2))
        if rng.integers(2):
            return fn.pixel_shuffle(f), lambda x: F.pixel_shuffle(x, f), (2, h, w, 2 * f * f)
        return fn.pixel_unshuffle(f), lambda x: F.pixel_unshuffle(x, f), (2, h * f, w * f, 3)
    mode = str(rng.choice(["reflect", "edge", "circular"]))
    window, strides, dilations = (tuple(map(int, rng.integers(1, most, rank))) for most in (4, 4, 3))
    rows = [(k - 1) * d for k, d in zip(window, dilations, strict=True)]
    shape = (2, *(max(n, r + 1) for n, r in zip(sizes, rows, strict=True)), 2)
    flat = [n for r in reversed(rows) for n in (r // 2, r - r // 2)]
    w = rng.standard_normal((*window, 2, 2))
    layer = fn.conv(2, window, stride=strides, dilation=dilations, padding=mode.upper(), bias=False)
    forward, backward = (lambda x: layer.forward({"w": w}, (), x)[0]), layer.backward
    fixed = fn.stateless(
        "conv",
        lambda params, x: (forward(x), layer.forward({"w": w}, (), x)[2]),
        lambda residuals, dy: ((), backward(residuals, dy)[1]),
    )
    theirs = torch.from_numpy(w).movedim((-1, -2), (0, 1))
    convolve = getattr(F, f"conv{rank}d")
    return fixed, lambda x: convolve(F.pad(x, flat, TORCH.get(mode, mode)), theirs, stride=strides, dilation=dilations), shape


@pytest.mark.slow
@pytest.mark.peers
@pytest.mark.parametrize("part", range(4))
def test_a_random_grid_of_geometries_is_pytorch(part):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(part)
    for i in range(150):
        layer, theirs, shape = drawn(rng)
        x = rng.standard_normal(shape)
        given = torch.from_numpy(x).movedim(-1, 1).contiguous().requires_grad_()
        expected = theirs(given)
        y, _, residuals = layer.forward((), (), x)
        dy = rng.standard_normal(y.shape)
        (dx,) = torch.autograd.grad(expected, given, torch.from_numpy(dy).movedim(-1, 1))
        for got, theirs_ in ((y, expected), (layer.backward(residuals, dy)[1], dx)):
            there = theirs_.movedim(1, -1).detach().numpy()
            assert got.shape == there.shape, (i, layer, shape)
            assert np.abs(got - there).max() <= 1e-10 * max(1, np.abs(there).max()), (i, layer, shape)


@pytest.mark.slow
@pytest.mark.peers
def test_the_modes_of_conv_are_those_of_flax():
    """Also where it strides: the rows added are those of stride 1."""
    linen = pytest.importorskip("flax.linen")
    rng = np.random.default_rng(0)
    for mode, sizes, stride, dilation, k in product(("CIRCULAR", "REFLECT", "CAUSAL"), ((6,), (7, 6)), (1, 2, 3), (1, 2), (2, 3, 4)):
        window = (k, 3)[: len(sizes)]
        if mode == "CAUSAL" and len(sizes) > 1:
            continue
        x, w = rng.standard_normal((2, *sizes, 2)).astype("float32"), rng.standard_normal((*window, 2, 3)).astype("float32")
        theirs = linen.Conv(3, window, stride, mode, kernel_dilation=dilation, use_bias=False)
        ours = fn.conv(3, window, stride=stride, dilation=dilation, padding=mode, bias=False)
        with jax.numpy_rank_promotion("allow"):
            expected = theirs.apply({"params": {"kernel": w}}, x)
        np.testing.assert_allclose(ours.apply({"w": w}, (), x)[0], expected, atol=1e-5)


@pytest.mark.usefixtures("x64")
def test_linear_by_a_factor_is_what_jax_resizes_to():
    rng = np.random.default_rng(0)
    for sizes, outs in (((4, 5), (8, 15)), ((3, 7), (5, 9)), ((1, 6), (4, 6))):
        x = rng.standard_normal((2, *sizes, 3))
        expected = jax.image.resize(jnp.asarray(x), (2, *outs, 3), "bilinear")
        np.testing.assert_allclose(fn.upsample(size=outs, method="bilinear").apply((), (), x)[0], expected, atol=1e-12)


@pytest.mark.parametrize("factor", [2, 3, 7, 49])
def test_nearest_by_a_whole_factor_is_repetition(factor):
    x = np.random.default_rng(0).standard_normal((2, 3, 2, 2)).astype("float32")
    for options in ({"factor": factor}, {"factor": float(factor)}, {"size": (3 * factor, 2 * factor)}):
        np.testing.assert_array_equal(fn.upsample(**options).apply((), (), x)[0], x.repeat(factor, 1).repeat(factor, 2))


def test_a_place_that_is_not_seen_gets_no_gradient_and_what_is_broken_stays_where_it_is():
    layer = fn.upsample(size=2)
    x = np.arange(5.0).reshape(1, 5, 1)
    np.testing.assert_array_equal(layer.apply((), (), x)[0][0, :, 0], [0, 2])
    np.testing.assert_array_equal(layer.backward(x[:0], np.ones((1, 2, 1)))[1][0, :, 0], [1, 0, 1, 0, 0])
    x[0, 2] = np.nan
    for wide, seen in ((fn.upsample(2), [4, 5]), (fn.upsample(2, method="linear"), [3, 4, 5, 6])):
        y = wide.apply((), (), x)[0]
        np.testing.assert_array_equal(np.flatnonzero(np.isnan(y)), seen)


def test_shuffling_is_what_its_equation_says_and_unshuffling_its_inverse():
    f, c = 2, 3
    x = np.random.default_rng(0).standard_normal((2, 2, 3, f * f * c))
    for order, channel in (("CRD", lambda i, j, k: (k * f + i) * f + j), ("DCR", lambda i, j, k: (i * f + j) * c + k)):
        y = fn.pixel_shuffle(f, order=order).apply((), (), x)[0]
        for h, w, i, j, k in product(range(2), range(3), range(f), range(f), range(c)):
            np.testing.assert_array_equal(y[:, h * f + i, w * f + j, k], x[:, h, w, channel(i, j, k)])
        np.testing.assert_array_equal(fn.pixel_unshuffle(f, order=order).apply((), (), y)[0], x)


@pytest.mark.parametrize("mode", ["reflect", "edge", "circular"])
def test_a_convolution_with_a_mode_is_that_of_padded_rows(mode):
    """And the gradients of `serial(pad, conv)`, whichever the algorithm."""
    x = np.random.default_rng(0).standard_normal((2, 5, 6, 3))
    for algorithm in (fn.convolution.auto, fn.convolution.shifted, fn.convolution.kn2row, fn.convolution.winograd4):
        one = fn.conv(4, (3, 3), padding=mode.upper(), algorithm=algorithm)
        two = fn.serial(fn.pad(1, mode=mode), fn.conv(4, (3, 3), padding="VALID", algorithm=algorithm))
        params = fn.to_numpy(one.init(jax.random.key(0), (5, 6, 3))[0], "float64")
        got, expected = one.forward(params, (), x), two.forward(((), params), ((), ()), x)
        np.testing.assert_array_equal(got[0], expected[0])
        (grads, dx), ((_, grads_2), dx_2) = (layer.backward(r, got[0]) for layer, r in ((one, got[2]), (two, expected[2])))
        np.testing.assert_array_equal(dx, dx_2)
        assert all((grads[name] == grads_2[name]).all() for name in grads)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.slow])
def test_neither_pass_scatters(name):
    arrays = on_jax(problem(CASES[name]), "float32")
    names = set(primitives(jax.make_jaxpr(both_passes(CASES[name].layer, train=True))(*arrays).jaxpr))
    assert not [n for n in names if FORBIDDEN.search(n)]


def test_an_infinity_is_padded_and_what_float16_cannot_hold_is_refused():
    x = np.zeros((1, 2, 1), "float16")
    np.testing.assert_array_equal(fn.pad(1, value=-np.inf).apply((), (), x)[0][0, :, 0], [-np.inf, 0, 0, -np.inf])
    with pytest.raises(ValueError, match=r"^pad: expected a value that float16 holds, got 100000\.0$"):
        fn.pad(1, value=1e5).apply((), (), x)


MESSAGES = {
    "negative": (lambda: fn.pad(-1), "pad: expected padding in whole numbers of at least 0, got -1; fn.crop takes rows away"),
    "negative in pairs": (lambda: fn.pad(((0, 1), (2, -3))), "got ((0, 1), (2, -3)); fn.crop takes rows away"),
    "one pair for two axes": (
        lambda: run(fn.pad(((0, 1),)), (4, 5, 2)),
        "pad: expected x of shape (N, H, C), got (2, 4, 5, 2)",
    ),
    "as many rows as there are": (
        lambda: run(fn.pad(3, mode="reflect"), (4, 3, 2)),
        "pad: expected at least 4 rows to pad with (3, 3) by mode 'reflect', got 3",
    ),
    "more rows than there are": (
        lambda: run(fn.pad(4, mode="circular"), (3, 2)),
        "pad: expected at least 4 rows to pad with (4, 4) by mode 'circular', got 3",
    ),
    "a mode unknown": (lambda: fn.pad(1, mode="wrap"), 'pad: expected mode "constant", "reflect", "edge", "circular" or'),
    "a value with a mode": (
        lambda: fn.pad(1, mode="edge", value=1),
        "pad: expected a value with mode \"constant\" alone, got 1.0 with 'edge'",
    ),
    "nothing left": (lambda: run(fn.crop(2), (4, 5, 2)), "crop: expected at least one row left along every axis, got x of shape"),
    "no factor": (lambda: fn.upsample(), "upsample: expected a factor or a size, got factor None and size None"),
    "both": (lambda: fn.upsample(2, size=4), "upsample: expected a factor or a size, got factor 2 and size 4"),
    "factor zero": (lambda: fn.upsample(0), "upsample: expected every factor a number above 0, got 0"),
    "no rows": (
        lambda: run(fn.upsample(0.1), (4, 2)),
        "upsample: expected at least one row of x and of y along every axis, got (4,) to (0,)",
    ),
    "corners of the nearest": (lambda: fn.upsample(2, align_corners=True), "upsample: expected align_corners with a linear method, got"),
    "three factors": (lambda: fn.upsample((2, 2, 2), method="bilinear"), "one number per spatial axis, that is 2, got (2, 2, 2)"),
    "bilinear over one axis": (lambda: run(fn.upsample(2, method="bilinear"), (4, 2)), "upsample: expected x of shape (N, H, W, C), got"),
    "channels": (lambda: run(fn.pixel_shuffle(2), (3, 4, 6)), "pixel_shuffle: expected channels in a multiple of 4, got x of shape"),
    "rows": (lambda: run(fn.pixel_unshuffle(2), (3, 4, 6)), "pixel_unshuffle: expected rows in a multiple of 2 along every axis, got x"),
    "order": (lambda: fn.pixel_shuffle(2, order="RCD"), 'pixel_shuffle: expected order "CRD" or "DCR", got \'RCD\''),
    "causal over two": (
        lambda: fn.conv(2, (3, 3), padding="CAUSAL"),
        'conv: expected padding "CAUSAL" over one spatial axis, got it over 2',
    ),
    "conv over too few rows": (
        lambda: run(fn.conv(2, (5, 5), padding="REFLECT", bias=False), (2, 6, 1), {"w": np.ones((5, 5, 1, 2), "float32")}),
        "conv: expected at least 3 rows to pad with (2, 2) by mode 'reflect', got 2",
    ),
    "pooling by a mode": (lambda: fn.max_pool((2, 2), padding="REFLECT"), 'conv alone takes "REFLECT", "EDGE", "CIRCULAR", "CAUSAL" too'),
}


def run(layer, in_shape, params=()):
    return layer.apply(params, (), np.ones((2, *in_shape), "float32"))


@pytest.mark.parametrize(("make", "message"), MESSAGES.values(), ids=MESSAGES.keys())
def test_what_cannot_be_is_named(make, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        make()
    assert message in str(caught.value)
    assert re.match(r"\w+: expected .*, got ", str(caught.value))
