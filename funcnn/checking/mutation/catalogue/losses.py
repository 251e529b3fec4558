"""Losses beside the plain cross-entropy and the squared error: mutants and right layers, of four examples each."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import funcnn as fn
from funcnn.arrays import Array, namespace
from funcnn.checking.mutation import mutants as m
from funcnn.checking.mutation.mutants import Change, Mutant, loss_layer
from funcnn.layer import Layer

Loss = Callable[..., tuple[Array, Array]]
SHAPE = (3,)
LABELS = np.asarray([0, 2, 255, 1], "int32")
REAL = np.linspace(-1.0, 1.0, 12, dtype="float32").reshape(4, 3)
SHARES = np.linspace(0.0, 1.0, 12, dtype="float32").reshape(4, 3)
WEIGHTS = (0.5, 1.0, 3.0)


def _layer(loss: Loss, targets: np.ndarray, change: Change | None = None, **options: Any) -> Layer:
    """The loss at these targets, whose gradient is changed; its residuals are (outputs, targets)."""

    def run(outputs, targets):
        value, doutputs = loss(outputs, targets, **options)
        return value, change(doutputs, (outputs, targets), doutputs) if change else doutputs

    return loss_layer(loss.__name__, run, targets)


CROSSED = partial(_layer, fn.softmax_cross_entropy, m.LABELS, class_weights=WEIGHTS)
IGNORING = partial(_layer, fn.softmax_cross_entropy, LABELS, ignored_label=255)
LIKELIHOOD = partial(_layer, fn.negative_log_likelihood, m.LABELS)
BINARY, WEIGHTED = (partial(_layer, fn.binary_cross_entropy, SHARES, **more) for more in ({}, {"positive_weight": 3.0}))
HUBER, ABSOLUTE = partial(_layer, fn.huber, REAL, delta=0.4), partial(_layer, fn.mean_absolute_error, REAL)
HINGE = partial(_layer, fn.hinge, m.LABELS)
TIED = partial(_layer, fn.mean_absolute_error, np.zeros((4, 3), "float32"))


def _own(labels: Array, g: Array) -> Array:
    return (labels[:, None] == namespace(labels).arange(g.shape[1], dtype=labels.dtype)[None]).astype(g.dtype)


def _plain(g: Array, residuals: Any, dy: Array) -> Array:
    """The gradient of the cross-entropy without options."""
    return fn.softmax_cross_entropy(*residuals)[1]


def _not_ignored(g: Array, residuals: Any, dy: Array) -> Array:
    """The softmax, of which nothing is subtracted, where a label is ignored."""
    logits, labels = residuals
    e = namespace(logits).exp(logits)
    return g + e / e.sum(1, keepdims=True) / 3 * (labels == 255).astype(logits.dtype)[:, None]


def _own_missing(g: Array, residuals: Any, dy: Array) -> Array:
    return g * (1 - _own(residuals[1], g))


def _at_the_margin(g: Array, residuals: Any, dy: Array) -> Array:
    """As if a score at the margin were inside."""
    scores, labels = residuals
    own = _own(labels, g)
    at = ((1 + scores - (own * scores).sum(1, keepdims=True) == 0).astype(g.dtype)) * (1 - own)
    return g + (at - own * at.sum(1, keepdims=True)) / g.size


def _wrong(name: str, right: Callable[..., Layer], change: Change, words: str = "", shape: tuple[int, ...] = SHAPE) -> Mutant:
    return Mutant(f"{right().name}: {name}", right(change=change), right(), shape, words)


WRONG: tuple[Mutant, ...] = (
    _wrong("the class weights forgotten", CROSSED, _plain),
    _wrong("divided by N, not by the weights", CROSSED, m.times(5.0 / 4), "factor 1.25"),
    _wrong(
        "the weight of one class squared",
        CROSSED,
        lambda g, r, dy: g * (1 + 2 * (r[1] == 2).astype(g.dtype))[:, None],
        "only axis 0 at 2; there a constant factor 3",
    ),
    _wrong("an ignored label's gradient not 0", IGNORING, _not_ignored, "only axis 0 at 2"),
    _wrong("divided by all, the ignored too", IGNORING, m.times(3 / 4), "factor 0.75"),
    _wrong("the sign", LIKELIHOOD, m.times(-1.0), "factor -1; the sign is wrong"),
    _wrong("of the softmax", LIKELIHOOD, _plain),
    _wrong("the sign", BINARY, m.times(-1.0), "factor -1; the sign is wrong"),
    _wrong("summed, not the mean over outputs", BINARY, m.times(3.0), "factor 3"),
    _wrong("the positive weight forgotten", WEIGHTED, lambda g, r, dy: fn.binary_cross_entropy(*r)[1]),
    _wrong("the weight on both terms", WEIGHTED, lambda g, r, dy: 3 * fn.binary_cross_entropy(*r)[1]),
    _wrong("delta forgotten on the lines", HUBER, lambda g, r, dy: namespace(g).where(abs(r[0] - r[1]) > 0.4, g / 0.4, g)),
    _wrong("the parabola's everywhere", HUBER, lambda g, r, dy: (r[0] - r[1]) / g.size),
    _wrong("the error for its sign", ABSOLUTE, lambda g, r, dy: (r[0] - r[1]) / g.size),
    _wrong("the gradient 1 where both are equal", TIED, lambda g, r, dy: namespace(g).where(r[0] == r[1], 1 / g.size, g)),
    _wrong("the label's own score missing", HINGE, _own_missing),
    _wrong("not divided by the classes", HINGE, m.times(3.0), "factor 3"),
    _wrong("the gradient at the margin", HINGE, _at_the_margin, shape=(9,)),
)

RIGHT: dict[str, tuple[Layer, tuple[int, ...]]] = {
    name: (made(), SHAPE)
    for name, made in {
        "cross-entropy: class weights": CROSSED,
        "cross-entropy: ignored label": IGNORING,
        "cross-entropy: everything": partial(IGNORING, class_weights=WEIGHTS, label_smoothing=0.2),
        "negative log-likelihood": LIKELIHOOD,
        "negative log-likelihood: weights": partial(LIKELIHOOD, class_weights=WEIGHTS),
        "binary cross-entropy": BINARY,
        "binary cross-entropy: weight": WEIGHTED,
        "huber": HUBER,
        "mean absolute error": ABSOLUTE,
        "mean absolute error: ties": TIED,
        "hinge": HINGE,
        "hinge: margin": partial(HINGE, margin=0.3),
    }.items()
}
