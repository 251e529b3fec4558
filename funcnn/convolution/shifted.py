"""A sum of shifted inputs, one per tap: no copy of the input; with one input channel the compiler fuses it into one loop."""

from functools import reduce
from operator import add

from funcnn.arrays import namespace
from funcnn.convolution.algorithm import ConvAlgorithm, input_gradient
from funcnn.convolution.geometry import offsets, pad, tap


def _forward(x, w, geometry):
    """y = sum_{kh, kw} x shifted by (kh, kw) . w[kh, kw]."""
    axes, ones = geometry.axes, (1,) * (x.ndim - 1)
    padded = pad(x, axes)

    def part(k):
        seen = tap(padded, axes, k)  # (N, P, Q, C)
        return seen * w[k].reshape(*ones, -1) if x.shape[-1] == 1 else seen @ w[k]  # (N, P, Q, O)

    return reduce(add, map(part, offsets(axes))), (x, w)


def _backward(residuals, dy, geometry):
    """dw[kh, kw] = (x shifted by (kh, kw))^T dy, summed over positions;  dx: dy convolved with the flipped kernel."""
    x, w = residuals
    xp, axes, (c, o) = namespace(x, dy), geometry.axes, w.shape[-2:]
    padded, columns = pad(x, axes), dy.reshape(-1, o)  # (N * P * Q, O)
    dw = xp.stack([tap(padded, axes, k).reshape(-1, c).T @ columns for k in offsets(axes)])  # (KH * KW, C, O)
    return input_gradient(_forward, w, dy, geometry), dw.reshape(w.shape)


shifted = ConvAlgorithm("shifted", _forward, _backward)
