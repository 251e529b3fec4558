"""All windows as the rows of one matrix, so that the convolution is one large matrix product (Chellapilla et al. 2006)."""

from funcnn.arrays import namespace
from funcnn.convolution.algorithm import ConvAlgorithm, input_gradient
from funcnn.convolution.geometry import offsets, pad, tap


def _columns(x, axes):
    """The windows of x: (N, P, Q, KH * KW * C)."""
    padded = pad(x, axes)
    return namespace(x).concatenate([tap(padded, axes, k) for k in offsets(axes)], axis=-1)


def _forward(x, w, geometry):
    """y = columns . w, with the kernel as a (KH * KW * C, O) matrix."""
    return _columns(x, geometry.axes) @ w.reshape(-1, w.shape[-1]), (x, w)  # (N, P, Q, O)


def _backward(residuals, dy, geometry):
    """dw = columns^T dy;  dx: dy convolved with the flipped kernel. The columns are made anew: they are KH * KW times x."""
    x, w = residuals
    columns = _columns(x, geometry.axes)
    dw = columns.reshape(-1, columns.shape[-1]).T @ dy.reshape(-1, dy.shape[-1])  # (KH * KW * C, O)
    return input_gradient(_forward, w, dy, geometry), dw.reshape(w.shape)


im2col = ConvAlgorithm("im2col", _forward, _backward)
