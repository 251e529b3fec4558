"""Pooling over windows, and over everything. N H W C in, P Q output rows and columns."""

from collections.abc import Sequence
from functools import reduce
from math import inf, prod
from operator import add
from typing import Literal

import numpy as np

from funcnn.arguments import check_array
from funcnn.arrays import Array, namespace, rounded, widened
from funcnn.convolution.geometry import Axis, Padding, Window, offsets, overlap_add, pad, tap, window
from funcnn.cpu import masked, stored
from funcnn.layer import Layer, constructor, stateless


@constructor
def max_pool(
    window_size: Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    ties: Literal["first", "split"] = "first",
) -> Layer:
    """The largest entry of every window.

    Args:
        window_size: (KH, KW), or one number per spatial axis.
        stride: one number, or one per spatial axis; the window's size where it is None.
        padding: as in `conv`; what is added is smaller than any number.
        ties: who gets the gradient where several entries are the largest: "first" in row-major order (as PyTorch and
            JAX's own pooling do), or all of them an equal share, "split". `jax.grad` follows the same policy.

    Returns:
        A layer from (N, H, W, C) to (N, P, Q, C). It keeps, for "first", the winning tap of every window, a small
        integer; for "split", its input and output.

    Raises:
        ValueError: an option out of range; a window larger than the padded input, or one that holds only padding.
    """
    if ties not in ("first", "split"):
        raise ValueError(f'max_pool: expected ties "first" or "split", got {ties!r}')
    options = window("max_pool", window_size, window_size if stride is None else stride, padding)

    def forward_first(params, x):
        """y = max over taps k of x[tap k], as a fold that keeps the earlier of two equal entries."""
        axes, xp = _axes(options, x), namespace(x)
        index = "int8" if prod(a.window for a in axes) < 128 else "int32"

        def fold(padded):
            y, winner = tap(padded, axes, (0,) * len(axes)), None  # (N, P, Q, C)
            for i, k in enumerate(offsets(axes)):
                seen = tap(padded, axes, k)
                keep = (y >= seen) | (y != y)  # a NaN stays the largest, as in jnp.max
                winner = xp.zeros(y.shape, index) if winner is None else xp.maximum(winner, (~keep).astype(index) * i)
                y = xp.maximum(y, seen) if xp is np else xp.where(keep, y, seen)  # as in `masked`
            return y, winner

        y, winner = stored(fold, pad(x, axes, -inf))
        return y, (x[:0], winner)

    def backward_first(residuals, dy):
        """dx[h] = sum of dy[p] over the windows p that h has won."""
        empty, winner = residuals
        axes = options.over(empty.shape[1:-1]).axes
        check_array("max_pool", "dy", dy, winner.shape)
        given, taps = widened(dy), {k: i for i, k in enumerate(offsets(axes))}
        return (), rounded(overlap_add(lambda k: masked(winner == taps[k], given), axes), dy)

    def forward_split(params, x):
        """y = max over taps k of x[tap k], as one maximum, whose gradient JAX shares evenly."""
        axes = _axes(options, x)
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
    return stateless("max_pool", *pair)


@constructor
def avg_pool(
    window_size: Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    count_include_pad: bool = True,
) -> Layer:
    """The mean of every window.

    Args:
        window_size, stride, padding: as in `max_pool`; zeros are added.
        count_include_pad: whether the mean counts the added zeros (as PyTorch does by default) or not (as Keras does).

    Returns:
        A layer from (N, H, W, C) to (N, P, Q, C); it keeps only its input's shape.

    Raises:
        ValueError: as `max_pool`.
    """
    options = window("avg_pool", window_size, window_size if stride is None else stride, padding)

    def share(axes: Sequence[Axis], like: Array) -> Array:
        """1 / (the entries that each window counts): (1, P, Q, 1)."""
        counts = reduce(lambda total, a: [t * c for t in total for c in _counts(a, count_include_pad)], axes, [1])
        xp = namespace(like)
        return xp.asarray([1 / c for c in counts], like.dtype).reshape(1, *(a.out for a in axes), 1)

    def forward(params, x):
        """y[p] = sum over taps k of x[tap k of p] / count[p]."""
        axes = _axes(options, x)
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


def _axes(options: Window, x: Array) -> tuple[Axis, ...]:
    """Check x, and that every window holds some of it."""
    check_array(options.name, "x", x, ("N", *options.letters, "C"))
    axes = options.over(x.shape[1:-1]).axes
    if any(0 in _counts(a, include_pad=False) for a in axes):
        raise ValueError(f"{options.name}: expected windows that hold some of x, got one of nothing but padding for {axes}; pad less")
    return axes


def _counts(axis: Axis, include_pad: bool) -> list[int]:
    """How many entries each window of the axis counts."""
    first = [p * axis.stride - axis.low for p in range(axis.out)]
    return [sum(include_pad or 0 <= f + k < axis.size for k in range(axis.window)) for f in first]


def _global_avg_pool_forward(params, x):
    """y[n, c] = mean over all positions of x[n, ..., c]: (N, H, W, C) to (N, C), for any number of spatial axes."""
    check_array("global_avg_pool", "x", x, ("N", "H", "...", "C"))
    return rounded(widened(x).mean(tuple(range(1, x.ndim - 1))), x), x[:0]  # (N, C)


def _global_avg_pool_backward(empty, dy):
    """dx[n, ..., c] = dy[n, c] / (number of positions)."""
    spatial = empty.shape[1:-1]
    check_array("global_avg_pool", "dy", dy, ("N", empty.shape[-1]))
    share = rounded(widened(dy) / prod(spatial), dy).reshape(dy.shape[0], *(1 for _ in spatial), empty.shape[-1])
    return (), namespace(dy).broadcast_to(share, (dy.shape[0], *empty.shape[1:]))  # (N, H, W, C)


global_avg_pool = stateless("global_avg_pool", _global_avg_pool_forward, _global_avg_pool_backward)
