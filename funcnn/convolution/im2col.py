"""All windows as the rows of one matrix, so that the convolution is one large matrix product (Chellapilla et al. 2006)."""

from math import prod

from funcnn.arrays import Array, namespace
from funcnn.convolution.algorithm import contract, contract_rows, from_passes, in_blocks
from funcnn.convolution.geometry import Axis, Geometry, offsets, pad, tap


def _columns(x: Array, axes: tuple[Axis, ...]) -> Array:
    """The windows of x: (N, P, Q, KH * KW, C)."""
    padded, taps = pad(x, axes), offsets(axes)
    joined = namespace(x).concatenate([tap(padded, axes, k) for k in taps], axis=-1)  # (N, P, Q, KH * KW * C)
    return joined.reshape(*joined.shape[:-1], len(taps), x.shape[-1])


def forward(x: Array, w: Array, geometry: Geometry) -> Array:
    """y = columns . w, with the kernel as a (KH * KW * C, O) matrix: (N, P, Q, O)."""
    kernel = w.reshape(-1, *w.shape[-2:])  # (KH * KW, C / G, O)
    columns = len(kernel) * x.shape[-1] + w.shape[-1] if len(kernel) > 1 else 0  # a 1x1 window's are x itself
    each = prod(a.out for a in geometry.axes) * columns
    return in_blocks(lambda x: contract(_columns(x, geometry.axes), kernel, geometry.groups), x, each)


def weight_gradient(x: Array, dy: Array, geometry: Geometry) -> Array:
    """dw = columns^T dy: (KH, KW, C / G, O). The columns are made anew: they are KH * KW times x."""
    dw = contract_rows(_columns(x, geometry.axes), dy, geometry.groups)  # (KH * KW, C / G, O)
    return dw.reshape(*(a.window for a in geometry.axes), *dw.shape[1:])


im2col = from_passes("im2col", forward, weight_gradient)
