"""What a convolution algorithm is: a value, so that one can be swapped for another, compared and timed.

    y[n, p, q, o] = sum_{kh, kw, c} x[n, p * SH + kh * DH - low, q * SW + kw * DW - low, c] w[kh, kw, c, o]

x (N, H, W, C), w (KH, KW, C, O), y (N, P, Q, O); any number of spatial axes. With G groups the sum over c is over the
C / G channels of o's own group, and w is (KH, KW, C / G, O).
"""

from functools import partial
from math import prod
from typing import NamedTuple, Protocol

from funcnn.arrays import Array, PyTree, einsum, matmul, namespace
from funcnn.convolution.geometry import Axis, Geometry, adjoint
from funcnn.cpu import after
from funcnn.shown import Shown


class ConvForward(Protocol):
    def __call__(self, x: Array, w: Array, geometry: Geometry, /) -> tuple[Array, PyTree]: ...


class ConvBackward(Protocol):
    def __call__(self, residuals: PyTree, dy: Array, geometry: Geometry, /) -> tuple[Array, Array]: ...


class Pass(Protocol):
    def __call__(self, first: Array, second: Array, geometry: Geometry, /) -> Array: ...


class Supports(Protocol):
    def __call__(self, geometry: Geometry, /) -> bool: ...


def any_geometry(geometry: Geometry) -> bool:
    """What an algorithm without limits supports."""
    return True


class ConvAlgorithm(NamedTuple):
    """One way to convolve.

    Attributes:
        name: what messages call it.
        forward: `(x, w, geometry) -> (y, residuals)`; the residuals are a tuple that begins with x and w.
        backward: `(residuals, dy, geometry) -> (dx, dw)`.
        supports: `geometry -> bool`; asking for any other geometry is an error, never a silent fallback.
        input_gradient: `(w, dy, geometry) -> dx` by itself; what `conv_transpose` computes. None: it cannot be used there.
        weight_gradient: `(x, dy, geometry) -> dw` by itself.
    """

    name: str
    forward: ConvForward
    backward: ConvBackward
    supports: Supports = Shown(any_geometry)
    input_gradient: Pass | None = None
    weight_gradient: Pass | None = None

    def __repr__(self) -> str:
        return self.name


def from_passes(
    name: str,
    forward: Pass,
    weight_gradient: Pass,
    supports: Supports = Shown(any_geometry),
    input_pass: Pass | None = None,
) -> ConvAlgorithm:
    """The algorithm of `forward(x, w, geometry) -> y` and `weight_gradient(x, dy, geometry) -> dw`.

    It keeps x and w. Without an `input_pass(w, dy, geometry) -> dx` its dx is `forward` too, as `input_gradient` says. A large dx waits
    for dw, in the same memory, also where nobody asks for dw; 1x1 windows need no memory of their own.
    """
    to_input = input_pass or partial(input_gradient, forward)

    def backward(residuals: tuple[Array, Array], dy: Array, geometry: Geometry) -> tuple[Array, Array]:
        x, w = residuals
        dw = weight_gradient(x, dy, geometry)
        taps = prod(a.window for a in geometry.axes)
        (later,) = after(dw, dy) if taps > 1 and taps * x.shape[-1] > dy.shape[-1] else (dy,)
        return to_input(w, later, geometry), dw

    return ConvAlgorithm(name, lambda x, w, geometry: (forward(x, w, geometry), (x, w)), backward, supports, to_input, weight_gradient)


def input_gradient(forward: Pass, w: Array, dy: Array, geometry: Geometry) -> Array:
    """dx (N, H, W, C) of dy (N, P, Q, O): `forward` itself, run on dy with the kernel flipped and its channels swapped."""
    xp, spatial = namespace(w, dy), tuple(range(len(geometry.axes)))

    def gather(taps: tuple[slice, ...], axes: tuple[Axis, ...]) -> Array:
        flipped = swap_channels(xp.flip(w[taps], spatial), geometry.groups)  # (KH, KW, O / G, C)
        return forward(dy, flipped, Geometry(axes, geometry.groups))

    return adjoint(geometry.axes, gather)


def swap_channels(w: Array, groups: int) -> Array:
    """The kernel of the way back, w (..., C / G, O) with the input and output channels of every group swapped: (..., O / G, C)."""
    *taps, c, o = w.shape
    blocks = w.reshape(*taps, c, groups, o // groups)
    return namespace(w).swapaxes(blocks, -3, -1).reshape(*taps, o // groups, groups * c)


def contract(seen: Array, w: Array, groups: int) -> Array:
    """What T taps see, (..., T, C), times their kernels (T, C / G, O), summed over taps and channels: (..., O)."""
    *rows, t, c = seen.shape
    if groups == 1:
        return matmul(seen.reshape(*rows, t * c), w.reshape(t * c, -1))
    o = w.shape[-1]
    blocks = seen.reshape(-1, t, groups, c // groups), w.reshape(t, c // groups, groups, o // groups)
    return einsum("rtgc,tcgo->rgo", *blocks).reshape(*rows, o)


def contract_rows(seen: Array, dy: Array, groups: int) -> Array:
    """The kernel gradient of `contract`: (..., T, C) and dy (..., O), summed over all rows: (T, C / G, O)."""
    t, c, o = *seen.shape[-2:], dy.shape[-1]
    if groups == 1:
        return matmul(seen.reshape(-1, t * c).T, dy.reshape(-1, o)).reshape(t, c, o)
    blocks = seen.reshape(-1, t, groups, c // groups), dy.reshape(-1, groups, o // groups)
    return einsum("rtgc,rgo->tcgo", *blocks).reshape(t, c // groups, o)
