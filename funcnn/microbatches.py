"""The gradient of a batch, part by part, in the memory of one part."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from funcnn.arrays import wide


def in_microbatches(compute: Callable, count: int, split_statistics: bool) -> Callable:
    """The same mean gradient, summed up over `count` parts of the batch, one after the other.

    Args:
        compute: `(params, state, x, targets, key) -> (grads, loss, outputs, state)`, means over the examples of x (B, ...).
        count: the number of parts; 1 leaves `compute` as it is.
        split_statistics: allow networks with a state, whose parts go one after the other through it.

    Returns:
        A function like `compute`; each part has a key of its own.

    Raises:
        ValueError: a network with a state, unless allowed; a batch that does not divide into `count` parts.
    """
    if count == 1:
        return compute

    def run(params, state, x, targets, key):
        if jax.tree.leaves(state) and not split_statistics:
            raise ValueError(
                f"training: expected microbatches=1 for a network with a state, such as batch norm's, got {count}: each part would be "
                "normalised by its own statistics; pass split_statistics=True if that is meant"
            )
        if len(x) % count:
            raise ValueError(f"training: expected a batch that divides into {count} microbatches, got {len(x)} examples")

        def one(carry, part):
            total, state = carry
            i, x, targets = part
            grads, value, outputs, state = compute(params, state, x, targets, jax.random.fold_in(key, i))
            return (jax.tree.map(lambda t, g: t + g.astype(t.dtype), total, grads), state), (value, outputs)

        parts = jax.tree.map(lambda a: a.reshape(count, len(a) // count, *a.shape[1:]), (x, targets))
        zeros = jax.tree.map(lambda p: jnp.zeros(p.shape, wide(p.dtype)), params)  # many small parts are not added up in bfloat16
        (total, state), (values, outputs) = jax.lax.scan(one, (zeros, state), (jnp.arange(count), *parts))
        grads = jax.tree.map(lambda t, p: (t / count).astype(p.dtype), total, params)
        return grads, values.mean(), outputs.reshape(len(x), *outputs.shape[2:]), state

    return run
