"""Wrong gradients of pooling beyond plain windows, and right ones."""

from collections.abc import Callable
from typing import Any

import numpy as np

import funcnn as fn
from funcnn.arrays import Array, namespace
from funcnn.checking.mutation import mutants as m
from funcnn.checking.mutation.mutants import Mutant, changed, misled
from funcnn.layer import Layer

IMAGE, ODD = (5, 6, 2), (5, 7, 2)
DILATED, DENSE = (fn.max_pool((3, 3), stride=1, padding=d, dilation=d) for d in (2, 1))
MAX, MEAN = fn.max_pool((2, 2), ceil_mode=True), fn.avg_pool((2, 2), ceil_mode=True)
PADDED, COUNTED = fn.avg_pool((2, 2), padding=((0, 1), (0, 1))), fn.avg_pool((3, 3), stride=2, padding=1, ceil_mode=True)
UNCOUNTED = fn.avg_pool((3, 3), stride=2, padding=1, ceil_mode=True, count_include_pad=False)
NORM, CUBES, SIZES = fn.lp_pool((2, 3)), fn.lp_pool((3, 3), p=3, stride=2), fn.lp_pool((2, 2), p=1)
GLOBAL, ROOT = fn.global_max_pool, fn.global_lp_pool()
BINS, SQUARE = fn.adaptive_avg_pool((3, 4)), fn.adaptive_avg_pool(3)
BEST, SPLIT = fn.adaptive_max_pool((3, 4)), fn.adaptive_max_pool((3, 4), ties="split")


def _instead(right: Layer, gradient: Callable[[Any, Any, Array], Array]) -> Layer:
    return changed(right, "x", m.instead(gradient))


def _counted(right: Layer) -> Layer:
    """Every input's gradient divided by the number of bins that hold it: their mean in place of their sum."""

    def change(dx, residuals, dy):
        held = right.backward((np.zeros((1, *dx.shape[1:])))[:0], np.ones((1, *dy.shape[1:])))[1]  # of a mean: larger where more bins are
        return dx * (held.min() / held).astype(dx.dtype)

    return changed(right, "x", change)


def _to_all_of_the_largest(xp: Any, residuals: Any, dy: Array) -> Array:
    x, y = residuals
    return xp.where(x == y[:, None, None], dy[:, None, None], 0)


def _keeping_both() -> Layer:
    """Global max pooling that keeps x and y, and gives every entry that ties the whole gradient."""

    def forward(params, x):
        y, _ = GLOBAL.apply((), (), x)
        return y, (x, y)

    return fn.stateless("global_max_pool", forward, lambda residuals, dy: ((), _to_all_of_the_largest(namespace(dy), residuals, dy)))


def _last_of_ties() -> Layer:
    def forward(params, x):
        empty, winner = GLOBAL.forward((), (), namespace(x).flip(x, (1, 2)))[2]
        return GLOBAL.apply((), (), x)[0], (empty, x.shape[1] * x.shape[2] - 1 - winner)

    return fn.stateless("global_max_pool", forward, GLOBAL.backward)


def _columns_first() -> Layer:
    """Adaptive max pooling that gives of equal entries the gradient to the first in column-major order."""
    turned = fn.adaptive_max_pool((4, 3))

    def forward(params, x):
        return BEST.apply((), (), x)[0], turned.forward((), (), x.swapaxes(1, 2))[2]

    return fn.stateless("adaptive_max_pool", forward, lambda r, dy: ((), turned.backward(r, dy.swapaxes(1, 2))[1].swapaxes(1, 2)))


def _one_at_zero(xp: Any, residuals: Any, dy: Array) -> Array:
    x, _ = residuals
    return SIZES.backward((xp.where(x == 0, 1, x), residuals[1]), dy)[1]


def _by_the_window() -> Layer:
    """Bins taken for equally large, of ceil(H / P): the share of the smaller ones is too small."""

    def backward(empty, dy):
        h, w = empty.shape[1:3]
        sizes = [-(-(np.arange(1, p + 1) * n) // p) - np.arange(p) * n // p for n, p in ((h, 3), (w, 4))]
        share = sizes[0][:, None] * sizes[1][None] / (sizes[0].max() * sizes[1].max())
        return BINS.backward(empty, dy * namespace(dy).asarray(share[None, :, :, None], dtype=dy.dtype))

    return BINS._replace(backward=backward)


def _change(name: str, right: Layer, in_shape: tuple[int, ...], how: m.Change, words: str = "") -> Mutant:
    return Mutant(name, changed(right, "x", how), right, in_shape, words)


WRONG: tuple[Mutant, ...] = (
    Mutant("max_pool: the dilation forgotten", DILATED._replace(backward=DENSE.backward), DILATED, IMAGE),
    _change("max_pool: what the last window reaches dropped", MAX, ODD, m.where(0.0, slice(None), -1), "last row .*border"),
    Mutant("avg_pool: what lies beyond the end counted", MEAN._replace(backward=PADDED.backward), MEAN, ODD),
    Mutant("avg_pool: the padding not counted", COUNTED._replace(backward=UNCOUNTED.backward), COUNTED, (6, 7, 2)),
    _change("lp_pool: times p", NORM, (4, 6, 2), m.times(2.0), "factor 2"),
    Mutant("lp_pool: the sign missing", misled(NORM, lambda r: (abs(r[0]), r[1])), NORM, (4, 6, 2)),
    Mutant("lp_pool: the power of p = 2 for p = 3", CUBES._replace(backward=fn.lp_pool((3, 3), stride=2).backward), CUBES, ODD),
    Mutant("lp_pool: the gradient 1 at 0", _instead(SIZES, _one_at_zero), SIZES, (4, 6, 2)),
    Mutant("global_max_pool: every tie gets the whole gradient", _keeping_both(), GLOBAL, IMAGE),
    Mutant("global_max_pool: the last of ties", _last_of_ties(), GLOBAL, IMAGE),
    _change(
        "global_max_pool: shared by all positions", GLOBAL, IMAGE, m.instead(lambda xp, r, dy: fn.global_avg_pool.backward(r[0], dy)[1])
    ),
    _change("global_lp_pool: the root of the mean of squares", ROOT, IMAGE, m.times(30**-0.5), "factor 0.18257"),
    Mutant("global_lp_pool: without 1 / y", misled(ROOT, lambda r: (r[0], r[1] * 0 + 1)), ROOT, IMAGE),
    Mutant("adaptive_avg_pool: all bins equally large", _by_the_window(), fn.adaptive_avg_pool((3, 4)), ODD),
    Mutant("adaptive_avg_pool: the mean over the bins of an input", _counted(BINS), BINS, IMAGE),
    _change(
        "adaptive_avg_pool: rows and columns swapped",
        SQUARE,
        (5, 5, 2),
        m.permuted(lambda xp, g: g.swapaxes(1, 2)),
        "row and column are swapped",
    ),
    Mutant("adaptive_max_pool: of ties the first by columns", _columns_first(), BEST, IMAGE),
    Mutant("adaptive_max_pool: always the first row", misled(BEST, lambda r: (r[0], (r[1][0] * 0, r[1][1]))), BEST, IMAGE),
    _change(
        "adaptive_max_pool split: not divided by the number of ties",
        SPLIT,
        IMAGE,
        m.instead(lambda xp, r, dy: BEST.backward(BEST.forward((), (), r[0])[2], dy)[1]),
    ),
)
RIGHT: dict[str, tuple[Layer, tuple[int, ...]]] = {
    "max_pool: dilated": (DILATED, IMAGE),
    "max_pool: beyond the end": (MAX, ODD),
    "max_pool split: dilated": (fn.max_pool((2, 3), dilation=2, stride=1, ties="split"), IMAGE),
    "avg_pool: beyond the end": (MEAN, ODD),
    "avg_pool: dilated": (fn.avg_pool((2, 3), dilation=2, stride=1, padding=1), IMAGE),
    "avg_pool uncounted: beyond the end": (UNCOUNTED, (6, 7, 2)),
    "lp_pool": (NORM, (4, 6, 2)),
    "lp_pool: overlapping": (CUBES, ODD),
    "lp_pool: p=1": (SIZES, (4, 6, 2)),
    "lp_pool: p=1.5": (fn.lp_pool((2, 2), p=1.5, padding=1, ceil_mode=True), (4, 6, 2)),
    "lp_pool p=3": (fn.lp_pool((3,), p=3), (6, 2)),
    "lp_pool p=1": (fn.lp_pool((3,), p=1), (6, 2)),
    "global_max_pool": (GLOBAL, IMAGE),
    "global_lp_pool": (ROOT, IMAGE),
    "global_lp_pool: p=1": (fn.global_lp_pool(p=1), (7, 2)),
    "global_lp_pool: p=5": (fn.global_lp_pool(p=5), IMAGE),
    "adaptive_avg_pool": (BINS, IMAGE),
    "adaptive_avg_pool: more than there are": (fn.adaptive_avg_pool((7, None)), (3, 4, 2)),
    "adaptive_avg_pool: even": (fn.adaptive_avg_pool(2), (4, 6, 2)),
    "adaptive_max_pool": (BEST, IMAGE),
    "adaptive_max_pool: more than there are": (fn.adaptive_max_pool((7, None)), (3, 4, 2)),
    "adaptive_max_pool: even": (fn.adaptive_max_pool(2), (4, 6, 2)),
    "adaptive_max_pool split": (SPLIT, IMAGE),
    "adaptive_max_pool split: more than there are": (fn.adaptive_max_pool((7, None), ties="split"), (3, 4, 2)),
}
