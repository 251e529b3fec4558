"""Activation functions: element-wise, without parameters."""

from funcnn.arguments import check_array
from funcnn.cpu import masked
from funcnn.layer import stateless


def _relu_forward(params, x):
    """y = max(x, 0): x where x > 0, else 0, of any shape; written so that a NaN passes through and `jax.grad` is 0 at 0."""
    check_array("relu", "x", x, ("N", "..."))
    y = masked(~(x <= 0), x)  # like x
    return y, y


def _relu_backward(y, dy):
    """dx = dy where y > 0, else 0: the gradient at 0 is 0. The next layer keeps y anyway."""
    check_array("relu", "dy", dy, y.shape)
    return (), masked(~(y <= 0), dy)  # like dy


relu = stateless("relu", _relu_forward, _relu_backward)
