"""Pooling over all positions. N H W C in, or any other number of spatial axes."""

from math import prod

from funcnn.arguments import check_array
from funcnn.arrays import Array, namespace, rounded, widened
from funcnn.cpu import masked
from funcnn.layer import Layer, constructor, stateless
from funcnn.pooling.average import check_p, norm, size, slope
from funcnn.pooling.maximum import largest_along, won
from funcnn.pooling.windows import check_positions


def _global_avg_pool_forward(params, x):
    """y[n, c] = mean over all positions of x[n, ..., c]: (N, H, W, C) to (N, C), for any number of spatial axes."""
    check_positions("global_avg_pool", x)
    return rounded(widened(x).mean(tuple(range(1, x.ndim - 1))), x), x[:0]  # (N, C)


def _global_avg_pool_backward(empty, dy):
    """dx[n, ..., c] = dy[n, c] / (number of positions)."""
    spatial = empty.shape[1:-1]
    check_array("global_avg_pool", "dy", dy, ("N", empty.shape[-1]))
    share = rounded(widened(dy) / prod(spatial), dy).reshape(dy.shape[0], *(1 for _ in spatial), empty.shape[-1])
    return (), namespace(dy).broadcast_to(share, (dy.shape[0], *empty.shape[1:]))  # (N, H, W, C)


global_avg_pool = stateless("global_avg_pool", _global_avg_pool_forward, _global_avg_pool_backward)


def _global_max_pool_forward(params, x):
    """y[n, c] = max over all positions of x[n, ..., c]: (N, H, W, C) to (N, C), for any number of spatial axes."""
    check_positions("global_max_pool", x)
    y, winner = largest_along(_rows(x), 1)  # (N, C), (N, 1, C)
    return y, (x[:0], winner)


def _global_max_pool_backward(residuals, dy):
    """dx[n, ..., c] = dy[n, c] at the first position, in row-major order, of the largest entry, else 0."""
    empty, winner = residuals
    check_array("global_max_pool", "dy", dy, (winner.shape[0], empty.shape[-1]))
    dx = masked(won(winner, 1, prod(empty.shape[1:-1])), dy[:, None])  # (N, H * W, C)
    return (), dx.reshape(dx.shape[0], *empty.shape[1:])


global_max_pool = stateless("global_max_pool", _global_max_pool_forward, _global_max_pool_backward)


@constructor
def global_lp_pool(*, p: float = 2.0) -> Layer:
    """The p-norm of all positions of a channel, (sum |x|^p)^(1 / p).

    Args:
        p: a finite number of at least 1; the gradient at 0 is 0, for p = 1 too.

    Returns:
        A layer from (N, H, W, C) to (N, C), for any number of spatial axes; it keeps its input and its output, that of halves
        in float32.

    Raises:
        ValueError: p below 1.
    """
    p = check_p("global_lp_pool", p)

    def forward(params, x):
        """y[n, c] = (sum over all positions of |x[n, ..., c]|^p)^(1 / p)."""
        check_positions("global_lp_pool", x)
        rows = size(_rows(widened(x)))  # (N, H * W, C)
        y = norm(p, rows.max(1), lambda unit: ((rows / unit[:, None]) ** p).sum(1))  # (N, C)
        return rounded(y, x), (x, y)

    def backward(residuals, dy):
        """dx[n, ..., c] = dy[n, c] sign(x[n, ..., c]) (|x[n, ..., c]| / y[n, c])^(p - 1)."""
        x, y = residuals
        check_array("global_lp_pool", "dy", dy, y.shape)
        dx = widened(dy)[:, None] * slope(p, _rows(widened(x)), y[:, None])  # (N, H * W, C)
        return (), rounded(dx.reshape(x.shape), dy)

    return stateless("global_lp_pool", forward, backward)


def _rows(x: Array) -> Array:
    """x with all positions on one axis: (N, H * W, C)."""
    return x.reshape(x.shape[0], prod(x.shape[1:-1]), x.shape[-1])
