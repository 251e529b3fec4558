"""Of activations, softmax, learned offsets and factors, reshaping and the kinds of dropout."""

from collections.abc import Callable, Iterator
from math import pi, sqrt
from typing import Any

import jax
import numpy as np

import funcnn as fn
from funcnn.activations import logistic, logistic_slope
from funcnn.arrays import Array, namespace
from funcnn.checking.mutation import mutants as m
from funcnn.checking.mutation.mutants import Mutant, changed, misled
from funcnn.layer import Layer

IMAGE = (5, 6, 2)
LEAKY, ELU, CELU = fn.leaky_relu(slope=0.2), fn.elu(alpha=0.7), fn.celu(alpha=2.5)
PRELU, SHARED, BIAS, SCALE = fn.prelu(), fn.prelu(shared=True), fn.bias(per="position"), fn.scale()
SPATIAL, PATH = fn.spatial_dropout(0.3), fn.drop_path(0.3)
RESHAPE, TRANSPOSE = fn.reshape(4, 3), fn.transpose(2, 0, 1)


def _slope(what: str, right: Layer, slope: Callable[[Any, Array], Array], words: str = "") -> Mutant:
    """An activation that keeps x, with another slope."""
    return _change(what, right, IMAGE, "x", m.instead(lambda xp, x, dy: slope(xp, x) * dy), words)


def _change(what: str, right: Layer, in_shape: tuple[int, ...], leaf: str, how: m.Change, words: str = "") -> Mutant:
    return Mutant(f"{right.name} d{leaf}: {what}", changed(right, leaf, how), right, in_shape, words)


def _misled(what: str, right: Layer, in_shape: tuple[int, ...], mislead: Callable[[Any], Any], words: str = "") -> Mutant:
    return Mutant(f"{right.name}: {what}", misled(right, mislead), right, in_shape, words)


def _at_bends() -> Iterator[Mutant]:
    """Lines: the wrong side, the wrong slope, the bends themselves."""
    yield _misled("the slope on the wrong side", LEAKY, IMAGE, lambda positive: ~positive)
    yield Mutant("leaky_relu: the gradient of the positive side at 0", _keeping(LEAKY, lambda x: x >= 0), LEAKY, IMAGE)
    yield Mutant("hard_tanh: let through at both ends", _keeping(fn.hard_tanh, lambda x: (x >= -1) & (x <= 1)), fn.hard_tanh, IMAGE)
    yield Mutant("relu6: nothing cut off", _keeping(fn.relu6, lambda x: x > -9), fn.relu6, IMAGE, "mask")
    yield _change("not divided by 6", fn.hard_sigmoid, IMAGE, "x", m.times(6.0), "factor 6")
    yield _change("the slope 0.2, of another definition", fn.hard_sigmoid, IMAGE, "x", m.times(1.2), "factor 1.2")
    yield _slope("the parabola's slope at both ends", fn.hard_swish, lambda xp, x: xp.where(x > 3, 1, xp.where(x < -3, 0, x / 3 + 0.5)))
    yield _slope("without the product rule", fn.hard_swish, lambda xp, x: xp.clip((x + 3) / 6, 0, 1))


def _curves() -> Iterator[Mutant]:
    """Smooth ones."""
    yield _slope("y (1 - y) of x", fn.sigmoid, lambda xp, x: x * (1 - x))
    yield _slope("1 - y for 1 - y^2", fn.tanh, lambda xp, x: 1 - xp.tanh(x))
    yield _slope("not squared", fn.softsign, lambda xp, x: 1 / (1 + abs(x)))
    yield _slope("of the wrong side", fn.softplus, lambda xp, x: logistic(xp, -x))
    yield _slope("of softplus", fn.log_sigmoid, logistic)
    yield _slope("without the product rule", fn.silu, logistic)
    yield _slope("without 1 - s", fn.silu, lambda xp, x: logistic(xp, x) * (1 + x))
    yield _slope("without the slope of softplus", fn.mish, lambda xp, x: _softplus_tanh(xp, x) + x * (1 - _softplus_tanh(xp, x) ** 2))
    yield Mutant("gelu: the gradient of the tanh form", fn.gelu._replace(backward=fn.gelu_tanh.backward), fn.gelu, IMAGE)
    yield Mutant("gelu_tanh: the gradient of the exact one", fn.gelu_tanh._replace(backward=fn.gelu.backward), fn.gelu_tanh, IMAGE)
    yield _slope("without the density", fn.gelu, lambda xp, x: _normal(xp, x, 0.0))
    yield _slope("the density not divided by sqrt(2 pi)", fn.gelu, lambda xp, x: _normal(xp, x, sqrt(2 * pi)))
    yield _slope("0.044715 forgotten in the derivative", fn.gelu_tanh, lambda xp, x: _gelu_tanh_slope(xp, x, 0.0))
    yield _slope("the cube's 3 forgotten", fn.gelu_tanh, lambda xp, x: _gelu_tanh_slope(xp, x, 0.044715))
    yield _slope("without alpha", ELU, lambda xp, x: xp.where(x > 0, 1, xp.exp(xp.where(x > 0, 0, x))))
    yield _slope("times alpha, as that of elu", CELU, lambda xp, x: xp.where(x > 0, 1, 2.5 * xp.exp(xp.where(x > 0, 0, x) / 2.5)))
    yield _change("the scale forgotten", fn.selu, IMAGE, "x", m.times(1 / 1.0507009873554805), "factor 0.95")


def _rows() -> Iterator[Mutant]:
    """Softmax: the sum over a row's classes."""
    p = fn.softmax
    yield _change("as if element by element", p, IMAGE, "x", m.instead(lambda xp, x, dy: _p(xp, x) * (1 - _p(xp, x)) * dy))
    yield _change("the sum over examples", p, IMAGE, "x", m.instead(lambda xp, x, dy: _p(xp, x) * (dy - (_p(xp, x) * dy).sum(0)[None])))
    yield _change(
        "the mean for the sum", p, (4,), "x", m.instead(lambda xp, x, dy: _p(xp, x) * (dy - (_p(xp, x) * dy).mean(-1)[..., None]))
    )
    yield _change("without the sum", fn.log_softmax, IMAGE, "x", m.instead(lambda xp, x, dy: dy - _p(xp, x) * dy))
    yield _change("dy alone", fn.log_softmax, IMAGE, "x", m.instead(lambda xp, x, dy: dy))


def _learned() -> Iterator[Mutant]:
    """Slopes, offsets and factors."""
    yield _change(
        "summed where x > 0", PRELU, IMAGE, "slope", m.instead(lambda xp, r, dy: (xp.where(r[0] > 0, r[0], 0) * dy).sum((0, 1, 2)))
    )
    yield _change("summed over all x", PRELU, IMAGE, "slope", m.instead(lambda xp, r, dy: (r[0] * dy).sum((0, 1, 2))))
    yield _change(
        "summed over channels for columns",
        PRELU,
        (5, 2, 2),
        "slope",
        m.instead(lambda xp, r, dy: (xp.where(r[0] > 0, 0, r[0]) * dy).sum((0, 1, 3))),
    )
    yield _change("that of relu", PRELU, IMAGE, "x", m.instead(lambda xp, r, dy: xp.where(r[0] > 0, dy, 0)))
    yield _change("the mean over channels", SHARED, IMAGE, "slope", m.times(0.5))
    yield _change("the mean over examples", BIAS, IMAGE, "b", m.times(0.25), "factor 0.25; that is 1 / N")
    yield _change("of one channel alone", BIAS, IMAGE, "b", m.instead(lambda xp, r, dy: dy[..., :1].sum(0)))
    yield _change("without x", SCALE, IMAGE, "scale", m.instead(lambda xp, r, dy: dy.sum((0, 1, 2))))
    yield _change("without the scale", SCALE, IMAGE, "x", m.instead(lambda xp, r, dy: dy))


def _moved_and_dropped() -> Iterator[Mutant]:
    """Shapes and masks."""
    yield _change("column by column", RESHAPE, (3, 4), "x", m.permuted(lambda xp, g: g.reshape(len(g), 4, 3).swapaxes(1, 2)))
    yield Mutant("transpose: the same order again, not the one back", _transposed_again(), TRANSPOSE, (3, 3, 3))
    yield Mutant("drop_path: not divided by the share kept", _unscaled(PATH), PATH, (4, 3), "factor 0.7")
    yield _misled("the mask drawn again", PATH, (4, 3), m.redrawn)
    yield Mutant("spatial_dropout: not divided by the share kept", _unscaled(SPATIAL), SPATIAL, IMAGE, "factor 0.7")
    yield _misled("an example's channels by the next example's mask", SPATIAL, (5, 6, 4), _next_mask)
    yield _misled("no mask", SPATIAL, IMAGE, _all_kept)


def _keeping(right: Layer, mask: Callable[[Array], Array]) -> Layer:
    """An activation made of lines that keeps another mask."""

    def forward(params, state, x, *, key=None, train=False):
        y, state, _ = right.forward(params, state, x, key=key, train=train)
        return y, state, mask(x)

    return right._replace(forward=forward)


def _softplus_tanh(xp, x):
    return xp.tanh(xp.log1p(xp.exp(x)))


def _normal(xp, x, factor):
    """The slope of `gelu` with its density times a factor."""
    ones = np.ones_like if xp is np else jax.numpy.ones_like
    distribution = fn.gelu.backward(x, ones(x))[1] - x * xp.exp(-x * x / 2) / sqrt(2 * pi)
    return distribution + factor * x * xp.exp(-x * x / 2) / sqrt(2 * pi)


def _gelu_tanh_slope(xp, x, derived):
    two_u = sqrt(8 / pi) * x * (1 + 0.044715 * x * x)
    return logistic(xp, two_u) + x * logistic_slope(xp, two_u) * sqrt(8 / pi) * (1 + derived * x * x)


def _p(xp, x):
    e = xp.exp(x - x.max(-1)[..., None])
    return e / e.sum(-1)[..., None]


def _transposed_again() -> Layer:
    return TRANSPOSE._replace(backward=lambda empty, dy: ((), dy.transpose(0, 3, 1, 2)))


def _unscaled(right: Layer) -> Layer:
    def backward(residuals, dy):
        (), dx = right.backward(residuals, dy)
        return (), dx * 0.7 if hasattr(residuals, "mask") else dx

    return right._replace(backward=backward)


def _next_mask(residuals):
    if not hasattr(residuals, "mask"):
        return residuals
    return residuals._replace(mask=namespace(residuals.mask).roll(residuals.mask, 1, 0))


def _all_kept(residuals):
    return residuals._replace(mask=residuals.mask | True) if hasattr(residuals, "mask") else residuals


WRONG: tuple[Mutant, ...] = (*_at_bends(), *_curves(), *_rows(), *_learned(), *_moved_and_dropped())

PLAIN = (
    fn.sigmoid, fn.log_sigmoid, fn.tanh, fn.softsign, fn.hard_tanh, fn.hard_sigmoid, fn.relu6, fn.hard_swish, fn.selu, fn.softplus,
    fn.silu, fn.mish, fn.gelu, fn.gelu_tanh,
)  # fmt: skip

RIGHT: dict[str, tuple[Layer, tuple[int, ...]]] = {
    **{layer.name: (layer, (5, 6)) for layer in PLAIN},
    "leaky_relu": (LEAKY, (5, 6)), "elu": (ELU, (5, 6)), "celu": (CELU, (5, 6)), "softmax": (fn.softmax, (4, 5)),
    "log_softmax": (fn.log_softmax, (4, 5)), "prelu": (PRELU, (4, 5, 3)), "prelu: shared": (SHARED, (4, 5, 3)),
    "bias": (fn.bias(), (4, 5, 3)), "bias: per position": (BIAS, (4, 5, 3)), "bias: per entry": (fn.bias(per="entry"), (4, 5, 3)),
    "scale": (SCALE, (4, 5, 3)), "scale: per position": (fn.scale(per="position"), (4, 5, 3)),
    "scale: per entry": (fn.scale(per="entry"), (4, 5, 3)), "reshape": (fn.reshape(4, -1), (3, 4, 2)),
    "transpose": (TRANSPOSE, (3, 4, 2)), "spatial_dropout": (SPATIAL, (4, 5, 3)), "drop_path": (PATH, (4, 5, 3)),
}  # fmt: skip
