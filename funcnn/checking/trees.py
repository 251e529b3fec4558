"""Trees of arrays, as the checker needs them: what is a number with a fraction, one leaf in place of another, all entries as one vector."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arrays import Array, PyTree


def is_array(leaf: Any) -> bool:
    return isinstance(leaf, np.ndarray | np.generic | jax.Array)


def inexact(a: Array) -> bool:
    """Whether its entries are floating-point numbers, which there are derivatives by."""
    return jnp.issubdtype(a.dtype, jnp.inexact)


def flat(tree: PyTree) -> np.ndarray:
    """All entries of a tree of arrays, one after the other: (M,)."""
    leaves = [np.asarray(leaf).ravel() for leaf in jax.tree.leaves(tree)]
    return np.concatenate(leaves) if leaves else np.zeros(0)


def largest(a: np.ndarray) -> float:
    return float(abs(a).max(initial=0))


def replaced(tree: PyTree, place: int, leaf: Array) -> PyTree:
    """`tree` with another leaf at `place`, in the order of `jax.tree.leaves`."""
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, [*leaves[:place], leaf, *leaves[place + 1 :]])


def normal_like(tree: PyTree, rng: np.random.Generator) -> PyTree:
    return jax.tree.map(lambda a: np.asarray(rng.standard_normal(a.shape), a.dtype), tree)


def frozen(tree: PyTree) -> PyTree:
    """A copy whose NumPy arrays cannot be written to."""

    def freeze(a: Array) -> Array:
        if isinstance(a, np.ndarray):
            a = a.copy()
            a.setflags(write=False)
        return a

    return jax.tree.map(freeze, tree)
