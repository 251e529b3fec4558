"""Padding and cropping. N H W C in, or any other number of spatial axes; low rows come before the first, high after the last."""

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, Literal, TypeAlias

import jax.numpy as jnp
import numpy as np

from funcnn.arguments import check_array, check_number
from funcnn.arrays import Array, namespace, rounded, widened
from funcnn.convolution.geometry import Axis, spatial_letters
from funcnn.convolution.geometry import pad as pad_or_crop
from funcnn.layer import Layer, constructor, stateless

Mode: TypeAlias = Literal["reflect", "edge", "circular", "symmetric"]
"""Which rows of x stand around it."""

Widths: TypeAlias = Sequence[tuple[int, int]]
"""(low, high) for each spatial axis."""


@constructor
def pad(
    padding: int | Sequence[tuple[int, int]],
    *,
    mode: Literal["constant"] | Mode = "constant",
    value: float = 0.0,
) -> Layer:
    """Rows more around the spatial axes.

    Args:
        padding: the rows added on all sides, or (low, high) for each spatial axis.
        mode: what is added to the rows 1 2 3 4, here two on each side: "constant", a value; "reflect", 3 2 [1 2 3 4] 3 2;
            "edge", 1 1 [1 2 3 4] 4 4; "circular", 3 4 [1 2 3 4] 1 2; "symmetric", 2 1 [1 2 3 4] 4 3. In PyTorch "edge" is
            called replicate, in ONNX and NumPy "circular" wrap.
        value: the constant.

    Returns:
        A layer from (N, H, W, C) to (N, low + H + high, ..., C), for any number of spatial axes; it keeps only its input's shape.

    Raises:
        ValueError: an option out of range; more rows than there are ("circular", "symmetric") or are beside the edge ("reflect").
    """
    widths_of = _widths("pad", "padding", padding, "; fn.crop takes rows away")
    if not isinstance(mode, str) or mode not in ("constant", "reflect", "edge", "circular", "symmetric"):
        raise ValueError(f'pad: expected mode "constant", "reflect", "edge", "circular" or "symmetric", got {mode!r}')
    value = check_number("pad", "value", value, "a number", lambda v: True)
    if mode != "constant" and value != 0:
        raise ValueError(f'pad: expected a value with mode "constant" alone, got {value} with {mode!r}')

    def forward(params, x):
        """y[h] = x[h - low], and around that what the mode says."""
        widths = widths_of(x)
        if mode != "constant":
            return extended("pad", x, mode, widths), x[:0]
        if isfinite(value) and abs(value) > float(jnp.finfo(x.dtype).max):
            raise ValueError(f"pad: expected a value that {x.dtype} holds, got {value}")
        return pad_or_crop(x, _axes(x, widths), value), x[:0]  # (N, low + H + high, ..., C)

    def backward(empty, dy):
        """dx[h] = the sum of dy[p] over all places p at which row h stands."""
        widths = widths_of(empty)
        check_array("pad", "dy", dy, ("N", *(a.low + a.size + a.high for a in _axes(empty, widths)), empty.shape[-1]))
        return (), folded(dy, mode, widths) if mode != "constant" else pad_or_crop(dy, _axes(dy, _negative(widths)))

    return stateless("pad", forward, backward)


@constructor
def crop(cropping: int | Sequence[tuple[int, int]]) -> Layer:
    """Rows fewer along the spatial axes: y[p] = x[p + low].

    Args:
        cropping: the rows cut on all sides, or (low, high) for each spatial axis.

    Returns:
        A layer from (N, H, W, C) to (N, H - low - high, ..., C), for any number of spatial axes; it keeps only its input's shape.

    Raises:
        ValueError: an option out of range; no row left.
    """
    widths_of = _widths("crop", "cropping", cropping, "; fn.pad adds rows")

    def forward(params, x):
        """y[p] = x[p + low]."""
        axes = _axes(x, _negative(widths_of(x)))
        if any(a.low + a.size + a.high < 1 for a in axes):
            raise ValueError(f"crop: expected at least one row left along every axis, got x of shape {x.shape} and cropping {cropping!r}")
        return pad_or_crop(x, axes), x[:0]  # (N, H - low - high, ..., C)

    def backward(empty, dy):
        """dx[h] = dy[h - low], and 0 where x was cut."""
        widths = widths_of(empty)
        check_array("crop", "dy", dy, ("N", *(n - low - high for n, (low, high) in _spatial(empty, widths)), empty.shape[-1]))
        return (), pad_or_crop(dy, _axes(dy, widths))  # (N, H, W, C)

    return stateless("crop", forward, backward)


def extended(name: str, x: Array, mode: Mode, widths: Widths) -> Array:
    """x with rows of its own around it: (N, low + H + high, ..., C)."""
    xp = namespace(x)
    for axis, (low, high) in enumerate(widths, 1):
        size = x.shape[axis]
        if size < _needed(mode, max(low, high)):
            raise ValueError(
                f"{name}: expected at least {_needed(mode, max(low, high))} rows to pad with {(low, high)} by mode {mode!r}, got {size}"
            )
        if low or high:
            sides = zip((low, high), _sources(mode, size, low, high), strict=True)
            before, after = (_laid(xp, _rows(x, axis, source), axis, mode, count) for count, source in sides)
            x = xp.concatenate([before, x, after], axis)
    return x


def folded(dy: Array, mode: Mode, widths: Widths) -> Array:
    """The adjoint of `extended`: every row added gives what it got to the row that it is a copy of: (N, H, W, C)."""
    given, xp = widened(dy), namespace(dy)
    for axis, (low, high) in reversed(list(enumerate(widths, 1))):
        size = given.shape[axis] - low - high
        dx = _rows(given, axis, slice(low, low + size))
        sides = slice(0, low), slice(low + size, low + size + high)
        for side, source in zip(sides, _sources(mode, size, low, high), strict=True):
            if side.stop > side.start:
                part = _rows(given, axis, side)
                part = part.sum(axis, keepdims=True) if mode == "edge" else _laid(xp, part, axis, mode, 1)
                dx = dx + xp.pad(part, [(source.start, size - source.stop) if a == axis else (0, 0) for a in range(dx.ndim)])
        given = dx
    return rounded(given, dy)


def _needed(mode: Mode, count: int) -> int:
    """The rows that x must have where so many are added to a side."""
    return {"reflect": count + 1, "edge": 1}.get(mode, count) if count else 0


def _sources(mode: Mode, size: int, low: int, high: int) -> tuple[slice, slice]:
    """The rows of x that stand before and after it, in their own order."""
    if mode == "edge":
        return slice(0, 1), slice(size - 1, size)
    if mode == "circular":
        return slice(size - low, size), slice(0, high)
    beside = 1 if mode == "reflect" else 0
    return slice(beside, beside + low), slice(size - beside - high, size - beside)


def _laid(xp: Any, rows: Array, axis: int, mode: Mode, count: int) -> Array:
    """Rows as they stand around x: the one at the edge that many times, those that wrap as they are, others turned around."""
    return xp.repeat(rows, count, axis) if mode == "edge" else rows if mode == "circular" else xp.flip(rows, axis)


def _rows(x: Array, axis: int, at: slice) -> Array:
    return x[(*(slice(None),) * axis, at)]


def _widths(name: str, what: str, value: Any, fix: str) -> Callable[[Array], Widths]:
    """Of x, which it checks, (low, high) for each spatial axis."""
    everywhere = isinstance(value, int | np.integer)
    pairs = ((value, value),) if everywhere else value
    if not isinstance(pairs, tuple | list) or not pairs or not all(isinstance(p, tuple | list) and len(p) == 2 for p in pairs):
        raise ValueError(f"{name}: expected {what} a whole number or a pair (low, high) for each spatial axis, got {value!r}")
    if not all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 0 for pair in pairs for n in pair):
        raise ValueError(f"{name}: expected {what} in whole numbers of at least 0, got {value!r}{fix}")
    pairs = tuple((int(low), int(high)) for low, high in pairs)
    letters = ("H", "...") if everywhere else spatial_letters(len(pairs))

    def of(x: Array) -> Widths:
        check_array(name, "x", x, ("N", *letters, "C"))
        return pairs * (x.ndim - 2) if everywhere else pairs

    return of


def _spatial(x: Array, widths: Widths) -> list[tuple[int, tuple[int, int]]]:
    return list(zip(x.shape[1:-1], widths, strict=True))


def _axes(x: Array, widths: Widths) -> list[Axis]:
    return [Axis(size, 1, low=low, high=high) for size, (low, high) in _spatial(x, widths)]


def _negative(widths: Widths) -> Widths:
    return [(-low, -high) for low, high in widths]
