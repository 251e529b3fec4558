"""Columns within a row, products first across rows: between im2col and kn2row.

    y = sum_kh ((columns of every row) . w[kh]) shifted by -kh

With a KH x KW window this handles KW * C + KH * O numbers per position, im2col KH * KW * C; its weight gradient is one product
of two such arrays, nearly square where im2col's is a narrow one. An infinity or NaN in x reaches the dw of all rows of taps, as
there 0 times it is added.
"""

from math import prod

from funcnn.arrays import Array, matmul, namespace, rounded
from funcnn.convolution.algorithm import from_passes
from funcnn.convolution.geometry import Axis, Geometry, add_taps, by_rows, columns, offsets, pad, untap
from funcnn.cpu import in_blocks, sum_in_blocks


def forward(x: Array, w: Array, geometry: Geometry) -> Array:
    """y = sum over kh of (columns . w[kh]) at row kh: (N, P, Q, O)."""
    within, across = by_rows(geometry.axes)
    o = w.shape[-1]
    kernel = namespace(x, w).moveaxis(w, 0, -2).reshape(-1, len(w) * o)  # (KW * C, KH * O)

    def run(x: Array) -> Array:
        products = matmul(columns(pad(x, geometry.axes), within), kernel, wide=True)  # (N, low + H + high, Q, KH * O)
        return rounded(add_taps(products, across, o), x, w)

    return in_blocks(run, x, _positions(within) * sum(kernel.shape))


def weight_gradient(x: Array, dy: Array, geometry: Geometry) -> Array:
    """dw[kh] = columns^T (dy moved to the row that kh saw), all kh in one product: (KH, KW, C, O)."""
    within, across = by_rows(geometry.axes)
    c, o = x.shape[-1], dy.shape[-1]

    def run(x: Array, dy: Array) -> Array:
        seen = columns(pad(x, geometry.axes), within)  # (N, low + H + high, Q, KW * C)
        given = [untap(dy, across, k) for k in offsets(across)]  # (N, low + H + high, Q, O) each
        given = namespace(x, dy).concatenate(given, axis=-1)  # (N, low + H + high, Q, KH * O)
        return matmul(seen.reshape(-1, seen.shape[-1]).T, given.reshape(-1, given.shape[-1]), wide=True)

    rows, *sizes = (a.window for a in geometry.axes)
    dw = sum_in_blocks(run, _positions(within) * (prod(sizes) * c + rows * o), x, dy)  # (KW * C, KH * O)
    return rounded(namespace(x, dy).moveaxis(dw.reshape(*sizes, c, rows, o), -2, 0), x, dy)


def _positions(within: tuple[Axis, ...]) -> int:
    return prod(a.out for a in within)


def supports(geometry: Geometry) -> bool:
    """A stride of 1 across rows, one group."""
    return geometry.groups == 1 and geometry.axes[0].stride == 1


rowwise = from_passes("rowwise", forward, weight_gradient, supports)
