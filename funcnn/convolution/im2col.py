"""All windows as the rows of one matrix, so that the convolution is one large matrix product (Chellapilla et al. 2006)."""

from math import prod

from funcnn.arrays import Array
from funcnn.convolution.algorithm import contract, contract_rows, from_passes
from funcnn.convolution.geometry import Axis, Geometry, by_rows, columns, pad
from funcnn.cpu import in_blocks


def _columns(x: Array, axes: tuple[Axis, ...]) -> Array:
    """The windows of x: (N, P, Q, KH * KW, C). In two steps: KH + KW slices compile sooner than KH * KW."""
    within, across = by_rows(axes)
    joined = columns(columns(pad(x, axes), within), across)  # (N, P, Q, KH * KW * C)
    return joined.reshape(*joined.shape[:-1], prod(a.window for a in axes), x.shape[-1])


def forward(x: Array, w: Array, geometry: Geometry) -> Array:
    """y = columns . w, with the kernel as a (KH * KW * C, O) matrix: (N, P, Q, O)."""
    kernel = w.reshape(-1, *w.shape[-2:])  # (KH * KW, C / G, O)
    numbers = len(kernel) * x.shape[-1] + w.shape[-1] if len(kernel) > 1 else 0  # a 1x1 window's columns are x itself
    each = prod(a.out for a in geometry.axes) * numbers
    return in_blocks(lambda x: contract(_columns(x, geometry.axes), kernel, geometry.groups), x, each)


def weight_gradient(x: Array, dy: Array, geometry: Geometry) -> Array:
    """dw = columns^T dy: (KH, KW, C / G, O). The columns are made anew: they are KH * KW times x."""
    dw = contract_rows(_columns(x, geometry.axes), dy, geometry.groups)  # (KH * KW, C / G, O)
    return dw.reshape(*(a.window for a in geometry.axes), *dw.shape[1:])


im2col = from_passes("im2col", forward, weight_gradient)
