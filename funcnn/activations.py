"""Activations: element-wise, and softmax along the last axis. `relu`, written out, is the smallest layer there is.

The others of one variable are a value and its slope. Those that bend at points alone keep a mask, a byte a number. Smooth ones keep
x: their slope could be had of y too, but near 0 or 1 y has not the digits for it, of a half none at all. Neither overflows anywhere,
and wherever x has a limit at infinity y has it there. Of halves they compute in float32.
"""

from collections.abc import Callable
from typing import Any

from funcnn.arguments import check_array
from funcnn.arrays import Array, namespace, rounded, widened
from funcnn.cpu import masked
from funcnn.layer import Layer, stateless

FAR = 1e4
"""From here on every exponential of -|x| is 0, in all dtypes."""

Function = Callable[[Any, Array], Array]
"""Of the array library and x, no half; gives an array like x."""


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


# What others are made by


def smooth(name: str, value: Function, slope: Function) -> Layer:
    """The layer y = value(x), dx = slope(x) dy; their documentation is its own."""

    def forward(params, x):
        check_array(name, "x", x, ("N", "..."))
        return rounded(value(namespace(x), widened(x)), x), x  # like x

    def backward(x, dy):
        check_array(name, "dy", dy, x.shape)
        return (), rounded(slope(namespace(x, dy), widened(x)) * widened(dy), x)  # like x

    forward.__doc__, backward.__doc__ = value.__doc__, slope.__doc__
    return stateless(name, forward, backward)


def rectifier(name: str, value: Function, slope: Function) -> Layer:
    """`smooth`, of a function that is 0 far to the left and x far to the right, where value and slope are not asked for."""

    def everywhere(xp, x):
        return xp.where(x > FAR, x, value(xp, near(xp, x)))

    def slope_near(xp, x):
        return slope(xp, near(xp, x))

    everywhere.__doc__, slope_near.__doc__ = value.__doc__, slope.__doc__
    return smooth(name, everywhere, slope_near)


def bent(name: str, value: Function, inside: Function, slope: float = 1.0, outside: float = 0.0) -> Layer:
    """The layer y = value(x) that is made of lines: dx = slope dy where `inside(x)`, else outside dy."""

    def forward(params, x):
        check_array(name, "x", x, ("N", "..."))
        return rounded(value(namespace(x), widened(x)), x), inside(namespace(x), x)  # like x, truth values

    def backward(mask, dy):
        check_array(name, "dy", dy, mask.shape)
        dx, wide = masked(mask, slope * widened(dy)), widened(dy)  # like dy
        return (), rounded(namespace(mask, dy).where(mask, dx, outside * wide) if outside else dx, dy)

    forward.__doc__, backward.__doc__ = value.__doc__, inside.__doc__
    return stateless(name, forward, backward)


def near(xp: Any, x: Array, far: float = FAR) -> Array:
    """x, nowhere further from 0 than `far`; a NaN passes through."""
    return xp.where(x > far, far, xp.where(x < -far, -far, x))


def decay(xp: Any, x: Array) -> Array:
    """e^-|x|, which never overflows; `jax.grad` takes |x| as x at 0."""
    return xp.exp(xp.where(x < 0, x, -x))


def logistic(xp: Any, x: Array) -> Array:
    """1 / (1 + e^-x)."""
    e = decay(xp, x)
    return xp.where(x < 0, e, 1) / (1 + e)


def logistic_slope(xp: Any, x: Array) -> Array:
    """The slope of `logistic`."""
    e = decay(xp, x)
    return e / ((1 + e) * (1 + e))


# Between two limits


def _sigmoid(xp, x):
    """y = 1 / (1 + e^-x), of any shape."""
    return logistic(xp, x)


def _sigmoid_slope(xp, x):
    """dx = dy e^-x / (1 + e^-x)^2."""
    return logistic_slope(xp, x)


sigmoid = smooth("sigmoid", _sigmoid, _sigmoid_slope)


def _log_sigmoid(xp, x):
    """y = -log(1 + e^-x), of any shape."""
    return xp.where(x < 0, x, 0) - xp.log1p(decay(xp, x))


def _log_sigmoid_slope(xp, x):
    """dx = dy / (1 + e^x)."""
    return logistic(xp, -x)


log_sigmoid = smooth("log_sigmoid", _log_sigmoid, _log_sigmoid_slope)


def _tanh(xp, x):
    """y = tanh x, of any shape."""
    return xp.tanh(x)


def _tanh_slope(xp, x):
    """dx = dy / cosh^2 x."""
    e = decay(xp, x) ** 2
    return 4 * e / ((1 + e) * (1 + e))


tanh = smooth("tanh", _tanh, _tanh_slope)


def _softsign(xp, x):
    """y = x / (1 + |x|), of any shape."""
    x = near(xp, x, 1e30)  # where y is 1
    return x / (1 + xp.where(x < 0, -x, x))


def _softsign_slope(xp, x):
    """dx = dy / (1 + |x|)^2."""
    return (1 / (1 + xp.where(x < 0, -x, x))) ** 2


softsign = smooth("softsign", _softsign, _softsign_slope)


def _hard_tanh(xp, x):
    """y = min(max(x, -1), 1), of any shape."""
    return xp.where(x >= 1, 1, xp.where(x <= -1, -1, x))


def _hard_tanh_inside(xp, x):
    """dx = dy where -1 < x < 1, else 0: the gradient at both ends is 0."""
    return (x > -1) & (x < 1)


hard_tanh = bent("hard_tanh", _hard_tanh, _hard_tanh_inside)


def _hard_sigmoid(xp, x):
    """y = min(max((x + 3) / 6, 0), 1), of any shape, as in PyTorch and MobileNetV3 (Howard et al. 2019, arXiv:1905.02244)."""
    return xp.where(x >= 3, 1, xp.where(x <= -3, 0, (x + 3) / 6))


def _hard_sigmoid_inside(xp, x):
    """dx = dy / 6 where -3 < x < 3, else 0: the gradient at both ends is 0."""
    return (x > -3) & (x < 3)


hard_sigmoid = bent("hard_sigmoid", _hard_sigmoid, _hard_sigmoid_inside, 1 / 6)


# Along the last axis


def _softmax_forward(params, x):
    """y_k = e^(x_k) / sum_j e^(x_j), along the last axis of K classes: (N, ..., K) to the same."""
    _check_classes("softmax", x)
    return rounded(_probabilities(widened(x)), x), x


def _softmax_backward(x, dy):
    """dx = y (dy - sum_k y_k dy_k)."""
    check_array("softmax", "dy", dy, x.shape)
    y, given = _probabilities(widened(x)), widened(dy)  # like x
    return (), rounded(y * (given - (y * given).sum(-1, keepdims=True)), x)


softmax = stateless("softmax", _softmax_forward, _softmax_backward)


def _log_softmax_forward(params, x):
    """y_k = x_k - log sum_j e^(x_j), along the last axis of K classes: (N, ..., K) to the same."""
    _check_classes("log_softmax", x)
    xp, z = namespace(x), _below_largest(widened(x))  # like x
    return rounded(z - xp.log(xp.exp(z).sum(-1, keepdims=True)), x), x


def _log_softmax_backward(x, dy):
    """dx = dy - softmax(x) sum_k dy_k."""
    check_array("log_softmax", "dy", dy, x.shape)
    given = widened(dy)  # like x
    return (), rounded(given - _probabilities(widened(x)) * given.sum(-1, keepdims=True), x)


log_softmax = stateless("log_softmax", _log_softmax_forward, _log_softmax_backward)


def _check_classes(name: str, x: Array) -> None:
    check_array(name, "x", x, ("N", "...", "K"))
    if x.shape[-1] == 0:
        raise ValueError(f"{name}: expected at least one class along the last axis, got x of shape {x.shape}")


def _below_largest(x: Array) -> Array:
    """x less the largest of each row: none of them overflows in an exponential, and one of those is 1."""
    return x - x.max(-1, keepdims=True)


def _probabilities(x: Array) -> Array:
    e = namespace(x).exp(_below_largest(x))  # like x
    return e / e.sum(-1, keepdims=True)
