"""One source for two array libraries: which of them an array belongs to."""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

Array: TypeAlias = Any
"""A NumPy array, a JAX array or a tracer; which of them, only the run knows."""

PyTree: TypeAlias = Any
"""Nested tuples and dicts of arrays."""

HALVES = ("float16", "bfloat16")
"""Floating-point numbers of 16 bits."""


def namespace(*arrays: Array) -> Any:
    """The array library of `arrays`: JAX as soon as one of them is JAX's, else NumPy."""
    for a in arrays:
        if isinstance(a, jax.Array):
            return jnp
    return np


def wide(dtype: Any) -> str:
    """What a sum or mean over many entries is kept in: float64 for float64, else float32."""
    return "float64" if dtype == "float64" else "float32"


def to_numpy(tree: PyTree, dtype: Any = None) -> PyTree:
    """`tree` with every JAX array as a NumPy array, floating-point ones as `dtype` where it is given.

    Random keys stay as they are: they come from `jax.random` on either path.
    """

    def convert(a: Array) -> Array:
        if not isinstance(a, np.ndarray | np.generic | jax.Array):
            raise TypeError(f"to_numpy: expected a tree of NumPy or JAX arrays, got {type(a).__name__} in it")
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            return a
        return np.asarray(a, dtype if jnp.issubdtype(a.dtype, jnp.inexact) else None)

    return jax.tree.map(convert, tree)
