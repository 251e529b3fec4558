"""Max pooling, and the largest along an axis. N H W C in, P Q output rows and columns."""

from collections.abc import Sequence
from functools import reduce
from math import inf, prod
from operator import add
from typing import Literal

import numpy as np

from funcnn.arguments import check_array
from funcnn.arrays import Array, namespace, rounded, widened
from funcnn.convolution.geometry import Axis, Padding, offsets, overlap_add, pad, tap, window
from funcnn.cpu import masked, stored
from funcnn.layer import Layer, constructor, stateless
from funcnn.pooling.windows import axes_of, check_ties


@constructor
def max_pool(
    window_size: Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
    ties: Literal["first", "split"] = "first",
) -> Layer:
    """The largest entry of every window.

    Args:
        window_size: (KH, KW), or one number per spatial axis.
        stride: one number, or one per spatial axis; the window's size where it is None.
        padding: as in `conv`; what is added is smaller than any number.
        dilation: the rows from one entry of a window to its next; one number, or one per spatial axis.
        ceil_mode: whether rows that are left over at the end get a window too, which reaches beyond the padded input but must
            start in the input or in the low padding (PyTorch's rule).
        ties: who gets the gradient where several entries are the largest: "first" in row-major order (as PyTorch and
            JAX's own pooling do), or all of them an equal share, "split". `jax.grad` follows the same policy.

    Returns:
        A layer from (N, H, W, C) to (N, P, Q, C). It keeps, for "first", the winning tap of every window, a small
        integer; for "split", its input and output.

    Raises:
        ValueError: an option out of range; a window larger than the padded input, or one that holds only padding.
    """
    check_ties("max_pool", ties)
    options = window("max_pool", window_size, window_size if stride is None else stride, padding, dilation, ceil_mode)

    def forward_first(params, x):
        """y = max over taps k of x[tap k]."""
        y, winner = first_largest(x, axes_of(options, x))
        return y, (x[:0], winner)

    def backward_first(residuals, dy):
        """dx[h] = sum of dy[p] over the windows p that h has won."""
        empty, winner = residuals
        check_array("max_pool", "dy", dy, winner.shape)
        return (), to_winners(dy, winner, options.over(empty.shape[1:-1]).axes)

    def forward_split(params, x):
        """y = max over taps k of x[tap k], as one maximum, whose gradient JAX shares evenly."""
        axes = axes_of(options, x)
        padded = pad(x, axes, -inf)
        y = namespace(x).stack([tap(padded, axes, k) for k in offsets(axes)]).max(0)  # (N, P, Q, C)
        return y, (x, y)

    def backward_split(residuals, dy):
        """dx[h] = sum of dy[p] / (how many entries of window p are its largest) over the windows p that h is largest in."""
        x, y = residuals
        axes = options.over(x.shape[1:-1]).axes
        check_array("max_pool", "dy", dy, y.shape)
        padded = pad(x, axes, -inf)
        largest = {k: tap(padded, axes, k) == y for k in offsets(axes)}
        given = widened(dy)
        share = given / reduce(add, (m.astype(given.dtype) for m in largest.values()))  # (N, P, Q, C)
        return (), rounded(overlap_add(lambda k: masked(largest[k], share), axes), dy)

    pair = (forward_first, backward_first) if ties == "first" else (forward_split, backward_split)

    def work(params, x):
        """A comparison for each entry of a window but the first; on the way back they are told apart again, and one is added to."""
        axes = axes_of(options, x)
        windows, taps = x.shape[0] * prod(a.out for a in axes) * x.shape[-1], prod(a.window for a in axes)
        return windows * (taps - 1) // 2, windows * taps // 2, ""

    return stateless("max_pool", *pair)._replace(work=work)


def first_largest(x: Array, axes: Sequence[Axis]) -> tuple[Array, Array]:
    """The largest of every window, and the number of its tap, of equal ones the first: (N, P, Q, C) both.

    A fold that keeps the earlier of two equal entries.
    """
    xp, index = namespace(x), index_dtype(prod(a.window for a in axes))

    def fold(padded):
        y, winner = tap(padded, axes, (0,) * len(axes)), None  # (N, P, Q, C)
        for i, k in enumerate(offsets(axes)):
            seen = tap(padded, axes, k)
            keep = (y >= seen) | (y != y)  # a NaN stays the largest, as in jnp.max
            winner = xp.zeros(y.shape, index) if winner is None else xp.maximum(winner, (~keep).astype(index) * i)
            y = xp.maximum(y, seen) if xp is np else xp.where(keep, y, seen)  # as in `masked`
        return y, winner

    return stored(fold, pad(x, axes, -inf))


def to_winners(dy: Array, winner: Array, axes: Sequence[Axis]) -> Array:
    """dx[h] = sum of dy[p] over the windows p that h has won: (N, H, W, C)."""
    given, taps = widened(dy), {k: i for i, k in enumerate(offsets(axes))}
    return rounded(overlap_add(lambda k: masked(winner == taps[k], given), axes), dy)


def index_dtype(count: int) -> str:
    """What a number below `count` is kept as."""
    return "int8" if count < 128 else "int32"


def largest_along(a: Array, axis: int) -> tuple[Array, Array]:
    """The largest entry along an axis, and which it is: (...) and (..., 1, ...); of equal ones the first, of NaNs too.

    A choice by a mask, not the maximum, of which `jax.grad` would give each of equal ones a share.
    """
    count = a.shape[axis]
    winner = namespace(a).expand_dims(a.argmax(axis), axis).astype(index_dtype(count))
    return masked(won(winner, axis, count), a).sum(axis), winner


def won(winner: Array, axis: int, count: int) -> Array:
    """Which of the `count` entries along the axis is the winner: (..., count, ...)."""
    entries = namespace(winner).arange(count, dtype=winner.dtype)
    return entries.reshape(*(count if d == axis else 1 for d in range(winner.ndim))) == winner
