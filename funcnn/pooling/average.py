"""The mean of windows, and other norms of them. N H W C in, P Q output rows and columns."""

from collections.abc import Callable, Sequence
from functools import reduce
from math import inf
from operator import add

import numpy as np

from funcnn.arguments import check_array, check_flag, check_number
from funcnn.arrays import Array, namespace, rounded, widened
from funcnn.convolution.geometry import Axis, Padding, offsets, overlap_add, pad, tap, window
from funcnn.layer import Layer, constructor, stateless
from funcnn.pooling.windows import axes_of


@constructor
def avg_pool(
    window_size: Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Layer:
    """The mean of every window.

    Args:
        window_size, stride, padding, dilation, ceil_mode: as in `max_pool`; zeros are added.
        count_include_pad: whether the mean counts the added zeros (as PyTorch does by default) or not (as Keras does); what
            `ceil_mode` reaches over beyond them never counts.

    Returns:
        A layer from (N, H, W, C) to (N, P, Q, C); it keeps only its input's shape.

    Raises:
        ValueError: as `max_pool`.
    """
    options = window("avg_pool", window_size, window_size if stride is None else stride, padding, dilation, ceil_mode)
    check_flag("avg_pool", "count_include_pad", count_include_pad)

    def share(axes: Sequence[Axis], like: Array) -> Array:
        """1 / (the entries that each window counts): (1, P, Q, 1)."""
        counted = reduce(lambda total, a: [t * c for t in total for c in counts(a, count_include_pad)], axes, [1])
        xp = namespace(like)
        return xp.asarray([1 / c for c in counted], like.dtype).reshape(1, *(a.out for a in axes), 1)

    def forward(params, x):
        """y[p] = sum over taps k of x[tap k of p] / count[p]."""
        axes = axes_of(options, x)
        padded = pad(widened(x), axes)
        y = reduce(add, (tap(padded, axes, k) for k in offsets(axes))) * share(axes, padded)  # (N, P, Q, C)
        return rounded(y, x), x[:0]

    def backward(empty, dy):
        """dx[h] = sum of dy[p] / count[p] over the windows p that hold h."""
        axes = options.over(empty.shape[1:-1]).axes
        check_array("avg_pool", "dy", dy, ("N", *(a.out for a in axes), empty.shape[-1]))
        given = widened(dy)
        shared = given * share(axes, given)  # (N, P, Q, C)
        return (), rounded(overlap_add(lambda k: shared, axes), dy)

    return stateless("avg_pool", forward, backward)


def counts(axis: Axis, include_pad: bool) -> list[int]:
    """How many entries each window of the axis counts."""
    counted = range(-axis.low, axis.size + axis.high - axis.beyond) if include_pad else range(axis.size)
    first = [p * axis.stride - axis.low for p in range(axis.out)]
    return [sum(f + k * axis.dilation in counted for k in range(axis.window)) for f in first]


@constructor
def lp_pool(
    window_size: Sequence[int],
    *,
    p: float = 2.0,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> Layer:
    """The p-norm of every window, (sum |x|^p)^(1 / p), as ONNX defines it.

    PyTorch leaves |.| out, which is the same for even p; and with `ceil_mode` it multiplies the sum over a window that reaches
    beyond the input, as if there were more of the same.

    Args:
        window_size, stride, padding, dilation, ceil_mode: as in `max_pool`; zeros are added.
        p: a finite number of at least 1; the gradient at 0 is 0, for p = 1 too.

    Returns:
        A layer from (N, H, W, C) to (N, P, Q, C); it keeps its input and its output, that of halves in float32.

    Raises:
        ValueError: as `max_pool`; p below 1.
    """
    p = check_p("lp_pool", p)
    options = window("lp_pool", window_size, window_size if stride is None else stride, padding, dilation, ceil_mode)

    def forward(params, x):
        """y[q] = (sum over taps k of |x[tap k of q]|^p)^(1 / p)."""
        axes = axes_of(options, x)
        seen = [tap(pad(size(widened(x)), axes), axes, k) for k in offsets(axes)]  # (N, P, Q, C) each
        y = norm(p, reduce(namespace(x).maximum, seen), lambda unit: reduce(add, ((s / unit) ** p for s in seen)))  # (N, P, Q, C)
        return rounded(y, x), (x, y)

    def backward(residuals, dy):
        """dx[h] = sum of dy[q] sign(x[h]) (|x[h]| / y[q])^(p - 1) over the windows q that hold h."""
        x, y = residuals
        axes = options.over(x.shape[1:-1]).axes
        check_array("lp_pool", "dy", dy, y.shape)
        padded, given = pad(widened(x), axes), widened(dy)
        return (), rounded(overlap_add(lambda k: given * slope(p, tap(padded, axes, k), y), axes), dy)

    return stateless("lp_pool", forward, backward)


def check_p(name: str, p: float) -> float:
    """Raise unless it is the p of a norm with a finite gradient."""
    return check_number(name, "p", p, "a finite number of at least 1", lambda p: 1 <= p < inf)


def size(x: Array) -> Array:
    """|x|, with gradient 0 at 0; analytic beside 0, as the complex step needs it, and NaN where x is."""
    xp = namespace(x)
    return xp.where(x < 0, -x, xp.where(x == 0, 0, x))  # like x


def norm(p: float, largest: Array, total: Callable[[Array], Array]) -> Array:
    """(sum |x|^p)^(1 / p) = m (sum (|x| / m)^p)^(1 / p), where m, the largest |x|, keeps the powers from over- and underflow.

    Args:
        p: the power.
        largest: m.
        total: from the unit, that is m, or 1 where m is 0 or infinite, to the sum of the powers, like m.
    """
    xp = namespace(largest)
    none = largest == 0
    unit = xp.where(none | (largest == inf), 1, largest)
    if xp is not np and xp.isrealobj(unit):
        bits = unit.view(f"int{8 * unit.dtype.itemsize}")  # no gradient flows through: y does not depend on it, and its square underflows
        unit = bits.view(unit.dtype)
    powers = total(unit)
    return unit * xp.where(none, 0, xp.where(none, 1, powers) ** (1 / p))


def slope(p: float, x: Array, y: Array) -> Array:
    """dy / dx of the p-norm y: sign(x) (|x| / y)^(p - 1), and 0 where all of x is 0."""
    xp = namespace(x, y)
    return xp.sign(x) * (abs(x) / xp.where(y == 0, 1, y)) ** (p - 1)
