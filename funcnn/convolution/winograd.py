"""Winograd's minimal filtering F(m x m, 3 x 3): a tile of m x m outputs from (m + 2)^2 products in place of 9 m^2.

    y = A^T [(G w G^T) * (B^T d B)] A

d is the tile of (m + 2)^2 inputs under m x m outputs: 2.25 times fewer multiplications for m = 2, 4 times for m = 4. The
weight gradient stays in that domain: dw = G^T [(B^T d B) * (A dy A^T)] G, summed over tiles.

Errors in float32 are below 2e-6 of the largest entry for m = 2, as those of the plain sums, and below 2e-5 for m = 4, with
normal inputs of up to 256 channels (`tests/test_algorithms.py`). An infinity or a NaN in x reaches its whole tile.

Source: Lavin & Gray 2016, arXiv:1509.09308; the weight gradient follows from the equation above.

Letters: t = m + 2; TP TQ tiles over the output's rows and columns, T = N * TP * TQ of them in all.
"""

from collections.abc import Iterable
from functools import partial, reduce
from math import ceil
from operator import add

import numpy as np

from funcnn.arrays import Array, namespace
from funcnn.convolution.algorithm import from_passes, in_blocks
from funcnn.convolution.geometry import Axis, Geometry, pad

Matrix = tuple[tuple[float, ...], ...]

MATRICES: dict[int, tuple[Matrix, Matrix, Matrix]] = {
    2: (
        ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
        ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
        ((1, 1, 1, 0), (0, 1, -1, -1)),
    ),
    4: (
        ((4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0), (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1)),
        ((1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6), (1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1)),
        ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
    ),
}
"""B^T (t, t), G (t, 3) and A^T (m, t) for each m."""


def _combine(row: Iterable[float], parts: Iterable[Array]) -> Array:
    """sum_i row[i] parts[i], of the terms that are there."""
    terms = ((c, part) for c, part in zip(row, parts, strict=True) if c)
    return reduce(add, (part if c == 1 else -part if c == -1 else c * part for c, part in terms))


def _tiles(m: int, axes: tuple[Axis, ...]) -> list[int]:
    return [ceil(axis.out / m) for axis in axes]


def _rows(m: int, x: Array, axes: tuple[Axis, ...]) -> list[Array]:
    """What row i of every tile of inputs is: t arrays (N, TP, W, C)."""
    over = [axis._replace(high=n * m + 2 - axis.low - axis.size) for axis, n in zip(axes, _tiles(m, axes), strict=True)]
    padded, last = pad(x, over), m * (_tiles(m, axes)[0] - 1)
    return [padded[:, i : i + last + 1 : m] for i in range(m + 2)]


def _row_of_tiles(i: int, matrix: Matrix, rows: list[Array], m: int, count: int) -> Array:
    """Row i of matrix . tile . matrix^T, for all tiles, `count` in a row: (t, T, C)."""
    whole = _combine(matrix[i], rows)  # (N, TP, W, C)
    columns = [whole[:, :, j : j + m * (count - 1) + 1 : m] for j in range(len(rows))]  # (N, TP, TQ, C) each
    return namespace(whole).stack([_combine(r, columns).reshape(-1, whole.shape[-1]) for r in matrix])


def forward(m: int, x: Array, w: Array, geometry: Geometry) -> Array:
    """y = A^T [(G w G^T) * (B^T d B)] A: (N, P, Q, O)."""
    (bt, g, at), axes, o, xp = MATRICES[m], geometry.axes, w.shape[-1], namespace(x, w)
    (tp, tq), g = _tiles(m, axes), xp.asarray(np.asarray(g), w.dtype)
    u = xp.einsum("ai,bj,ijco->abco", g, g, w)  # (t, t, C, O)

    def run(x: Array) -> Array:
        rows, n = _rows(m, x, axes), len(x)

        def row_of_outputs(i: int) -> Array:
            products = (_row_of_tiles(i, bt, rows, m, tq) @ u[i]).reshape(m + 2, n, tp, tq, o)
            return xp.stack([_combine(r, products) for r in at], axis=3).reshape(n, tp, tq * m, o)

        parts = [row_of_outputs(i) for i in range(m + 2)]
        y = xp.stack([_combine(r, parts) for r in at], axis=2).reshape(n, tp * m, tq * m, o)
        return y[:, : axes[0].out, : axes[1].out]

    return in_blocks(run, x, tp * tq * (m + 2) ** 2 * (x.shape[-1] + o))


def weight_gradient(m: int, x: Array, dy: Array, geometry: Geometry) -> Array:
    """dw = G^T [(B^T d B) * (A dy A^T)] G, summed over tiles: (3, 3, C, O)."""
    (bt, g, at), axes, xp = MATRICES[m], geometry.axes, namespace(x, dy)
    (tp, tq), a, g = _tiles(m, axes), tuple(zip(*at, strict=True)), xp.asarray(np.asarray(g), dy.dtype)
    whole = xp.pad(dy, ((0, 0), (0, tp * m - axes[0].out), (0, tq * m - axes[1].out), (0, 0)))
    seen, given = _rows(m, x, axes), [whole[:, i::m] for i in range(m)]

    def row_of_products(i: int) -> Array:
        v, z = _row_of_tiles(i, bt, seen, m, tq), _row_of_tiles(i, a, given, m, tq)  # (t, T, C), (t, T, O)
        return v.swapaxes(1, 2) @ z  # (t, C, O)

    du = xp.stack([row_of_products(i) for i in range(m + 2)])  # (t, t, C, O)
    return xp.einsum("ai,bj,abco->ijco", g, g, du)


def supports(geometry: Geometry) -> bool:
    """Two spatial axes, windows of 3, strides and dilations of 1, one group."""
    return geometry.groups == 1 and len(geometry.axes) == 2 and all((a.window, a.stride, a.dilation) == (3, 1, 1) for a in geometry.axes)


winograd2, winograd4 = (from_passes(f"winograd{m}", partial(forward, m), partial(weight_gradient, m), supports) for m in MATRICES)
