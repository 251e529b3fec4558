"""What all windowed pooling needs: a check that every window holds some of x, and how much. N H W C in."""

from funcnn.arguments import check_array
from funcnn.arrays import Array
from funcnn.convolution.geometry import Axis, Window


def axes_of(options: Window, x: Array) -> tuple[Axis, ...]:
    """Check x, and that every window holds some of it."""
    check_array(options.name, "x", x, ("N", *options.letters, "C"))
    axes = options.over(x.shape[1:-1]).axes
    if any(0 in counts(a, include_pad=False) for a in axes):
        raise ValueError(f"{options.name}: expected windows that hold some of x, got one of nothing but padding for {axes}; pad less")
    return axes


def counts(axis: Axis, include_pad: bool) -> list[int]:
    """How many entries each window of the axis counts."""
    first = [p * axis.stride - axis.low for p in range(axis.out)]
    return [sum(include_pad or 0 <= f + k < axis.size for k in range(axis.window)) for f in first]
