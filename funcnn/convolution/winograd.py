"""Winograd's minimal filtering F(m x m, r x r): a tile of m x m outputs from t^2 products in place of (m r)^2, t = m + r - 1.

    y = A^T [(G w G^T) * (B^T d B)] A

d is the tile of t x t inputs under m x m outputs. F(2x2, 3x3) and F(3x3, 2x2) do with 2.25 times fewer multiplications,
F(4x4, 3x3) with 4 times and F(2x2, 5x5) with 2.8 times fewer. The weight gradient stays in that domain: dw = G^T [(B^T d B) *
(A dy A^T)] G, summed over tiles.

Errors in float32 are below 2e-6 of the largest entry for F(2x2, 3x3) and F(3x3, 2x2), as those of the plain sums, and below 2e-5
for the others, with normal inputs of up to 256 channels (`tests/test_algorithms.py`). An infinity or a NaN in x reaches its whole tile.

Source: Lavin & Gray 2016, arXiv:1509.09308; the weight gradient follows from the equation above.

Letters: TP TQ tiles over the output's rows and columns, T = N * TP * TQ of them in all.
"""

from collections.abc import Iterable
from functools import partial, reduce
from math import ceil
from operator import add

import numpy as np

from funcnn.arrays import Array, in_float32, namespace
from funcnn.convolution.algorithm import from_passes
from funcnn.convolution.geometry import Axis, Geometry, pad
from funcnn.cpu import in_blocks, mapped, sum_in_blocks

Matrix = tuple[tuple[float, ...], ...]

TRANSFORMS: dict[int, tuple[Matrix, tuple[float, ...], tuple[float, ...]]] = {
    4: (((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, -1, 0, 1)), (1, 1 / 2, 1 / 2), (0, 1, -1)),
    6: (
        ((4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0), (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1)),
        (1 / 4, -1 / 6, -1 / 6, 1 / 24, 1 / 24),
        (0, 1, -1, 2, -2),
    ),
}
"""For each t: B^T (t, t); the scales of G's rows; the points where polynomials are evaluated, beside infinity."""


def _powers(scales: Iterable[float], points: Iterable[float], count: int) -> Matrix:
    """Rows scale (1, p, p^2, ...) for each point p, and (0, ..., 0, 1) for infinity: (t, count)."""
    return (*(tuple(s * p**k for k in range(count)) for s, p in zip(scales, points, strict=True)), (0.0,) * (count - 1) + (1.0,))


def matrices(m: int, r: int) -> tuple[Matrix, Matrix, Matrix]:
    """B^T (t, t), G (t, r) and A (t, m)."""
    bt, scales, points = TRANSFORMS[m + r - 1]
    return bt, _powers(scales, points, r), _powers((1,) * len(points), points, m)


def _combine(row: Iterable[float], parts: Iterable[Array]) -> Array:
    """sum_i row[i] parts[i], of the terms that are there."""
    terms = ((c, part) for c, part in zip(row, parts, strict=True) if c)
    return reduce(add, (part if c == 1 else -part if c == -1 else c * part for c, part in terms))


def _tiles(m: int, axes: tuple[Axis, ...]) -> list[int]:
    return [ceil(axis.out / m) for axis in axes]


def _rows(m: int, x: Array, axes: tuple[Axis, ...]) -> list[Array]:
    """What row i of every tile of inputs is: t arrays (N, TP, W, C)."""
    over = [a._replace(high=n * m + a.window - 1 - a.low - a.size) for a, n in zip(axes, _tiles(m, axes), strict=True)]
    padded, last = pad(x, over), m * (_tiles(m, axes)[0] - 1)
    return [padded[:, i : i + last + 1 : m] for i in range(m + axes[0].window - 1)]


def _row_of_tiles(whole: Array, matrix: Matrix, m: int, count: int) -> Array:
    """A row (N, TP, W, C) of matrix . tile, times matrix^T, for all tiles, `count` in a row: (t, T, C)."""
    columns = [whole[:, :, j : j + m * (count - 1) + 1 : m] for j in range(len(matrix[0]))]  # (N, TP, TQ, C) each
    return namespace(whole).stack([_combine(row, columns).reshape(-1, whole.shape[-1]) for row in matrix])


@in_float32
def forward(m: int, x: Array, w: Array, geometry: Geometry) -> Array:
    """y = A^T [(G w G^T) * (B^T d B)] A: (N, P, Q, O)."""
    axes, o, xp = geometry.axes, w.shape[-1], namespace(x, w)
    (bt, g, a), (tp, tq) = matrices(m, axes[0].window), _tiles(m, axes)
    at, gg = tuple(zip(*a, strict=True)), xp.asarray(np.kron(g, g), w.dtype)  # (t t, r r)
    u = (gg @ w.reshape(gg.shape[1], -1)).reshape(len(bt), len(bt), *w.shape[2:])  # (t, t, C, O)
    each = tp * tq * len(bt) * (x.shape[-1] + 2 * o)  # a row of tiles at a time, and its outputs
    by_row = partial(mapped, numbers=x.shape[0] * each)

    def run(x: Array) -> Array:
        rows, n = _rows(m, x, axes), x.shape[0]

        def row_of_outputs(whole: Array, u: Array) -> Array:
            products = (_row_of_tiles(whole, bt, m, tq) @ u).reshape(len(bt), n, tp, tq, o)
            return xp.stack([_combine(row, products) for row in at], axis=3).reshape(n, tp, tq * m, o)

        wholes = xp.stack([_combine(row, rows) for row in bt])  # (t, N, TP, W, C)
        parts = by_row(row_of_outputs, wholes, u)
        y = xp.stack([_combine(row, parts) for row in at], axis=2).reshape(n, tp * m, tq * m, o)
        return y[:, : axes[0].out, : axes[1].out]

    return in_blocks(run, x, each)


@in_float32
def weight_gradient(m: int, x: Array, dy: Array, geometry: Geometry) -> Array:
    """dw = G^T [(B^T d B) * (A dy A^T)] G, summed over tiles: (KH, KW, C, O)."""
    axes, o, xp = geometry.axes, dy.shape[-1], namespace(x, dy)
    (bt, g, a), (tp, tq) = matrices(m, axes[0].window), _tiles(m, axes)
    gg = xp.asarray(np.kron(g, g), dy.dtype)  # (t t, r r)
    each = tp * tq * len(bt) * (x.shape[-1] + 2 * o)
    by_row = partial(mapped, numbers=x.shape[0] * each)

    def row_of_products(seen: Array, given: Array) -> Array:
        v, z = _row_of_tiles(seen, bt, m, tq), _row_of_tiles(given, a, m, tq)  # (t, T, C), (t, T, O)
        return v.swapaxes(1, 2) @ z  # (t, C, O)

    def run(x: Array, dy: Array) -> Array:
        whole = xp.pad(dy, ((0, 0), (0, tp * m - axes[0].out), (0, tq * m - axes[1].out), (0, 0)))
        seen, given = _rows(m, x, axes), [whole[:, i::m] for i in range(m)]
        first, second = (xp.stack([_combine(row, rows) for row in matrix]) for matrix, rows in ((bt, seen), (a, given)))
        return by_row(row_of_products, first, second)  # (t, t, C, O)

    du = sum_in_blocks(run, each, x, dy)
    return (gg.T @ du.reshape(len(gg), -1)).reshape(*(axis.window for axis in axes), *du.shape[2:])


def _supports(windows: tuple[int, ...], geometry: Geometry) -> bool:
    """Two spatial axes, square windows of such a size, strides and dilations of 1, one group."""
    kinds = {(a.window, a.stride, a.dilation) for a in geometry.axes}
    return geometry.groups == 1 and len(geometry.axes) == 2 and kinds in [{(r, 1, 1)} for r in windows]


winograd2 = from_passes("winograd2", partial(forward, 2), partial(weight_gradient, 2), partial(_supports, (3, 5)))
winograd3 = from_passes("winograd3", partial(forward, 3), partial(weight_gradient, 3), partial(_supports, (2,)))
winograd4 = from_passes("winograd4", partial(forward, 4), partial(weight_gradient, 4), partial(_supports, (3,)))
