"""Average pooling. N H W C in, P Q output rows and columns."""

from collections.abc import Sequence
from functools import reduce
from operator import add

from funcnn.arguments import check_array
from funcnn.arrays import Array, namespace, rounded, widened
from funcnn.convolution.geometry import Axis, Padding, offsets, overlap_add, pad, tap, window
from funcnn.layer import Layer, constructor, stateless
from funcnn.pooling.windows import axes_of, counts


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
