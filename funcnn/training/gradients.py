"""How a batch becomes a gradient: `(params, state, x, targets, key) -> (grads, loss, outputs, state)`, and what transforms that.

A way to make one is a function `(net, loss) -> gradient`; `Trainer(gradients=...)` takes it.
"""

from collections.abc import Callable
from typing import Literal, Protocol

import jax
import jax.numpy as jnp

from funcnn.arguments import check_option
from funcnn.arrays import Array, PyTree, wide
from funcnn.layer import Layer
from funcnn.losses import pair_of
from funcnn.training.devices import joined, parts


class Loss(Protocol):
    def __call__(self, outputs: PyTree, targets: PyTree, /) -> tuple[Array, PyTree]: ...


class Gradient(Protocol):
    def __call__(self, params: PyTree, state: PyTree, x: PyTree, targets: PyTree, key: Array, /) -> tuple: ...


def manual(net: Layer, loss: Loss) -> Gradient:
    """One forward pass in training mode and `net.backward`."""

    def gradient(params, state, x, targets, key):
        outputs, state, residuals = net.forward(params, state, x, key=key, train=True)
        value, doutputs = pair_of(loss, outputs, targets)
        grads, _ = net.backward(residuals, doutputs)
        grads = jax.tree.map(lambda g, p: g.astype(p.dtype), grads, params)  # as `jax.grad` does
        return grads, value, outputs, state

    return gradient


def automatic(net: Layer, loss: Loss) -> Gradient:
    """`jax.grad` of the plain forward pass."""

    def gradient(params, state, x, targets, key):
        def value_of(params):
            outputs, new_state = net.apply(params, state, x, key=key, train=True)
            return pair_of(loss, outputs, targets)[0], (outputs, new_state)

        (value, (outputs, new_state)), grads = jax.value_and_grad(value_of, has_aux=True)(params)
        return grads, value, outputs, new_state

    return gradient


GRADIENTS = {"manual": manual, "auto": automatic}


def microbatched(
    count: int, gradients: Literal["manual", "auto"] | Callable[[Layer, Loss], Gradient] = "manual", *, split_statistics: bool = False
) -> Callable[[Layer, Loss], Gradient]:
    """The same mean gradient, summed up over parts of the batch, one after the other, in the memory of one part.

    On a CPU that memory then stays in the cache. Devices over which the batch is divided have their share of each part. Dropout draws
    for each part anew.

    Args:
        count: the number of parts.
        gradients: how each part becomes a gradient, as in `Trainer`.
        split_statistics: allow networks with a state, such as batch norm: each part is then normalised by itself.

    Returns:
        What `Trainer(gradients=...)` takes.

    Raises:
        ValueError: a count below 1; where it is used, a network with a state, unless allowed, or a batch that does not divide.
    """
    check_option("microbatched", "count", count)
    if gradients not in GRADIENTS and not callable(gradients):
        raise ValueError(f'microbatched: expected gradients "manual", "auto" or (net, loss) -> gradient, got {gradients!r}')

    def make(net: Layer, loss: Loss) -> Gradient:
        compute = (gradients if callable(gradients) else GRADIENTS[gradients])(net, loss)
        return compute if count == 1 else _summed(compute, count, split_statistics)

    return make


def _summed(compute: Gradient, count: int, split_statistics: bool) -> Gradient:
    def gradient(params, state, x, targets, key):
        if jax.tree.leaves(state) and not split_statistics:
            raise ValueError(
                f"microbatched: expected count=1 for a network with a state, such as batch norm's, got {count}: each part would be "
                "normalised by its own statistics; pass split_statistics=True if that is meant"
            )
        size = jax.tree.leaves(x)[0].shape[0]
        if size % count:
            raise ValueError(f"microbatched: expected a batch that divides into {count} parts, got {size} examples")

        def one(carry, part):
            total, state = carry
            i, x, targets = part
            grads, value, outputs, state = compute(params, state, x, targets, jax.random.fold_in(key, i))
            return (jax.tree.map(lambda t, g: t + g.astype(t.dtype), total, grads), state), (value, outputs)

        zeros = jax.tree.map(lambda p: jnp.zeros(p.shape, wide(p.dtype)), params)  # many small parts are not added up in bfloat16
        (total, state), (values, outputs) = jax.lax.scan(one, (zeros, state), (jnp.arange(count), *parts((x, targets), count)))
        grads = jax.tree.map(lambda t, p: (t / count).astype(p.dtype), total, params)
        return grads, values.mean(), joined(outputs), state

    return gradient
