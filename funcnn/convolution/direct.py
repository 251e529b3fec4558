"""The definition, one position at a time: slow, readable, and what every other algorithm is compared with."""

from functools import reduce
from itertools import product
from math import prod
from operator import add

from funcnn.arrays import namespace
from funcnn.convolution.algorithm import ConvAlgorithm
from funcnn.convolution.geometry import pad


def _windows(x, axes):
    """The positions (p, q) and what each sees: (N, KH * KW * C)."""
    padded, size = pad(x, axes), prod(a.window for a in axes) * x.shape[-1]
    for position in product(*(range(a.out) for a in axes)):
        first = [p * a.stride for p, a in zip(position, axes, strict=True)]
        seen = padded[:, *(slice(f, f + a.reach, a.dilation) for f, a in zip(first, axes, strict=True))]
        yield position, seen.reshape(len(x), size)


def _forward(x, w, geometry):
    """y[n, p, q] = window[n, p, q] . w, with windows and kernel as vectors."""
    kernel = w.reshape(-1, w.shape[-1])  # (KH * KW * C, O)
    y = namespace(x, w).stack([seen @ kernel for _, seen in _windows(x, geometry.axes)], axis=1)  # (N, P * Q, O)
    return y.reshape(len(x), *(a.out for a in geometry.axes), w.shape[-1]), (x, w)


def _backward(residuals, dy, geometry):
    """dw = sum_{p, q} window[p, q]^T dy[p, q];  dx[h] = sum over (k, p) with p * stride + k * dilation - low = h of dy[p] w[k]^T."""
    x, w = residuals
    axes = geometry.axes
    dw = reduce(add, (seen.T @ dy[:, *position] for position, seen in _windows(x, axes)))  # (KH * KW * C, O)

    def hits(axis, h):
        shifted = [(k, h + axis.low - k * axis.dilation) for k in range(axis.window)]
        return [(k, s // axis.stride) for k, s in shifted if s % axis.stride == 0 and 0 <= s < axis.out * axis.stride]

    def dx_at(position):
        pairs = product(*(hits(a, h) for a, h in zip(axes, position, strict=True)))
        parts = [dy[:, *(p for _, p in pair)] @ w[tuple(k for k, _ in pair)].T for pair in pairs]
        return reduce(add, parts) if parts else namespace(x, w, dy).zeros_like(x[:, *position])  # (N, C)

    dx = namespace(x, w, dy).stack([dx_at(h) for h in product(*(range(a.size) for a in axes))], axis=1)  # (N, H * W, C)
    return dx.reshape(x.shape), dw.reshape(w.shape)


direct = ConvAlgorithm("direct", _forward, _backward)
