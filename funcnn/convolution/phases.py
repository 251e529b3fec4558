"""A strided convolution as one of stride 1 over blocks of S inputs (S^2, S^3): the phases of a block are channels (Bellanger et al. 1976).

    x[m * S + r]  ->  channel (r, c) of block m,        w[j * S + r]  ->  w'[j] for channel (r, c)

    y[p] = sum_k x[p * S + k - low] w[k] = sum_j x'[p + j] w'[j]

Nothing is strided any more: a window of KH taps becomes one of ceil(KH / S), whose columns are long rows in memory, and dx is one
product whose channels are put side by side, a pixel shuffle, in place of one problem for each remainder. Where S does not divide KH
the kernel gets zeros, up to the next multiple; an infinity or NaN in x then reaches all windows whose blocks hold it.

Source: Bellanger, Bonnerot & Coudreuse 1976, "Digital filtering by polyphase network"; the shuffle: Shi et al. 2016, arXiv:1609.05158.
"""

from collections.abc import Sequence
from functools import partial
from math import ceil, prod

from funcnn.arrays import Array, namespace
from funcnn.convolution.algorithm import Pass, from_passes, input_gradient
from funcnn.convolution.geometry import Axis, Geometry, pad
from funcnn.convolution.im2col import forward as im2col
from funcnn.convolution.im2col import weight_gradient as im2col_gradient


def forward(inner: Pass, x: Array, w: Array, geometry: Geometry) -> Array:
    """y[p] = sum_j x'[p + j] w'[j], by a pass of stride 1: (N, P, Q, O)."""
    return inner(_phases(x, geometry.axes), _blocks(w, geometry.axes), _over_blocks(geometry))


def input_gradient_by(inner: Pass, w: Array, dy: Array, geometry: Geometry) -> Array:
    """dx'[m] = sum_j dy[m - j] w'[j]^T, whose channels (r, c) are the inputs m * S + r: (N, H, W, C)."""
    axes = geometry.axes
    dx = input_gradient(inner, _blocks(w, axes), dy, _over_blocks(geometry))  # (N, M0, M1, S S C)
    rows = _merged(dx, [a.stride for a in axes], 1)  # (N, M0 * S, M1 * S, C), from row -low on
    cut = [_cut(a, size) for a, size in zip(axes, rows.shape[1:-1], strict=True)]
    return pad(rows, cut)


def weight_gradient(inner: Pass, x: Array, dy: Array, geometry: Geometry) -> Array:
    """dw'[j] = sum_p x'[p + j]^T dy[p], whose channels (r, c) are the taps j * S + r: (KH, KW, C, O)."""
    axes = geometry.axes
    dw = inner(_phases(x, axes), dy, _over_blocks(geometry))  # (J0, J1, S S C, O)
    taps = _merged(dw, [a.stride for a in axes], 0)  # (J0 * S, J1 * S, C, O)
    return taps[tuple(slice(a.window) for a in axes)]


def _cut(axis: Axis, size: int) -> Axis:
    """What takes the padding from `size` rows; windows that do not reach the last inputs leave zeros there."""
    if axis.stride == 1:
        return Axis(size, 1)
    return Axis(size, 1, low=-axis.low, high=axis.low + axis.size - size)


def _taps(axis: Axis) -> int:
    """J, the blocks that a window holds."""
    return ceil(axis.window / axis.stride)


def _over_blocks(geometry: Geometry) -> Geometry:
    """The geometry of stride 1; axes that had this stride keep their padding and dilation."""
    axes = (a if a.stride == 1 else Axis(a.out + _taps(a) - 1, _taps(a)) for a in geometry.axes)
    return Geometry(tuple(axes))


def _phases(x: Array, axes: Sequence[Axis]) -> Array:
    """x', blocks of the padded x: (N, M0, M1, S S C)."""
    whole = [Axis(a.size, 1) if a.stride == 1 else a._replace(high=(a.out + _taps(a) - 1) * a.stride - a.low - a.size) for a in axes]
    return _split(pad(x, whole), [a.stride for a in axes], 1)


def _blocks(w: Array, axes: Sequence[Axis]) -> Array:
    """w', the kernel with zeros up to whole blocks: (J0, J1, S S C, O)."""
    more = [(0, _taps(a) * a.stride - a.window) for a in axes]
    return _split(namespace(w).pad(w, [*more, (0, 0), (0, 0)]) if any(map(any, more)) else w, [a.stride for a in axes], 0)


def _split(a: Array, strides: Sequence[int], first: int) -> Array:
    """(..., M0 * S, M1 * S, C, ...) with the spatial axes from `first` on as (..., M0, M1, S S C, ...)."""
    n, shape = len(strides), a.shape
    last = first + n
    pairs = [size for m, s in zip(shape[first:last], strides, strict=True) for size in (m // s, s)]
    apart = a.reshape(*shape[:first], *pairs, *shape[last:])  # (..., M0, S, M1, S, C, ...)
    moved = namespace(a).moveaxis(apart, range(first + 1, first + 2 * n, 2), range(last, last + n))  # (..., M0, M1, S, S, C, ...)
    return moved.reshape(*moved.shape[:last], prod(strides) * shape[last], *shape[last + 1 :])


def _merged(a: Array, strides: Sequence[int], first: int) -> Array:
    """The inverse of `_split`."""
    n, shape = len(strides), a.shape
    last = first + n
    apart = a.reshape(*shape[:last], *strides, shape[last] // prod(strides), *shape[last + 1 :])  # (..., M0, M1, S, S, C, ...)
    moved = namespace(a).moveaxis(apart, range(last, last + n), range(first + 1, first + 2 * n, 2))  # (..., M0, S, M1, S, C, ...)
    sizes = [m * s for m, s in zip(shape[first:last], strides, strict=True)]
    return moved.reshape(*shape[:first], *sizes, *moved.shape[first + 2 * n :])


def supports(geometry: Geometry) -> bool:
    """One group; no dilation along strided axes."""
    return geometry.groups == 1 and all(a.stride == 1 or a.dilation == 1 for a in geometry.axes)


def zeros_added(geometry: Geometry) -> float:
    """How many times as many taps the blocks of a kernel have as the kernel."""
    return prod(_taps(a) * a.stride for a in geometry.axes) / prod(a.window for a in geometry.axes)


phases = from_passes(
    "phases", partial(forward, im2col), partial(weight_gradient, im2col_gradient), supports, partial(input_gradient_by, im2col)
)
