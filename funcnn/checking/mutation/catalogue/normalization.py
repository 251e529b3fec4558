"""Normalisation by an example's own statistics, and by neighbouring channels: mutants and right layers."""

from collections.abc import Callable
from typing import Any

import numpy as np

import funcnn as fn
from funcnn.arrays import Array, namespace
from funcnn.checking.mutation import mutants as m
from funcnn.checking.mutation.mutants import Mutant, changed, misled
from funcnn.layer import Layer

IMAGE = (4, 5, 6)
LAYER, ALL, RMS, GROUPS, EACH = fn.layer_norm(), fn.layer_norm(axes=3), fn.rms_norm(), fn.group_norm(2), fn.instance_norm()
STRONG = {"alpha": 1.5, "beta": 0.6, "k": 0.5}
RESPONSE, EVEN = fn.local_response_norm(3, **STRONG), fn.local_response_norm(4, **STRONG)


def _more(right: Layer, term: Callable[[Array, Array], Array]) -> Layer:
    """`right` with another `term(x^, scale dy)` / std in dx, where scale is of the last axis."""

    def change(dx, residuals, dy):
        x, means, inv_std, params = residuals
        return dx + term((x - sum(means)) * inv_std, dy * params["scale"]) * inv_std

    return changed(right, "x", change)


def _mean_term(axes: Any) -> Callable[[Array, Array], Array]:
    return lambda x_hat, g: g.mean(axes, keepdims=True)


def _variance_term(axes: Any) -> Callable[[Array, Array], Array]:
    return lambda x_hat, g: x_hat * (g * x_hat).mean(axes, keepdims=True)


def _constant(residuals: Any, dy: Array) -> Array:
    return dy * residuals.params["scale"] * residuals.inv_std


def _of_the_batch(residuals: Any) -> Any:
    """Statistics averaged over the examples."""
    mean, rest = (a.mean(0, keepdims=True) + 0 * a for a in residuals.means)
    return residuals._replace(means=(mean, rest), inv_std=residuals.inv_std.mean(0, keepdims=True) + 0 * residuals.inv_std)


def _of_the_image(residuals: Any) -> Any:
    """The standard deviation that goes over all axes but the first."""
    x = residuals.x
    std = namespace(x).sqrt(x.var((1, 2, 3), keepdims=True) + 1e-5)
    return residuals._replace(inv_std=1 / std + 0 * residuals.inv_std)


def _dealt_out(residuals: Any) -> Any:
    """Groups of every second channel, not of neighbouring ones."""
    order = np.arange(6).reshape(3, 2).T.ravel()
    return residuals._replace(means=tuple(a[..., order] for a in residuals.means), inv_std=residuals.inv_std[..., order])


def _unbiased(residuals: Any) -> Any:
    return residuals._replace(inv_std=residuals.inv_std * float(np.sqrt(5 / 6)))


def _response(window: int, *, cross: float = 2.0, power: float = 1.0, mirrored: bool = True) -> Callable[[Any, Array, Array], Array]:
    """dx of `local_response_norm`, some of it wrong."""
    alpha, beta, k = STRONG["alpha"], STRONG["beta"], STRONG["k"]

    def near(a, before):
        padded = namespace(a).pad(a, [(0, 0)] * (a.ndim - 1) + [(before, window - 1 - before)])
        return sum(padded[..., i : i + a.shape[-1]] for i in range(window))

    def gradient(xp, x, dy):
        s = k + alpha / window * near(x * x, window // 2)
        behind = (window - 1) // 2 if mirrored else window // 2
        return dy * s**-beta - cross * alpha * beta / window * x * near(dy * x * s ** (-beta - power), behind)

    return gradient


def _wrong(name: str, right: Layer, wrong: Layer, words: str = "") -> Mutant:
    return Mutant(f"{right.name}: {name}", wrong, right, IMAGE, words)


def _instead(right: Layer, leaf: str, gradient: Callable[[Any, Any, Array], Array]) -> Layer:
    return changed(right, leaf, m.instead(gradient))


WRONG: tuple[Mutant, ...] = (
    _wrong("without the mean term", LAYER, _more(LAYER, _mean_term(-1))),
    _wrong("without the variance term", LAYER, _more(LAYER, _variance_term(-1))),
    _wrong(
        "the mean term over the positions", LAYER, _more(LAYER, lambda x_hat, g: g.mean(-1, keepdims=True) - g.mean((1, 2), keepdims=True))
    ),
    _wrong("the variance of the whole image", LAYER, misled(LAYER, _of_the_image, "x")),
    _wrong("the unbiased variance", LAYER, misled(LAYER, _unbiased, "scale"), "a constant factor 0.91287"),
    _wrong("dscale of x, not normalised", LAYER, _instead(LAYER, "scale", lambda xp, r, dy: (dy * r.x).sum((0, 1, 2)))),
    _wrong("dshift as a mean over examples", LAYER, changed(LAYER, "shift", m.times_batch(-1)), "factor 0.25; that is 1 / N"),
    _wrong(
        "over an image, dshift of each channel",
        ALL,
        _instead(ALL, "shift", lambda xp, r, dy: xp.broadcast_to(dy.sum((0, 1, 2)), dy.shape[1:])),
    ),
    _wrong(
        "over an image, dscale without the normalising", ALL, _instead(ALL, "scale", lambda xp, r, dy: (dy * (r.x - sum(r.means))).sum(0))
    ),
    _wrong("with the mean term of layer norm", RMS, changed(RMS, "x", lambda dx, r, dy: dx - _constant(r, dy).mean(-1, keepdims=True))),
    _wrong("the mean square as a constant", RMS, _instead(RMS, "x", lambda xp, r, dy: _constant(r, dy))),
    _wrong("the groups dealt out like cards", GROUPS, misled(GROUPS, _dealt_out, "x")),
    _wrong("one group for all channels", GROUPS, GROUPS._replace(backward=fn.group_norm(1).backward)),
    _wrong("the statistics as constants", GROUPS, _instead(GROUPS, "x", lambda xp, r, dy: _constant(r, dy))),
    _wrong("the statistics of the batch", EACH, misled(EACH, _of_the_batch)),
    _wrong("without the mean term", EACH, _more(EACH, _mean_term((1, 2)))),
    _wrong(
        "the means over the batch", EACH, _more(EACH, lambda x_hat, g: g.mean((1, 2), keepdims=True) - g.mean((0, 1, 2), keepdims=True))
    ),
    _wrong("the sign of dscale", EACH, changed(EACH, "scale", m.times(-1.0)), "factor -1; the sign is wrong"),
    _wrong("without the neighbours", RESPONSE, _instead(RESPONSE, "x", _response(3, cross=0.0))),
    _wrong("the neighbours without the 2", RESPONSE, _instead(RESPONSE, "x", _response(3, cross=1.0))),
    _wrong("the power of the outer derivative", RESPONSE, _instead(RESPONSE, "x", _response(3, power=0.0))),
    _wrong("the window not mirrored", EVEN, _instead(EVEN, "x", _response(4, mirrored=False))),
)

PLAIN: dict[str, bool] = {"scale": False, "shift": False}
RIGHT: dict[str, tuple[Layer, tuple[int, ...]]] = {
    "layer_norm": (LAYER, IMAGE),
    "layer_norm: over an image": (ALL, IMAGE),
    "layer_norm: vectors, no shift": (fn.layer_norm(shift=False), (6,)),
    "layer_norm: no scale": (fn.layer_norm(axes=2, scale=False, epsilon=0.1), IMAGE),
    "rms_norm": (RMS, IMAGE),
    "rms_norm: no scale": (fn.rms_norm(axes=2, scale=False), IMAGE),
    "group_norm": (GROUPS, IMAGE),
    "group_norm: vectors": (fn.group_norm(2, epsilon=0.1), (6,)),
    "group_norm: no params": (fn.group_norm(3, **PLAIN), IMAGE),
    "instance_norm": (EACH, IMAGE),
    "instance_norm: no params": (fn.instance_norm(**PLAIN), (7, 2)),
    "local_response_norm": (fn.local_response_norm(5), IMAGE),
    "local_response_norm: strong": (RESPONSE, IMAGE),
    "local_response_norm: even": (EVEN, IMAGE),
}
