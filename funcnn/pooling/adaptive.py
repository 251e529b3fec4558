"""Pooling to a given size, by PyTorch's bins. N H W C in, P Q output rows and columns, L M entries of a bin along either axis.

Along an axis of H inputs, output p of P sees the inputs from floor(p H / P) up to, and without, ceil((p + 1) H / P): bins of
about H / P, of which neighbours share an input where P does not divide H, and many do where P > H. Where it does, an array
becomes its bins by a change of its shape; else by an index for all bins at once, so that no program grows with P.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from funcnn.arguments import check_array, check_option
from funcnn.arrays import Array, namespace, rounded, widened
from funcnn.convolution.geometry import spatial_letters
from funcnn.cpu import masked
from funcnn.layer import Layer, constructor, stateless
from funcnn.pooling.maximum import largest_along, won
from funcnn.pooling.windows import check_positions, check_ties

OutSizes: TypeAlias = int | Sequence[int | None]
"""One size for every spatial axis, or one for each; None keeps the input's."""


@constructor
def adaptive_avg_pool(out_sizes: OutSizes) -> Layer:
    """The mean of every bin, of as many bins as are wanted.

    Args:
        out_sizes: (P, Q), or one number per spatial axis, None where it is the input's; or one number for all axes.

    Returns:
        A layer from (N, H, W, C) to (N, P, Q, C); it keeps only its input's shape.

    Raises:
        ValueError: a size below 1, or not as many as x has spatial axes.
    """
    bins_of = _checked("adaptive_avg_pool", out_sizes)

    def forward(params, x):
        """y[p] = mean of x[h] over the bin of p, one axis after the other."""
        bins, y = bins_of(x), widened(x)
        for d, b in enumerate(bins, start=1):
            y = in_bins(y, d, b, 0).sum(d + 1) * b.share(y, d)  # (N, P, W, C), then (N, P, Q, C)
        return rounded(y, x), x[:0]

    def backward(empty, dy):
        """dx[h] = sum of dy[p] / (size of its bin) over the bins p that hold h."""
        bins, xp = bins_of(empty), namespace(dy)
        check_array("adaptive_avg_pool", "dy", dy, ("N", *(b.out for b in bins), empty.shape[-1]))
        dx = widened(dy)
        for d, b in reversed(list(enumerate(bins, start=1))):
            given = xp.expand_dims(dx * b.share(dx, d), d + 1)  # (N, P, 1, Q, C)
            dx = from_bins(xp.broadcast_to(given, (*given.shape[: d + 1], b.most, *given.shape[d + 2 :])), d, b)  # (N, H, Q, C)
        return (), rounded(dx, dy)

    return stateless("adaptive_avg_pool", forward, backward)


@constructor
def adaptive_max_pool(out_sizes: OutSizes, *, ties: Literal["first", "split"] = "first") -> Layer:
    """The largest entry of every bin, of as many bins as are wanted.

    Args:
        out_sizes: as in `adaptive_avg_pool`.
        ties: as in `max_pool`.

    Returns:
        A layer from (N, H, W, C) to (N, P, Q, C). It keeps, for "first", which column wins in every row of a bin, and which
        row of those, small integers; for "split", its input and output.

    Raises:
        ValueError: as `adaptive_avg_pool`; another rule for ties.
    """
    check_ties("adaptive_max_pool", ties)
    bins_of = _checked("adaptive_max_pool", out_sizes)

    def forward_first(params, x):
        """y[p] = max of x[h] over the bin of p: the first largest column of every row, and of those the first largest row."""
        y, winners = x, ()
        for d, b in reversed(list(enumerate(bins_of(x), start=1))):
            y, winner = largest_along(in_bins(y, d, b, -np.inf), d + 1)  # (N, H, Q, C), then (N, P, Q, C)
            winners = (winner, *winners)
        return y, (x[:0], winners)

    def backward_first(residuals, dy):
        """dx[h] = sum of dy[p] over the bins p that h has won."""
        empty, winners = residuals
        bins = bins_of(empty)
        check_array("adaptive_max_pool", "dy", dy, (winners[0].shape[0], *(b.out for b in bins), empty.shape[-1]))
        dx = widened(dy)
        for d, (b, winner) in enumerate(zip(bins, winners, strict=True), start=1):
            dx = from_bins(masked(won(winner, d + 1, b.most), namespace(dx).expand_dims(dx, d + 1)), d, b)  # (N, H, Q, C), ...
        return (), rounded(dx, dy)

    def forward_split(params, x):
        """y[p] = max of x[h] over the bin of p, as one maximum, whose gradient JAX shares evenly."""
        y = _all_in_bins(x, bins_of(x)).max(_entries(x))  # (N, P, Q, C)
        return y, (x, y)

    def backward_split(residuals, dy):
        """dx[h] = sum of dy[p] / (how many entries of bin p are its largest) over the bins p that h is largest in."""
        x, y = residuals
        bins, entries, given = bins_of(x), _entries(x), widened(dy)
        check_array("adaptive_max_pool", "dy", dy, y.shape)
        largest = _all_in_bins(x, bins) == namespace(y).expand_dims(y, entries)  # (N, P, L, Q, M, C)
        share = given / largest.sum(entries).astype(given.dtype)  # (N, P, Q, C)
        dx = masked(largest, namespace(share).expand_dims(share, entries))
        for d, b in enumerate(bins, start=1):
            dx = from_bins(dx, d, b)  # (N, H, Q, M, C), then (N, H, W, C)
        return (), rounded(dx, dy)

    pair = (forward_first, backward_first) if ties == "first" else (forward_split, backward_split)
    return stateless("adaptive_max_pool", *pair)


def _checked(name: str, out_sizes: OutSizes):
    """From x, which it checks, to the bins along each of its spatial axes."""
    each = isinstance(out_sizes, tuple | list)
    if each and not out_sizes:
        raise ValueError(f"{name}: expected an output size per spatial axis, such as (7, 7), got {out_sizes!r}")
    wanted = [
        size if each and size is None else check_option(name, "every output size", size) for size in (out_sizes if each else [out_sizes])
    ]

    def bins_of(x: Array) -> tuple[Bins, ...]:
        check_positions(name, x, spatial_letters(len(wanted)) if each else ("H", "..."))
        sizes = x.shape[1:-1]
        return tuple(Bins(size, out or size) for size, out in zip(sizes, wanted if each else wanted * len(sizes), strict=True))

    return bins_of


class Bins(NamedTuple):
    """Those along one axis: H inputs, P outputs."""

    size: int
    out: int

    @property
    def even(self) -> bool:
        """Whether no two share an input."""
        return self.size % self.out == 0

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """Where each begins, and ends: (P,) both."""
        p = np.arange(self.out)
        return p * self.size // self.out, -(-(p + 1) * self.size // self.out)

    @property
    def most(self) -> int:
        """L, the inputs of the largest."""
        first, end = self.ends
        return int((end - first).max())

    def share(self, like: Array, axis: int) -> Array:
        """1 / (the inputs of each bin), along an axis of arrays like that: (1, P, 1, 1)."""
        first, end = self.ends
        return namespace(like).asarray(1 / (end - first), dtype=like.dtype).reshape(*(-1 if d == axis else 1 for d in range(like.ndim)))

    def seen(self) -> tuple[np.ndarray, np.ndarray]:
        """The inputs of each bin, and whether it has so many: (P, L) both."""
        first, end = self.ends
        index = first[:, None] + np.arange(self.most)
        return index, index < end[:, None]

    def holders(self) -> tuple[np.ndarray, np.ndarray]:
        """Where among all entries of bins (P * L) each input stands, and whether it does so many times: (H, K) both."""
        first, end = self.ends
        h = np.arange(self.size)
        earliest, latest = np.searchsorted(end, h, "right"), np.searchsorted(first, h, "right") - 1
        p = earliest[:, None] + np.arange((latest - earliest).max() + 1)
        return p * self.most + h[:, None] - first[np.minimum(p, self.out - 1)], p <= latest[:, None]


def in_bins(x: Array, axis: int, bins: Bins, fill: float) -> Array:
    """x (..., H, ...) by its bins (..., P, L, ...), with `fill` where one has fewer entries than another."""
    if bins.even:
        return x.reshape(*x.shape[:axis], bins.out, bins.most, *x.shape[axis + 1 :])
    return _picked(x, axis, *bins.seen(), fill)


def from_bins(d_bins: Array, axis: int, bins: Bins) -> Array:
    """The adjoint of `in_bins`: each input (..., H, ...) is the sum of all that its bins have for it (..., P, L, ...)."""
    joined = d_bins.reshape(*d_bins.shape[:axis], bins.out * bins.most, *d_bins.shape[axis + 2 :])
    return joined if bins.even else _picked(joined, axis, *bins.holders(), 0).sum(axis + 1)


def _picked(a: Array, axis: int, index: np.ndarray, there: np.ndarray, fill: float) -> Array:
    """The entries at `index` (I, J) of an axis, `fill` where they are not `there`: (..., I, J, ...)."""
    xp, (before, after) = namespace(a), (a.shape[:axis], a.shape[axis + 1 :])
    picked = xp.take(a, index.astype("int32").reshape(-1), axis, mode="clip").reshape(*before, *index.shape, *after)
    there = there.reshape(*(1 for _ in before), *index.shape, *(1 for _ in after))
    return xp.where(there, picked, xp.asarray(fill, dtype=a.dtype))


def _all_in_bins(x: Array, bins: Sequence[Bins]) -> Array:
    """x by its bins along every spatial axis: (N, P, L, Q, M, C)."""
    for d, b in reversed(list(enumerate(bins, start=1))):
        x = in_bins(x, d, b, -np.inf)
    return x


def _entries(x: Array) -> tuple[int, ...]:
    """The axes of a bin's entries in what `_all_in_bins` makes of x."""
    return tuple(range(2, 2 * (x.ndim - 2) + 1, 2))
