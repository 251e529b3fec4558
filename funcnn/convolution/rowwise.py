"""Columns within a row, products first across rows: between im2col and kn2row.

    y = sum_kh ((columns of every row) . w[kh]) shifted by -kh

With a KH x KW window this handles KW * C + KH * O numbers per position, im2col KH * KW * C; its weight gradient is one product
of two such arrays, nearly square where im2col's is a narrow one.
"""

from functools import reduce
from math import prod
from operator import add

from funcnn.arrays import Array, namespace
from funcnn.convolution.algorithm import from_passes, in_blocks, sum_in_blocks
from funcnn.convolution.geometry import Axis, Geometry, by_rows, columns, offsets, pad, tap


def forward(x: Array, w: Array, geometry: Geometry) -> Array:
    """y = sum over kh of (columns . w[kh]) at row kh: (N, P, Q, O)."""
    within, across = by_rows(geometry.axes)
    o = w.shape[-1]
    kernel = namespace(x, w).moveaxis(w, 0, -2).reshape(-1, len(w) * o)  # (KW * C, KH * O)

    def run(x: Array) -> Array:
        products = columns(pad(x, geometry.axes), within) @ kernel  # (N, low + H + high, Q, KH * O)
        return reduce(add, (tap(products[..., i * o : (i + 1) * o], across, k) for i, k in enumerate(offsets(across))))

    return in_blocks(run, x, _positions(within) * sum(kernel.shape))


def weight_gradient(x: Array, dy: Array, geometry: Geometry) -> Array:
    """dw[kh] = columns^T (dy moved to the row that kh saw), all kh in one product: (KH, KW, C, O)."""
    within, (rows, *rest) = by_rows(geometry.axes)
    xp, c, o = namespace(x, dy), x.shape[-1], dy.shape[-1]

    def moved(dy: Array, k: int) -> Array:
        """dy (N, P, Q, O) where row k of the window saw x: (N, low + H + high, Q, O)."""
        above = k * rows.dilation
        return pad(dy, [Axis(rows.out, 1, low=above, high=rows.size - rows.out - above), *rest])

    def run(x: Array, dy: Array) -> Array:
        seen = columns(pad(x, geometry.axes), within)  # (N, low + H + high, Q, KW * C)
        given = xp.concatenate([moved(dy, k) for k in range(rows.window)], axis=-1)  # (N, low + H + high, Q, KH * O)
        return seen.reshape(-1, seen.shape[-1]).T @ given.reshape(-1, given.shape[-1])

    sizes = [a.window for a in within[1:]]
    dw = sum_in_blocks(run, _positions(within) * (prod(sizes) * c + rows.window * o), x, dy)  # (KW * C, KH * O)
    return xp.moveaxis(dw.reshape(*sizes, c, rows.window, o), -2, 0)


def _positions(within: tuple[Axis, ...]) -> int:
    return prod(a.out for a in within)


def supports(geometry: Geometry) -> bool:
    """A stride of 1 across rows, one group."""
    return geometry.groups == 1 and geometry.axes[0].stride == 1


rowwise = from_passes("rowwise", forward, weight_gradient, supports)
