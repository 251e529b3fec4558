"""By the convolution theorem: a product for every frequency in place of one for every tap, for large windows.

    y = F^-1 [F x . conj(F w)],    dw = F^-1 [conj(F x)^T . F dy]*

F is the discrete Fourier transform over the spatial axes of the padded input; at every frequency a matrix product sums over
the channels, for dw over the examples. The time does not grow with the window, and errors in float32 stay below 2e-6 of the
largest entry, as those of the plain sums (`tests/test_algorithms.py`). An infinity or a NaN in x reaches its whole image.

Source: Mathieu, Henaff & LeCun 2013, arXiv:1312.5851.
"""

from itertools import count

import numpy as np

from funcnn.arrays import HALVES, Array, namespace
from funcnn.convolution.algorithm import from_passes, in_blocks
from funcnn.convolution.geometry import Geometry, pad


def forward(x: Array, w: Array, geometry: Geometry) -> Array:
    """y = F^-1 [F x . conj(F w)], of which the first P, Q entries are sums that do not wrap around: (N, P, Q, O)."""
    axes, spatial = geometry.axes, len(geometry.axes)
    sizes = _sizes(geometry)
    xp, real = namespace(x, w), not _is_complex(x, w)
    kernel = _transform(_conjugate(w), sizes, real).conj()  # (F, F, C, O)

    def run(x: Array) -> Array:
        seen = _transform(xp.moveaxis(pad(x, axes), 0, spatial), sizes, real)  # (F, F, N, C)
        y = _inverse(seen @ kernel, sizes, real)[tuple(slice(a.out) for a in axes)]  # (P, Q, N, O)
        return xp.moveaxis(y, spatial, 0).astype(xp.result_type(x, w))

    return in_blocks(run, x, 2 * int(np.prod(sizes)) * (x.shape[-1] + w.shape[-1]))


def weight_gradient(x: Array, dy: Array, geometry: Geometry) -> Array:
    """dw = F^-1 [F x^T . conj(F dy)], summed over examples, of which the first KH, KW entries are the taps: (KH, KW, C, O)."""
    axes, spatial, sizes = geometry.axes, len(geometry.axes), _sizes(geometry)
    xp, real = namespace(x, dy), not _is_complex(x, dy)
    seen = _transform(xp.moveaxis(pad(x, axes), 0, spatial), sizes, real)  # (F, F, N, C)
    given = _transform(_conjugate(xp.moveaxis(dy, 0, spatial)), sizes, real).conj()  # (F, F, N, O)
    dw = _inverse(xp.swapaxes(seen, -2, -1) @ given, sizes, real)
    return dw[tuple(slice(a.window) for a in axes)].astype(xp.result_type(x, dy))


def _sizes(geometry: Geometry) -> tuple[int, ...]:
    """The lengths of the transforms: what the padded input needs, up to the next number whose prime factors are 2, 3 and 5."""
    return tuple(next(n for n in count(a.low + a.size + a.high) if 30**n % n == 0) for a in geometry.axes)


def _is_complex(*arrays: Array) -> bool:
    return any(a.dtype.kind == "c" for a in arrays)


def _conjugate(a: Array) -> Array:
    """So that the conjugate of its transform is what is wanted: of real numbers nothing changes."""
    return a.conj() if a.dtype.kind == "c" else a


def _transform(a: Array, sizes: tuple[int, ...], real: bool) -> Array:
    """F a over the first axes, of real numbers half of the frequencies, with zeros added up to `sizes`."""
    fft, spatial = namespace(a).fft, tuple(range(len(sizes)))
    wide = a.astype("float32") if a.dtype in HALVES else a
    return (fft.rfftn if real else fft.fftn)(wide, sizes, spatial)


def _inverse(a: Array, sizes: tuple[int, ...], real: bool) -> Array:
    fft = namespace(a).fft
    return (fft.irfftn if real else fft.ifftn)(a, sizes, tuple(range(len(sizes))))


def _supports(geometry: Geometry) -> bool:
    """Strides and dilations of 1, one group, up to three spatial axes."""
    return geometry.groups == 1 and len(geometry.axes) <= 3 and {(a.stride, a.dilation) for a in geometry.axes} == {(1, 1)}


fft = from_passes("fft", forward, weight_gradient, _supports)
