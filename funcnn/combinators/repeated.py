"""Many copies of one layer, which compile as one."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arguments import check_in_shape, check_key, check_option, check_returned
from funcnn.arrays import Array, PyTree, namespace
from funcnn.combinators.inside import check_layers, forward_of, keys_of, out_shape
from funcnn.layer import Layer, constructor


@constructor
def repeat(layer: Layer, n: int) -> Layer:
    """`serial` of n copies of a layer, each with parameters of its own: the time to compile does not grow with n.

    On JAX forward is one `jax.lax.scan` over the copies, backward the scan in reverse; on NumPy both are plain loops.

    Args:
        layer: its output has the shape and dtype of its input.
        n: how many copies, at least 1.

    Returns:
        A layer whose `params`, `state` and residuals are those of `layer`, stacked on a new first axis of size n. It starts with the
        numbers of `serial(*n * [layer])` for the same key: copy i gets the key folded from i.

    Raises:
        TypeError: no layer.
        ValueError: n below 1; a layer that changes the shape or dtype; params or state that are not stacked.
    """
    check_layers("repeat", (layer,))
    n = check_option("repeat", "n", n)

    def init(key, in_shape):
        check_key("repeat", key)
        check_in_shape("repeat", in_shape, ("...",))
        inits = [check_returned(layer.name, "init", layer.init(jax.random.fold_in(key, i), in_shape)) for i in range(n)]
        params, state = inits[0]
        shape = out_shape(layer, params, state, in_shape)
        if shape != tuple(in_shape):
            raise ValueError(f"repeat: expected a layer that keeps the shape {tuple(in_shape)}, got {layer.name} that makes it {shape}")
        return _stacked(inits)

    def one(train, x, copy):
        """A step of the scan: a copy's params, state and key, to its new state and what it keeps."""
        p, s, k = copy
        y, s, r = forward_of("repeat", 0, layer, p, s, x, k, train)
        if y.shape != x.shape or y.dtype != x.dtype:
            got = f"{layer.name} that makes {x.dtype} {x.shape} {y.dtype} {y.shape}"
            raise ValueError(f"repeat: expected a layer that keeps shape and dtype, got {got}")
        return y, (s, _kept(r, p))

    def one_back(dy, copy):
        p, kept = copy
        dp, dx = check_returned(layer.name, "backward", layer.backward(_residuals(kept, p), dy))
        return dx, dp

    steps = {train: partial(one, train) for train in (False, True)}  # made once, as JAX remembers what it has compiled of a function

    def forward(params, state, x, *, key=None, train=False):
        keys, step = keys_of("repeat", key, n), steps[bool(train)]
        check(params=params, state=state)
        if _on_jax(params, state, x):
            copies = params, state, None if key is None else jnp.stack(list(keys))  # pyrefly: ignore
            x, (state, kept) = jax.lax.scan(step, x, copies, length=n)
            return x, state, (params, kept)
        made = []
        for copy in zip(divide(params), divide(state), keys, strict=True):
            x, new = step(x, copy)
            made.append(new)
        state, kept = _stacked(made)
        return x, state, (params, kept)

    def backward(residuals, dy):
        """dx_i = J_i^T dx_(i+1), from the last copy to the first."""
        check(residuals=residuals)
        if _on_jax(residuals, dy):
            dx, dparams = jax.lax.scan(one_back, dy, residuals, length=n, reverse=True)
            return dparams, dx
        dparams = []
        for r in reversed(divide(residuals)):
            dy, dp = one_back(dy, r)
            dparams.insert(0, dp)
        return _stacked(dparams), dy

    def check(**trees):
        for what, tree in trees.items():
            for a in jax.tree.leaves(tree):
                if np.shape(a)[:1] != (n,):
                    expected = f"every array in {what} to have a first axis of the {n} copies"
                    raise ValueError(f"repeat: expected {expected}, got one of shape {np.shape(a)}")

    def divide(tree, what="params"):
        check(**{what: tree})  # JAX takes the last copy for one beyond it
        return tuple(jax.tree.map(lambda a, i=i: a[i], tree) for i in range(n))

    return Layer("repeat", init, forward, backward, (layer,) * n, in_series=True, divide=divide)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Kept:
    """The residuals of a copy, each array once, and none that are its params, which are there already."""

    arrays: list[Array]
    tree: Any = field(metadata={"static": True})
    places: tuple[int, ...] = field(metadata={"static": True})  # of each residual in (params, arrays)


def _kept(residuals: PyTree, params: PyTree) -> Kept:
    leaves, tree = jax.tree.flatten(residuals)
    known = jax.tree.leaves(params)
    given, places = len(known), ()
    for leaf in leaves:
        known = known if any(leaf is a for a in known) else [*known, leaf]
        places = (*places, next(i for i, a in enumerate(known) if a is leaf))
    return Kept(known[given:], tree, places)


def _residuals(kept: Kept, params: PyTree) -> PyTree:
    known = [*jax.tree.leaves(params), *kept.arrays]
    return jax.tree.unflatten(kept.tree, [known[i] for i in kept.places])


def _on_jax(*trees: PyTree) -> bool:
    return any(isinstance(a, jax.Array) and not jnp.issubdtype(a.dtype, jax.dtypes.prng_key) for a in jax.tree.leaves(trees))


def _stacked(trees: list[PyTree]) -> PyTree:
    """One tree of arrays with a new first axis."""

    def stack(*arrays: Array) -> Array:
        return namespace(*arrays).stack(arrays)

    return jax.tree.map(stack, *trees)
