"""Products first, shifts after: one matrix product of the input with every tap's kernel, whose results are shifted and added.

    y = sum_{kh, kw} (x . w[kh, kw]) shifted by (-kh, -kw)

Where O < C this handles KH * KW * O numbers per position, im2col KH * KW * C: it is the input gradient of layers with few inputs.

Source: Anderson, Vasudevan, Keane & Gregg 2017, arXiv:1709.03395.
"""

from math import prod

from funcnn.arrays import Array, matmul, namespace, rounded
from funcnn.convolution.algorithm import from_passes
from funcnn.convolution.geometry import Geometry, add_taps, offsets, pad, untap
from funcnn.cpu import in_blocks


def forward(x: Array, w: Array, geometry: Geometry) -> Array:
    """y = sum over taps k of (x . w[k]) at tap k: (N, P, Q, O)."""
    axes, taps = geometry.axes, offsets(geometry.axes)
    *_, c, o = w.shape
    kernel = w.reshape(-1, c, o).swapaxes(0, 1).reshape(c, len(taps) * o)  # (C, KH * KW * O)

    def run(x: Array) -> Array:
        products = pad(matmul(x, kernel, wide=True), axes)  # 0 where x is: (N, low + H + high, ..., KH * KW * O)
        return rounded(add_taps(products, axes, o), x, w)

    return in_blocks(run, x, prod(x.shape[1:-1]) * (len(taps) + 1) * o)


def weight_gradient(x: Array, dy: Array, geometry: Geometry) -> Array:
    """dw[k] = x^T (dy moved to what tap k saw), all taps in one product: (KH, KW, C, O)."""
    axes, c, o = geometry.axes, x.shape[-1], dy.shape[-1]
    xp = namespace(x, dy)
    seen = xp.concatenate([untap(dy, axes, k) for k in offsets(axes)], axis=-1).reshape(-1, prod(a.window for a in axes) * o)
    dw = matmul(x.reshape(-1, c).T, seen).reshape(c, *(a.window for a in axes), o)
    return xp.moveaxis(dw, 0, -2)


def supports(geometry: Geometry) -> bool:
    """Strides of 1, one group."""
    return geometry.groups == 1 and all(a.stride == 1 for a in geometry.axes)


kn2row = from_passes("kn2row", forward, weight_gradient, supports)
