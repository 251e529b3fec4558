"""Both gradients side by side while a network trains: `training.Trainer(..., monitor=monitor())`."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from funcnn.arguments import check_option
from funcnn.arrays import Array, PyTree
from funcnn.combinators import divided, keys_of
from funcnn.layer import Layer
from funcnn.losses import pair_of
from funcnn.training import Loss, Metrics, Monitor


def monitor(*, every: int = 50, examples: int = 8) -> Monitor:
    """Compare `backward` with `jax.vjp` at every `every`-th step, layer by layer, inside the compiled program.

    Each layer gets the cotangent that `jax.vjp` of the layers behind it gives, so that only a layer that is wrong itself looks wrong.

    Args:
        every: how many steps lie between two checks.
        examples: how many of the batch's examples, the first, are looked at; what is wrong for these is wrong.

    Returns:
        What `training.Trainer(monitor=...)` takes. Where the network is a `serial`, each of its layers is a row: metrics "gradient_error"
        and "gradient_cosine", (layers,) each, in the order of `layer_names(net)`; of each layer's leaves the worst:
        |manual - automatic| / |automatic| and the cosine between both. NaN at the steps between.
    """
    check_option("monitor", "every", every)
    check_option("monitor", "examples", examples)

    def measure(net: Layer, loss: Loss, params: PyTree, state: PyTree, x: PyTree, targets: PyTree, key: Array) -> Metrics:
        h, targets = jax.tree.map(lambda a: a[:examples], (x, targets))
        inside = []
        if net.in_series:
            series = zip(net.layers, *divided(net, params=params, state=state), keys_of(net.name, key, len(net.layers)), strict=True)
        else:
            series = [(net, params, state, key)]
        for layer, p, s, k in series:

            def run(p: PyTree, h: Array, layer: Layer = layer, s: PyTree = s, k: Array = k) -> tuple[Array, PyTree]:
                y, _, residuals = layer.forward(p, s, h, key=k, train=True)
                return y, residuals

            h, pull, residuals = jax.vjp(run, p, h, has_aux=True)
            inside.append((layer, residuals, pull))
        dy, errors, cosines = pair_of(loss, h, targets)[1], [], []
        for layer, residuals, pull in reversed(inside):
            automatic = pull(dy)
            error, cosine = _apart(layer.backward(residuals, dy), automatic)
            errors, cosines, dy = [error, *errors], [cosine, *cosines], automatic[1]
        return {"gradient_error": jnp.stack(errors), "gradient_cosine": jnp.stack(cosines)}

    return Monitor(every, measure)


def layer_names(net: Layer) -> Sequence[str]:
    """What the monitor's rows are called: position and name of each layer."""
    return [f"{i} {layer.name}" for i, layer in enumerate(net.layers)] if net.in_series else [net.name]


def _apart(manual: PyTree, automatic: PyTree) -> tuple[Array, Array]:
    """The largest relative error and the smallest cosine of any leaf."""
    errors, cosines = [], []
    for a, b in zip(jax.tree.leaves(manual), jax.tree.leaves(automatic), strict=True):
        a, b = a.astype("float32").ravel(), b.astype("float32").ravel()
        size_a, size_b = jnp.linalg.norm(a), jnp.linalg.norm(b)
        both = size_a * size_b
        errors.append(jnp.linalg.norm(a - b) / jnp.where(size_b > 0, size_b, 1))
        cosines.append(jnp.where(both > 0, a @ b / jnp.where(both > 0, both, 1), (size_a == size_b).astype("float32")))
    return jnp.stack(errors).max(), jnp.stack(cosines).min()
