"""Pooling over all positions. N H W C in, or any other number of spatial axes."""

from math import prod

from funcnn.arguments import check_array
from funcnn.arrays import namespace, rounded, widened
from funcnn.layer import stateless


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
