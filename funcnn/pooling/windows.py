"""What all windowed pooling needs: the check that every window holds some of x. N H W C in."""

from typing import Any

from funcnn.arguments import check_array
from funcnn.arrays import Array
from funcnn.convolution.geometry import Axis, Window


def check_ties(name: str, ties: Any) -> None:
    """Raise unless it is a rule for who gets the gradient."""
    if not isinstance(ties, str) or ties not in ("first", "split"):
        raise ValueError(f'{name}: expected ties "first" or "split", got {ties!r}')


def axes_of(options: Window, x: Array) -> tuple[Axis, ...]:
    """Check x, and that every window holds some of it."""
    check_array(options.name, "x", x, ("N", *options.letters, "C"))
    axes = options.over(x.shape[1:-1]).axes
    if not all(map(every_window_sees, axes)):
        raise ValueError(f"{options.name}: expected windows that hold some of x, got one of nothing but padding for {axes}; pad less")
    return axes


def check_positions(name: str, x: Array, letters: tuple[str, ...] = ("H", "...")) -> None:
    """Check an x that is to have at least one position."""
    check_array(name, "x", x, ("N", *letters, "C"))
    if 0 in x.shape[1:-1]:
        raise ValueError(f"{name}: expected x to have at least one position, got {x.shape}")


def every_window_sees(axis: Axis) -> bool:
    """Whether each window holds an input: the outputs at which a tap sees one are a range, which begins earlier for a later tap."""
    seeing = 0  # outputs from the first on
    for k in reversed(range(axis.window)):
        first = axis.low - k * axis.dilation  # of the inputs, in steps of one
        if -(-first // axis.stride) <= seeing:
            seeing = max(seeing, (first + axis.size - 1) // axis.stride + 1)
    return seeing >= axis.out
