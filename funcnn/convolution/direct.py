"""The definition, one position at a time: slow, readable, and what every other algorithm is compared with."""

from functools import reduce
from itertools import product
from math import prod
from operator import add

from funcnn.arrays import in_float32, namespace
from funcnn.convolution.algorithm import contract, contract_rows, from_passes, swap_channels
from funcnn.convolution.geometry import pad


def _windows(x, axes):
    """The positions (p, q) and what each sees: (N, KH * KW, C)."""
    padded, c = pad(x, axes), x.shape[-1]
    for position in product(*(range(a.out) for a in axes)):
        first = [p * a.stride for p, a in zip(position, axes, strict=True)]
        seen = padded[:, *(slice(f, f + a.reach, a.dilation) for f, a in zip(first, axes, strict=True))]
        yield position, seen.reshape(x.shape[0], prod(a.window for a in axes), c)


def _forward(x, w, geometry):
    """y[n, p, q] = window[n, p, q] . w, summed over taps and channels."""
    kernel = w.reshape(-1, *w.shape[-2:])  # (KH * KW, C, O)
    y = [contract(seen, kernel, geometry.groups) for _, seen in _windows(x, geometry.axes)]
    y = namespace(x, w).stack(y, axis=1)  # (N, P * Q, O)
    return y.reshape(x.shape[0], *(a.out for a in geometry.axes), w.shape[-1])


@in_float32
def _weight_gradient(x, dy, geometry):
    """dw = sum_{p, q} window[p, q]^T dy[p, q]."""
    axes, groups = geometry.axes, geometry.groups
    dw = reduce(add, (contract_rows(seen, dy[:, *position], groups) for position, seen in _windows(x, axes)))  # (KH * KW, C, O)
    return dw.reshape(*(a.window for a in axes), *dw.shape[1:])


@in_float32
def _input_gradient(w, dy, geometry):
    """dx[h] = sum over (k, p) with p * stride + k * dilation - low = h of dy[p] w[k]^T."""
    axes, back = geometry.axes, swap_channels(w, geometry.groups)  # (KH, KW, O, C)

    def hits(axis, h):
        shifted = [(k, h + axis.low - k * axis.dilation) for k in range(axis.window)]
        return [(k, s // axis.stride) for k, s in shifted if s % axis.stride == 0 and 0 <= s < axis.out * axis.stride]

    def dx_at(position):
        pairs = product(*(hits(a, h) for a, h in zip(axes, position, strict=True)))
        parts = [contract(dy[:, *(p for _, p in pair)][:, None], back[tuple(k for k, _ in pair)][None], geometry.groups) for pair in pairs]
        return reduce(add, parts) if parts else namespace(w, dy).zeros_like(dy, shape=(dy.shape[0], back.shape[-1]))  # (N, C)

    dx = namespace(w, dy).stack([dx_at(h) for h in product(*(range(a.size) for a in axes))], axis=1)  # (N, H * W, C)
    return dx.reshape(dy.shape[0], *(a.size for a in axes), dx.shape[-1])


direct = from_passes("direct", _forward, _weight_gradient, input_pass=_input_gradient)
