"""By the convolution theorem: a product for every frequency in place of one for every tap, for large windows.

    y = F^-1 [F x . conj(F w)],    dw = F^-1 [F x^T . conj(F dy)]

F is the discrete Fourier transform over the spatial axes of the padded input; at every frequency a matrix product sums over
the channels, for dw over the examples. The time does not grow with the window, and errors in float32 stay below 2e-6 of the
largest entry, as those of the plain sums (`tests/test_algorithms.py`). An infinity or a NaN in x reaches its whole image.

Source: Mathieu, Henaff & LeCun 2013, arXiv:1312.5851.
"""

from itertools import count
from math import prod
from typing import Any

from funcnn.arrays import Array, in_float32, namespace
from funcnn.convolution.algorithm import from_passes
from funcnn.convolution.geometry import Geometry, pad
from funcnn.cpu import in_blocks


@in_float32
def forward(x: Array, w: Array, geometry: Geometry) -> Array:
    """y = F^-1 [F x . conj(F w)], of which the first P, Q entries are sums that do not wrap around: (N, P, Q, O)."""
    axes, spatial, sizes = geometry.axes, len(geometry.axes), _sizes(geometry)
    xp = namespace(x, w)
    dtype = xp.result_type(x, w)
    kernel = _transform(w.astype(dtype).conj(), sizes).conj()  # (F, F, C, O)

    def run(x: Array) -> Array:
        seen = _transform(xp.moveaxis(pad(x, axes), 0, spatial).astype(dtype), sizes)  # (F, F, N, C)
        y = _inverse(seen @ kernel, sizes, dtype)[tuple(slice(a.out) for a in axes)]  # (P, Q, N, O)
        return xp.moveaxis(y, spatial, 0)

    return in_blocks(run, x, 2 * prod(sizes) * (x.shape[-1] + w.shape[-1]))


@in_float32
def weight_gradient(x: Array, dy: Array, geometry: Geometry) -> Array:
    """dw = F^-1 [F x^T . conj(F dy)], summed over examples, of which the first KH, KW entries are the taps: (KH, KW, C, O)."""
    axes, spatial, sizes = geometry.axes, len(geometry.axes), _sizes(geometry)
    xp = namespace(x, dy)
    dtype = xp.result_type(x, dy)
    seen = _transform(xp.moveaxis(pad(x, axes), 0, spatial).astype(dtype), sizes)  # (F, F, N, C)
    given = _transform(xp.moveaxis(dy, 0, spatial).astype(dtype).conj(), sizes).conj()  # (F, F, N, O)
    dw = _inverse(xp.swapaxes(seen, -2, -1) @ given, sizes, dtype)
    return dw[tuple(slice(a.window) for a in axes)]


def _sizes(geometry: Geometry) -> tuple[int, ...]:
    """The lengths of the transforms: what the padded input needs, up to the next number whose prime factors are 2, 3 and 5."""
    return tuple(next(n for n in count(a.low + a.size + a.high) if 30**n % n == 0) for a in geometry.axes)


def _transform(a: Array, sizes: tuple[int, ...]) -> Array:
    """F a over the first axes, with zeros added up to `sizes`; of real numbers half of the frequencies."""
    library = namespace(a).fft
    return (library.fftn if a.dtype.kind == "c" else library.rfftn)(a, sizes, tuple(range(len(sizes))))


def _inverse(a: Array, sizes: tuple[int, ...], dtype: Any) -> Array:
    library = namespace(a).fft
    return (library.ifftn if dtype.kind == "c" else library.irfftn)(a, sizes, tuple(range(len(sizes))))


def _supports(geometry: Geometry) -> bool:
    """Strides and dilations of 1, one group, up to three spatial axes."""
    return geometry.groups == 1 and len(geometry.axes) <= 3 and {(a.stride, a.dilation) for a in geometry.axes} == {(1, 1)}


fft = from_passes("fft", forward, weight_gradient, _supports)
