"""Rectifiers: activations that let what is positive through, and of what is negative little. C channels."""

from math import inf, pi, sqrt

from jax.nn.initializers import Initializer, constant

from funcnn.activations import FAR, bent, decay, logistic, logistic_slope, rectifier, smooth
from funcnn.arguments import check_array, check_flag, check_in_shape, check_number, check_params
from funcnn.arrays import aligned, erfc, namespace, rounded, widened
from funcnn.cpu import masked, sum_rows
from funcnn.layer import Layer, constructor, stateless

# Made of lines


@constructor
def leaky_relu(*, slope: float = 0.01) -> Layer:
    """y = x where x > 0, else slope x (Maas et al. 2013).

    Args:
        slope: of the negative side.

    Returns:
        A layer of any shape, without parameters; it keeps where x > 0.

    Raises:
        ValueError: a slope that is no finite number.
    """
    slope = check_number("leaky_relu", "slope", slope, "to be a finite number", lambda s: -inf < s < inf)

    def value(xp, x):
        return xp.where(x > 0, x, slope * xp.where(x > 0, 0, x))

    def positive(xp, x):
        """dx = dy where x > 0, else slope dy: the gradient at 0 is slope dy."""
        return x > 0

    return bent("leaky_relu", value, positive, outside=slope)


@constructor
def prelu(*, shared: bool = False, slope_init: Initializer = constant(0.25)) -> Layer:
    """y = x where x > 0, else slope x, with slopes that are learned (He et al. 2015, arXiv:1502.01852).

    Args:
        shared: one slope for all channels, as PyTorch has by default; else one for each.
        slope_init: a `jax.nn.initializers` for the slopes (C,), or (1,) where it is shared.

    Returns:
        A layer from (..., C) to (..., C) with params {"slope"}; it keeps x and the slopes, which may be float32 where x is a half.

    Raises:
        ValueError: `shared` neither True nor False.
    """
    check_flag("prelu", "shared", shared)

    def init(key, in_shape):
        check_in_shape("prelu", in_shape, ("...", "C"))
        return {"slope": slope_init(key, (1,) if shared else in_shape[-1:])}

    def forward(params, x):
        check_params("prelu", params, {"slope": (1 if shared else "C",)})
        check_array("prelu", "x", x, ("N", "...", "C" if shared else params["slope"].shape[0]))
        wide = widened(x)
        low = masked(~(wide > 0), wide)  # like x
        return rounded(masked(wide > 0, wide) + aligned(widened(params["slope"]), x) * low, x), (x, params["slope"])

    def backward(residuals, dy):
        """dslope = sum of x dy over x <= 0,  dx = dy where x > 0, else slope dy."""
        x, slope = residuals
        check_array("prelu", "dy", dy, x.shape)
        xp, wide, given = namespace(x, slope, dy), widened(x), widened(dy)
        dslope = sum_rows(masked(~(wide > 0), wide) * given, cheap=True)  # (C,)
        dx = xp.where(wide > 0, given, aligned(widened(slope), x) * given)  # like x
        return {"slope": rounded(dslope.sum(keepdims=True) if shared else dslope, slope)}, rounded(dx, x)

    return stateless("prelu", forward, backward, init)


def _relu6(xp, x):
    """y = min(max(x, 0), 6), of any shape (Howard et al. 2017, arXiv:1704.04861)."""
    return xp.where(x >= 6, 6, xp.where(x <= 0, 0, x))


def _relu6_inside(xp, x):
    """dx = dy where 0 < x < 6, else 0: the gradient at both ends is 0."""
    return (x > 0) & (x < 6)


relu6 = bent("relu6", _relu6, _relu6_inside)


def _hard_swish(xp, x):
    """y = x min(max((x + 3) / 6, 0), 1), of any shape (Howard et al. 2019, arXiv:1905.02244)."""
    return xp.where(x >= 3, x, xp.where(x <= -3, 0, x * ((x + 3) / 6)))


def _hard_swish_slope(xp, x):
    """dx = dy (x / 3 + 1 / 2) where -3 < x < 3, else dy where x > 0, else 0: at both ends the slope is that outside."""
    return xp.where(x >= 3, 1, xp.where(x <= -3, 0, x / 3 + 0.5))


hard_swish = rectifier("hard_swish", _hard_swish, _hard_swish_slope)


# Exponentials to the left, x to the right


@constructor
def elu(*, alpha: float = 1.0) -> Layer:
    """y = x where x > 0, else alpha (e^x - 1) (Clevert et al. 2015, arXiv:1511.07289).

    Args:
        alpha: above 0; the limit far to the left is -alpha.

    Returns:
        A layer of any shape, without parameters; it keeps x. At 0 the slope is alpha.

    Raises:
        ValueError: an alpha out of range.
    """
    return _exponential("elu", depth=_above_zero("elu", alpha))


@constructor
def celu(*, alpha: float = 1.0) -> Layer:
    """y = x where x > 0, else alpha (e^(x / alpha) - 1), whose slope at 0 is 1 from both sides (Barron 2017, arXiv:1704.07483).

    Args:
        alpha: above 0; the limit far to the left is -alpha.

    Returns:
        A layer of any shape, without parameters; it keeps x.

    Raises:
        ValueError: an alpha out of range.
    """
    alpha = _above_zero("celu", alpha)
    return _exponential("celu", depth=alpha, width=alpha)


def _above_zero(name: str, alpha: float) -> float:
    return check_number(name, "alpha", alpha, "above 0 and finite", lambda a: 0 < a < inf)


def _exponential(name: str, depth: float, width: float = 1.0, scale: float = 1.0) -> Layer:
    """y = scale x where x > 0, else scale depth (e^(x / width) - 1)."""

    def value(xp, x):
        return scale * xp.where(x > 0, x, depth * xp.expm1(low(xp, x)))

    def slope(xp, x):
        return scale * xp.where(x > 0, 1, depth / width * xp.exp(low(xp, x)))

    def low(xp, x):
        """x / width, nothing of what is positive, and not so far down that it overflows."""
        return xp.where(x > 0, 0, xp.where(x < -FAR * width, -FAR * width, x)) / width

    power, above = "x" if width == 1 else f"(x / {width:g})", "" if scale == 1 else f"{scale:.5g} "
    value.__doc__ = f"y = {above}x where x > 0, else {scale * depth:.5g} (e^{power} - 1), of any shape."
    slope.__doc__ = f"dx = {above}dy where x > 0, else {scale * depth / width:.5g} e^{power} dy."
    return smooth(name, value, slope)


selu = _exponential("selu", depth=1.6732632423543772, scale=1.0507009873554805)  # Klambauer et al. 2017, arXiv:1706.02515


# 0 far to the left, x far to the right


def _softplus(xp, x):
    """y = log(1 + e^x), of any shape."""
    return xp.where(x < 0, 0, x) + xp.log1p(decay(xp, x))


def _softplus_slope(xp, x):
    """dx = dy / (1 + e^-x)."""
    return logistic(xp, x)


softplus = rectifier("softplus", _softplus, _softplus_slope)


def _silu(xp, x):
    """y = x / (1 + e^-x), of any shape; also called swish (Elfwing et al. 2017, arXiv:1702.03118)."""
    return x * logistic(xp, x)


def _silu_slope(xp, x):
    """dx = dy (s + x s (1 - s)),  where s = 1 / (1 + e^-x)."""
    return logistic(xp, x) + x * logistic_slope(xp, x)


silu = rectifier("silu", _silu, _silu_slope)


def _mish(xp, x):
    """y = x tanh(log(1 + e^x)) = x n / (n + 2), of any shape, where w = e^x, n = w^2 + 2 w (Misra 2019, arXiv:1908.08681)."""
    w = xp.exp(xp.where(x > 20, 20, x))  # from 20 on n / (n + 2) is 1
    return x * (w * (w + 2)) / (w * (w + 2) + 2)


def _mish_slope(xp, x):
    """dx = dy (n / (n + 2) + 4 x w (1 + w) / (n + 2)^2)."""
    x = xp.where(x > 20, 20, x)
    n = (w := xp.exp(x)) * (w + 2)
    return n / (n + 2) + 4 * x * w * (1 + w) / ((n + 2) * (n + 2))


mish = rectifier("mish", _mish, _mish_slope)


def _gelu(xp, x):
    """y = x P(x), of any shape, with the normal distribution P(x) = erfc(-x / sqrt 2) / 2 (Hendrycks & Gimpel 2016, arXiv:1606.08415)."""
    return x * erfc(x * -sqrt(0.5)) / 2


def _gelu_slope(xp, x):
    """dx = dy (P(x) + x e^(-x^2 / 2) / sqrt(2 pi))."""
    return erfc(x * -sqrt(0.5)) / 2 + x * xp.exp(-x * x / 2) / sqrt(2 * pi)


gelu = rectifier("gelu", _gelu, _gelu_slope)


def _gelu_tanh(xp, x):
    """y = x (1 + tanh u) / 2 = x / (1 + e^-2u), of any shape, where u = sqrt(2 / pi) (x + 0.044715 x^3): an approximation of `gelu`."""
    return x * logistic(xp, sqrt(8 / pi) * x * (1 + 0.044715 * x * x))


def _gelu_tanh_slope(xp, x):
    """dx = dy (s + 2 x s (1 - s) u'),  where s = 1 / (1 + e^-2u),  u' = sqrt(2 / pi) (1 + 3 * 0.044715 x^2)."""
    two_u = sqrt(8 / pi) * x * (1 + 0.044715 * x * x)
    return logistic(xp, two_u) + x * logistic_slope(xp, two_u) * (sqrt(8 / pi) * (1 + 3 * 0.044715 * x * x))


gelu_tanh = rectifier("gelu_tanh", _gelu_tanh, _gelu_tanh_slope)
