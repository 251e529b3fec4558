"""What a convolution algorithm is: a value, so that one can be swapped for another, compared and timed.

    y[n, p, q, o] = sum_{kh, kw, c} x[n, p * SH + kh * DH - low, q * SW + kw * DW - low, c] w[kh, kw, c, o]

x (N, H, W, C), w (KH, KW, C, O), y (N, P, Q, O); any number of spatial axes.
"""

from typing import NamedTuple, Protocol

from funcnn.arrays import Array, PyTree, namespace
from funcnn.convolution.geometry import Axis, Geometry, adjoint


class ConvForward(Protocol):
    def __call__(self, x: Array, w: Array, geometry: Geometry, /) -> tuple[Array, PyTree]: ...


class ConvBackward(Protocol):
    def __call__(self, residuals: PyTree, dy: Array, geometry: Geometry, /) -> tuple[Array, Array]: ...


class Supports(Protocol):
    def __call__(self, geometry: Geometry, /) -> bool: ...


class ConvAlgorithm(NamedTuple):
    """One way to convolve.

    Attributes:
        name: what messages call it.
        forward: `(x, w, geometry) -> (y, residuals)`; the residuals are a tuple that begins with x and w.
        backward: `(residuals, dy, geometry) -> (dx, dw)`.
        supports: `geometry -> bool`; asking for any other geometry is an error, never a silent fallback.
    """

    name: str
    forward: ConvForward
    backward: ConvBackward
    supports: Supports = lambda geometry: True


def input_gradient(forward: ConvForward, w: Array, dy: Array, geometry: Geometry) -> Array:
    """dx (N, H, W, C) of dy (N, P, Q, O): `forward` itself, run on dy with the kernel flipped and its channels swapped."""
    xp, spatial = namespace(w, dy), tuple(range(len(geometry.axes)))

    def gather(taps: tuple[slice, ...], axes: tuple[Axis, ...]) -> Array:
        flipped = xp.swapaxes(xp.flip(w[taps], spatial), -1, -2)  # (KH, KW, O, C)
        return forward(dy, flipped, Geometry(axes))[0]

    return adjoint(geometry.axes, gather)
