"""All windows as the rows of one matrix, so that the convolution is one large matrix product (Chellapilla et al. 2006)."""

from funcnn.arrays import namespace
from funcnn.convolution.algorithm import ConvAlgorithm, contract, contract_rows, input_gradient
from funcnn.convolution.geometry import offsets, pad, tap


def _columns(x, axes):
    """The windows of x: (N, P, Q, KH * KW, C)."""
    padded, taps = pad(x, axes), offsets(axes)
    columns = namespace(x).concatenate([tap(padded, axes, k) for k in taps], axis=-1)  # (N, P, Q, KH * KW * C)
    return columns.reshape(*columns.shape[:-1], len(taps), x.shape[-1])


def _forward(x, w, geometry):
    """y = columns . w, with the kernel as a (KH * KW * C, O) matrix."""
    return contract(_columns(x, geometry.axes), w.reshape(-1, *w.shape[-2:]), geometry.groups), (x, w)  # (N, P, Q, O)


def _backward(residuals, dy, geometry):
    """dw = columns^T dy;  dx: dy convolved with the flipped kernel. The columns are made anew: they are KH * KW times x."""
    x, w = residuals
    dw = contract_rows(_columns(x, geometry.axes), dy, geometry.groups)  # (KH * KW, C, O)
    return input_gradient(_forward, w, dy, geometry), dw.reshape(w.shape)


im2col = ConvAlgorithm("im2col", _forward, _backward)
