"""Wrong backward passes, made by rule: what a gradient checker must catch.

Each is a layer of funcnn whose forward pass is right and whose gradient is not. `catalogue.py` holds all of them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import funcnn as fn
from funcnn.arrays import Array, aligned, namespace
from funcnn.convolution.geometry import offsets, overlap_add, tap, window
from funcnn.layer import Layer
from funcnn.normalization import BatchNormEval

Change = Callable[[Array, Any, Array], Array]
"""`(gradient, residuals, dy) -> wrong gradient` of one leaf."""


class Mutant(NamedTuple):
    """A wrong layer.

    Attributes:
        name: what is wrong.
        layer, right: the wrong and the right layer.
        in_shape: of one example.
        words: a regular expression for how a report must name the place or factor; "" where the error has neither.
    """

    name: str
    layer: Layer
    right: Layer
    in_shape: tuple[int, ...]
    words: str = ""


def changed(layer: Layer, leaf: str, change: Change) -> Layer:
    """`layer` with the gradient of one leaf ("x", or an entry of the params) changed."""

    def backward(residuals, dy):
        dparams, dx = layer.backward(residuals, dy)
        if leaf == "x":
            return dparams, change(dx, residuals, dy)
        return {**dparams, leaf: change(dparams[leaf], residuals, dy)}, dx

    return layer._replace(backward=backward)


def misled(layer: Layer, mislead: Callable[[Any], Any], only: str = "") -> Layer:
    """`layer` whose backward gets other residuals; where `only` names a leaf, only that one's gradient is wrong."""

    def backward(residuals, dy):
        wrong = layer.backward(mislead(residuals), dy)
        if not only:
            return wrong
        dparams, dx = layer.backward(residuals, dy)
        return (dparams, wrong[1]) if only == "x" else ({**dparams, only: wrong[0][only]}, dx)

    return layer._replace(backward=backward)


def times(c: float) -> Change:
    """The gradient times c."""
    return lambda g, residuals, dy: g * c


def times_batch(power: int) -> Change:
    """The gradient times N^power."""
    return lambda g, residuals, dy: g * float(jax.tree.leaves(residuals)[0].shape[0]) ** power


def through(dtype: str) -> Change:
    """The gradient rounded to `dtype` and back."""

    def change(g, residuals, dy):
        return namespace(g).asarray(jnp.asarray(g).astype(dtype).astype(g.dtype))

    return change


def where(factor: float, *index: Any) -> Change:
    """The gradient times `factor` at `index` alone."""

    def change(g, residuals, dy):
        factors = np.ones(g.shape, g.dtype)
        factors[index] = factor
        return g * factors

    return change


def permuted(how: Callable[[Any, Array], Array]) -> Change:
    """The gradient with its entries moved by `how(xp, gradient)`."""
    return lambda g, residuals, dy: how(namespace(g), g)


def instead(gradient: Callable[[Any, Any, Array], Array]) -> Change:
    """Another gradient altogether, of `(xp, residuals, dy)`."""
    return lambda g, residuals, dy: gradient(namespace(g, dy), residuals, dy)


def loss_layer(name: str, loss: Callable[[Array, Array], tuple[Array, Array]], targets: np.ndarray) -> Layer:
    """A loss with fixed targets as a layer with a scalar output."""

    def forward(params, outputs):
        return loss(outputs, namespace(outputs).asarray(targets, outputs.dtype if targets.dtype.kind == "f" else None))

    def backward(doutputs, dy):
        return (), doutputs * dy

    return fn.stateless(name, forward, backward)


def stale(layer: Layer) -> Layer:
    """`layer` whose backward uses the residuals of its last forward pass, whichever that was."""
    last = []

    def forward(params, state, x, *, key=None, train=False):
        y, state, residuals = layer.forward(params, state, x, key=key, train=train)
        last[:] = [residuals]
        return y, state, residuals

    return layer._replace(forward=forward, backward=lambda residuals, dy: layer.backward(last[0], dy))


def max_pool_all_ties(window_size: tuple[int, ...], *, stride: int | None = None) -> Layer:
    """Max pooling whose backward gives the whole gradient to EVERY entry that ties for the maximum (tutorials T3, T4).

    Wrong where two entries of a window are equal, as the zeros behind a ReLU are: the parts must sum to dy.
    """
    options = window("max_pool_all_ties", window_size, window_size if stride is None else stride, "VALID")

    def forward(params, x):
        axes = options.over(x.shape[1:-1]).axes
        y = namespace(x).stack([tap(x, axes, k) for k in offsets(axes)]).max(0)  # (N, P, Q, C)
        return y, (x, y)

    def backward(residuals, dy):
        x, y = residuals
        axes, xp = options.over(x.shape[1:-1]).axes, namespace(x, dy)
        return (), overlap_add(lambda k: xp.where(tap(x, axes, k) == y, dy, 0), axes)

    return fn.stateless("max_pool_all_ties", forward, backward)


def _unmasked_forward(params, x):
    return namespace(x).where(x > 0, x, 0), ()


def _unmasked_backward(residuals, dy):
    return (), dy


relu_unmasked = fn.stateless("relu_unmasked", _unmasked_forward, _unmasked_backward)
"""ReLU whose mask the backward pass forgot (tutorial T4). Wrong: dx = dy, also where x <= 0."""


def batch_norm_without(term: str) -> Layer:
    """Batch norm whose dx lacks one of its terms, in training."""
    right = fn.batch_norm()

    def backward(residuals, dy):
        grads, dx = right.backward(residuals, dy)
        if isinstance(residuals, BatchNormEval):
            return grads, dx
        x, mean, inv_std, scale = residuals
        factor, x_hat = inv_std * scale / (x.size // x.shape[-1]), (x - aligned(mean, x)) * aligned(inv_std, x)
        if term == "mean":
            return grads, dx + aligned(factor * grads["shift"], x)
        return grads, dx + x_hat * aligned(factor * grads["scale"], x)

    return right._replace(backward=backward)


def unbiased(residuals: Any) -> Any:
    """Residuals of batch norm with the standard deviation of the unbiased variance."""
    m = residuals.x.size / residuals.x.shape[-1]
    if isinstance(residuals, BatchNormEval):
        return residuals
    return residuals._replace(inv_std=residuals.inv_std * float(np.sqrt((m - 1) / m)))


def redrawn(residuals: Any) -> Any:
    """Residuals of dropout with another mask."""
    if not hasattr(residuals, "mask"):
        return residuals
    mask = jax.random.bernoulli(jax.random.key(99), 0.7, residuals.mask.shape)
    return residuals._replace(mask=namespace(residuals.mask).asarray(mask))


def kernel(how: Callable[[Any, Array], Array]) -> Callable[[Any], Any]:
    """Residuals (x, w) with another w."""
    return lambda residuals: (residuals[0], how(namespace(residuals[1]), residuals[1]))


def swapped_branches(layer: Layer) -> Layer:
    """Each branch of a concatenation gets the channels of the other."""

    def backward(residuals, dy):
        half = dy.shape[-1] // 2
        return layer.backward(residuals, namespace(dy).concatenate([dy[..., half:], dy[..., :half]], axis=-1))

    return layer._replace(backward=backward)


def overwriting(layer: Layer, window_size: int, stride: int) -> Layer:
    """Overlapping max pooling whose windows overwrite each other's gradients (the last wins), where they should add up."""
    options = window("max_pool", (window_size,) * 2, stride, "VALID")

    def backward(residuals, dy):
        empty, winner = residuals
        axes, xp = options.over(empty.shape[1:-1]).axes, namespace(winner, dy)
        taps = {k: i for i, k in enumerate(offsets(axes))}
        total = overlap_add(lambda k: xp.where(winner == taps[k], dy, 0), axes)
        count = overlap_add(lambda k: (winner == taps[k]).astype(dy.dtype), axes)
        return (), total / xp.where(count > 1, count, 1)

    return layer._replace(backward=backward)


LABELS = np.arange(4, dtype="int32") % 3
"""For losses of four examples."""


def cross_entropy(change: Change | None = None, **options: Any) -> Layer:
    """Cross-entropy of four examples, whose gradient is changed."""

    def loss(logits, labels):
        value, dlogits = fn.softmax_cross_entropy(logits, labels, **options)
        return value, change(dlogits, (logits,), dlogits) if change else dlogits

    return loss_layer("softmax_cross_entropy", loss, LABELS)


def squared_error(change: Change | None = None) -> Layer:
    """The squared error of four examples with three outputs, whose gradient is changed."""

    def loss(outputs, targets):
        value, doutputs = fn.mean_squared_error(outputs, targets)
        return value, change(doutputs, (outputs,), doutputs) if change else doutputs

    return loss_layer("mean_squared_error", loss, np.linspace(-1.0, 1.0, 12, dtype="float32").reshape(4, 3))


def smoothing_forgotten() -> Layer:
    """Cross-entropy of smoothed labels with the gradient of the plain ones."""

    def loss(logits, labels):
        return fn.softmax_cross_entropy(logits, labels, label_smoothing=0.1)[0], fn.softmax_cross_entropy(logits, labels)[1]

    return loss_layer("softmax_cross_entropy", loss, LABELS)
