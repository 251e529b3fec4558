"""A layer, run in another way."""

from typing import NamedTuple

import jax

from funcnn.arguments import check_array, check_returned
from funcnn.arrays import Array, PyTree, namespace
from funcnn.combinators.inside import check_layers
from funcnn.cpu import afresh
from funcnn.layer import Layer, constructor


class RecomputeTrain(NamedTuple):
    """What `forward` was called with, in training."""

    params: PyTree
    state: PyTree
    x: Array
    key: Array | None


class RecomputeEval(NamedTuple):
    """The same in evaluation."""

    params: PyTree
    state: PyTree
    x: Array
    key: Array | None


@constructor
def recompute(layer: Layer) -> Layer:
    """The layer, which keeps only its input (and key) and runs `forward` once more in `backward`: memory for time.

    Exact: the second pass has the same key and the same state, so the same masks and statistics; the state moves once. Worth it around
    the blocks of a deep network, each of which then needs the memory of its inside for itself alone.
    It is `backward` that saves memory; `jax.grad` of the plain pass keeps what it keeps (`with_manual_vjp` runs `backward`).

    Args:
        layer: any layer, such as a `residual` or a `serial`.

    Returns:
        A layer with the `params` and `state` of `layer`.

    Source: Chen et al. 2016, arXiv:1604.06174.
    """
    check_layers("recompute", (layer,))

    def forward(params, state, x, *, key=None, train=False):
        y, new_state, _ = check_returned(layer.name, "forward", layer.forward(params, state, x, key=key, train=train))
        return y, new_state, (RecomputeTrain if train else RecomputeEval)(params, state, x, key)

    def backward(residuals, dy):
        """dx = J^T dy, by the layer's own `backward`, of residuals that are made anew."""
        params, state, x, key = residuals
        train = isinstance(residuals, RecomputeTrain)
        _, _, inner = layer.forward(params, state, afresh(x, dy), key=key, train=train)
        return check_returned(layer.name, "backward", layer.backward(inner, dy))

    return layer._replace(forward=forward, backward=backward)


class WhenTraining(NamedTuple):
    """What the layer keeps."""

    residuals: PyTree


class WhenEval(NamedTuple):
    """What tells the shapes of both gradients."""

    params: PyTree
    empty: Array


@constructor
def when_training(layer: Layer) -> Layer:
    """The layer in training, y = x in evaluation.

    Args:
        layer: its output has the shape of its input.

    Returns:
        A layer with the `params` and `state` of `layer`.

    Raises:
        TypeError: no layer.
        ValueError: a layer that changes the shape.
    """
    check_layers("when_training", (layer,))

    def forward(params, state, x, *, key=None, train=False):
        if not train:
            check_array("when_training", "x", x, ("N", "..."))
            return x, state, WhenEval(params, x[:0])
        y, state, residuals = check_returned(layer.name, "forward", layer.forward(params, state, x, key=key, train=train))
        if y.shape != x.shape:
            raise ValueError(f"when_training: expected a layer that keeps the shape {x.shape}, got {layer.name} that makes it {y.shape}")
        return y, state, WhenTraining(residuals)

    def backward(residuals, dy):
        """In training that of the layer, else dx = dy; dparams = 0."""
        if isinstance(residuals, WhenTraining):
            return check_returned(layer.name, "backward", layer.backward(residuals.residuals, dy))
        check_array("when_training", "dy", dy, ("N", *residuals.empty.shape[1:]))
        return jax.tree.map(lambda a: namespace(a).zeros_like(a), residuals.params), dy

    return Layer("when_training", layer.init, forward, backward)
