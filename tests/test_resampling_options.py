"""Padding and resampling with any options, valid or not: the right answer by a plain definition, or one sentence; never anything else."""

import re
from math import floor

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import funcnn as fn

NUMPY = {"circular": "wrap"}
JUNK = st.sampled_from(
    [None, True, 1.5, "SAME", (), [], (1, 2), ((1,),), ((1, 2, 3),), ((1, 2), "ab"), {"low": 1}, np.ones(2), -1, float("nan"), float("inf")]
)
PAIRS = st.integers(1, 3).flatmap(lambda rank: st.tuples(*[st.tuples(st.integers(0, 5), st.integers(0, 5))] * rank))
SHAPES = st.lists(st.integers(0, 6), min_size=1, max_size=5).map(tuple)


def mostly(valid):
    """One of ten is something else."""
    return st.integers(0, 9).flatmap(lambda i: valid if i else JUNK)


def for_all(count):
    """A property of `(draw, rng)` for that many examples, and for 20 times as many with the slow tests."""

    def decorate(test):
        @pytest.mark.parametrize("examples", [count, pytest.param(20 * count, marks=pytest.mark.slow)])
        def run(examples):
            settings(max_examples=examples, deadline=None)(given(st.data())(lambda data: test(data.draw, np.random.default_rng(0))))()

        run.__doc__ = test.__doc__
        return run

    return decorate


def answer(make, x, params=()):
    """(the layer, y), or None where one sentence says why there is none."""
    try:
        layer = make()
        return layer, layer.apply(params, (), x)[0]
    except (ValueError, TypeError) as refusal:
        if not re.fullmatch(r"\w+: expected .*, got .*", str(refusal)):
            raise
        return None


def check_adjoint(layer, x, y, rng):
    """The layer is linear: sum(y dy) = sum(x dx)."""
    dy = rng.standard_normal(y.shape)
    _, dx = layer.backward(layer.forward((), (), x)[2], dy)
    assert dx.shape == x.shape
    np.testing.assert_allclose((y * dy).sum(), (x * dx).sum(), atol=1e-10 * max(1, y.size))


def among(value, *allowed):
    return isinstance(value, str) and value in allowed


def whole(value, low=0):
    return type(value) is int and value >= low


def pairs_for(amount, rank):
    """(low, high) for each axis, or None where `amount` says none for so many axes."""
    if whole(amount):
        return ((amount, amount),) * rank
    regular = isinstance(amount, tuple) and all(isinstance(p, tuple) and len(p) == 2 and all(map(whole, p)) for p in amount)
    return amount if regular and len(amount) == rank else None


@for_all(60)
def test_padding_is_that_of_numpy_or_refused(draw, rng):
    x = rng.standard_normal(draw(SHAPES))
    amount, mode = (
        draw(mostly(st.one_of(st.integers(0, 5), PAIRS))),
        draw(mostly(st.sampled_from([*NUMPY, "constant", "reflect", "edge", "symmetric"]))),
    )
    value = draw(mostly(st.sampled_from([0, 0.0, 2.5])))
    sizes, pairs = x.shape[1:-1], pairs_for(amount, x.ndim - 2)
    got = answer(lambda: fn.pad(amount, mode=mode, value=value), x)
    if got:
        widths, options = ((0, 0), *pairs, (0, 0)), {"constant_values": value} if mode == "constant" else {}
        np.testing.assert_array_equal(got[1], np.pad(x, widths, NUMPY.get(mode, mode), **options))
        if value == 0:
            check_adjoint(got[0], x, got[1], rng)
    elif sizes and pairs is not None and among(mode, *NUMPY, "constant", "reflect", "edge", "symmetric") and type(value) in (int, float):
        needed = [0 if mode == "constant" or not max(p) else 1 if mode == "edge" else max(p) + (mode == "reflect") for p in pairs]
        assert any(n < least for n, least in zip(sizes, needed, strict=True)) or (value != 0 and mode != "constant")


@for_all(60)
def test_cropping_is_a_slice_or_refused(draw, rng):
    x, amount = rng.standard_normal(draw(SHAPES)), draw(mostly(st.one_of(st.integers(0, 3), PAIRS)))
    sizes, pairs = x.shape[1:-1], pairs_for(amount, x.ndim - 2)
    got = answer(lambda: fn.crop(amount), x)
    if got:
        kept = [slice(low, n - high) for n, (low, high) in zip(sizes, pairs, strict=True)]
        np.testing.assert_array_equal(got[1], x[:, *kept])
        check_adjoint(got[0], x, got[1], rng)
    elif sizes and pairs is not None:
        assert any(sum(pair) >= n for n, pair in zip(sizes, pairs, strict=True))


def matrix(size, out, factor, method, align_corners):
    """The definition of resampling, a row of weights for each output, by plain loops."""
    m = np.zeros((out, size))
    for p in range(out):
        if out == size:
            m[p, p] = 1
        elif method == "nearest":
            exact = factor is None or factor == int(factor) or out == 2 * size
            m[p, min(p * size // out if exact else floor(np.float32(p * (1 / factor))), size - 1)] = 1
        else:
            step = size / out if factor is None else 1 / factor
            place = p * (size - 1) / max(out - 1, 1) if align_corners else max((p + 0.5) * step - 0.5, 0)
            h = min(int(place), size - 1)
            share = min(place - h, 1)
            m[p, h] += 1 - share
            m[p, min(h + 1, size - 1)] += share
    return m


@for_all(60)
def test_resampling_is_what_is_defined_or_refused(draw, rng):
    x = rng.standard_normal(draw(SHAPES))
    by_factor = draw(st.booleans())
    one = st.one_of(st.integers(1, 4), st.floats(0.05, 4.5), st.sampled_from([1.1, 1.3, 2.3, 1 / 3])) if by_factor else st.integers(1, 25)
    value = draw(mostly(st.one_of(one, st.lists(one, min_size=1, max_size=3).map(tuple))))
    method, corners = draw(mostly(st.sampled_from(["nearest", "linear", "bilinear", "trilinear"]))), draw(mostly(st.booleans()))
    sizes, rank = x.shape[1:-1], x.ndim - 2
    got = answer(lambda: fn.upsample(**{"factor" if by_factor else "size": value}, method=method, align_corners=corners), x)
    each = value if isinstance(value, tuple | list) else (value,) * rank
    if got:
        assert len(each) == rank == {"bilinear": 2, "trilinear": 3}.get(method, rank)
        axes = [(n, int(n * v), float(v)) if by_factor else (n, v, None) for n, v in zip(sizes, each, strict=True)]
        expected = x
        for axis, a in enumerate(axes, 1):
            expected = np.moveaxis(np.tensordot(matrix(*a, method, corners), expected, (1, axis)), 0, axis)
        np.testing.assert_allclose(got[1], expected, atol=1e-12)
        check_adjoint(got[0], x, got[1], rng)
    elif (
        sizes
        and len(each) == rank
        and isinstance(corners, bool)
        and (among(method, "linear") or (among(method, "nearest") and not corners))
    ):
        usual = all(whole(v, 1) or (by_factor and type(v) is float and 0 < v < 5) for v in each)
        assert not usual or any(n < 1 or int(n * v) < 1 for n, v in zip(sizes, each, strict=True))


@for_all(60)
def test_shuffling_is_undone_or_refused(draw, rng):
    spatial = draw(st.lists(st.sampled_from([0, 1, 2, 3, 4, 6]), max_size=3))
    x = rng.standard_normal((draw(st.integers(0, 3)), *spatial, draw(st.sampled_from([1, 4, 8, 9, 16]))))
    factor, order = draw(mostly(st.integers(1, 3))), draw(mostly(st.sampled_from(["CRD", "DCR"])))
    for one, back in ((fn.pixel_shuffle, fn.pixel_unshuffle), (fn.pixel_unshuffle, fn.pixel_shuffle)):
        got = answer(lambda one=one: one(factor, order=order), x)
        if got:
            np.testing.assert_array_equal(back(factor, order=order).apply((), (), got[1])[0], x)
            check_adjoint(got[0], x, got[1], rng)
        elif spatial and whole(factor, 1) and among(order, "CRD", "DCR"):
            channels = x.shape[-1] % factor ** len(spatial)
            assert channels if one is fn.pixel_shuffle else any(n % factor for n in spatial)


@for_all(60)
def test_a_convolution_with_a_mode_is_that_of_padded_rows_or_refused(draw, rng):
    rank = draw(st.integers(1, 2))
    sizes, window, strides, dilations = (tuple(draw(st.integers(1, most)) for _ in range(rank)) for most in (6, 4, 3, 2))
    padding = draw(mostly(st.sampled_from(["REFLECT", "EDGE", "CIRCULAR", "CAUSAL", "reflect", "WRAP"])))
    x, w = rng.standard_normal((2, *sizes, 2)), {"w": rng.standard_normal((*window, 2, 3))}

    def convolution(padding):
        return lambda: fn.conv(3, window, padding=padding, stride=strides, dilation=dilations, bias=False)

    got, rows = answer(convolution(padding), x, w), [(k - 1) * d for k, d in zip(window, dilations, strict=True)]
    modes = {"REFLECT": "reflect", "EDGE": "edge", "CIRCULAR": "wrap", "CAUSAL": "constant"}
    if got and among(padding, *modes):
        widths = ((0, 0), *((r, 0) if padding == "CAUSAL" else (r // 2, r - r // 2) for r in rows), (0, 0))
        expected = answer(convolution("VALID"), np.pad(x, widths, modes[padding]), w)
        np.testing.assert_allclose(got[1], expected[1], atol=1e-12)
        assert got[1].shape[1:-1] == tuple(-(-n // s) for n, s in zip(sizes, strides, strict=True))
    elif among(padding, *modes):
        few = {"REFLECT": [r and r - r // 2 + 1 for r in rows], "CIRCULAR": [r - r // 2 for r in rows]}.get(padding, [0] * rank)
        assert (padding == "CAUSAL" and rank > 1) or any(n < least for n, least in zip(sizes, few, strict=True))
