"""Normalisation by neighbouring channels."""

from functools import reduce
from operator import add

from funcnn.arguments import check_array, check_number, check_option
from funcnn.arrays import Array, namespace, rounded, widened
from funcnn.layer import Layer, constructor, stateless


@constructor
def local_response_norm(size: int, *, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Layer:
    """y = x / (k + alpha / size * sum of x^2 over `size` neighbouring channels)^beta (Krizhevsky et al. 2012, AlexNet), as PyTorch has it.

    Args:
        size: of the window of channels, from `size // 2` before to `(size - 1) // 2` behind; ONNX has the larger half behind, which
            differs where size is even. Beyond the first and last channel there are zeros.
        alpha, beta, k: as above; alpha and beta at least 0, k above 0.

    Returns:
        A layer from (N, ..., C) to (N, ..., C) without params; it keeps x.

    Raises:
        ValueError: an option out of range.
    """
    name = "local_response_norm"
    size, k = check_option(name, "size", size), check_number(name, "k", k, "above 0", lambda v: v > 0)
    alpha, beta = (check_number(name, what, v, "at least 0", lambda v: v >= 0) for what, v in (("alpha", alpha), ("beta", beta)))

    def near(a: Array, before: int) -> Array:
        """The sum over the channels from `before` before each to as many behind as the window has left: like a."""
        padded = namespace(a).pad(a, [(0, 0)] * (a.ndim - 1) + [(before, size - 1 - before)])
        return reduce(add, (padded[..., i : i + a.shape[-1]] for i in range(size)))

    def forward(params, x):
        check_array(name, "x", x, ("N", "...", "C"))
        wide = widened(x)
        return rounded(wide * (k + alpha / size * near(wide * wide, size // 2)) ** -beta, x), x  # like x

    def backward(x, dy):
        """dx = dy s^-beta - 2 alpha beta / size x sum of dy x s^(-beta - 1) over the windows that the channel is in, where
        s = k + alpha / size * sum of x^2.
        """
        check_array(name, "dy", dy, x.shape)
        wide, given = widened(x), widened(dy)
        s = k + alpha / size * near(wide * wide, size // 2)  # like x
        own = given * s**-beta
        return (), rounded(own - 2 * alpha * beta / size * wide * near(own * wide / s, (size - 1) // 2), x)

    return stateless(name, forward, backward)
