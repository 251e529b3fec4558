"""One source for two array libraries: which of them an array belongs to."""

from collections.abc import Callable, Iterable
from functools import reduce, wraps
from operator import add
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
    """What a sum or mean over many entries is kept in: float32 for halves and whole numbers, else the dtype itself."""
    return "float32" if dtype in HALVES or not jnp.issubdtype(dtype, jnp.inexact) else str(dtype)


def is_half(a: Array) -> bool:
    """Whether `a` is of 16-bit floating-point numbers; asked often, so by the size first, which takes no time."""
    return a.dtype.itemsize == 2 and a.dtype in HALVES


def widened(a: Array) -> Array:
    """`a`, where it is a half as float32, in which what is computed of halves keeps its sums, squares and steps in between."""
    return a.astype("float32") if is_half(a) else a


def rounded(a: Array, *like: Array) -> Array:
    """`a`, rounded to the dtype of `like` where that is a half."""
    dtype = namespace(*like).result_type(*like)
    return a.astype(dtype) if dtype in HALVES and a.dtype != dtype else a


def in_float32(run: Callable[..., Array]) -> Callable[..., Array]:
    """`run` of arrays, of halves computed in float32 and rounded once at the end."""

    @wraps(run)
    def computed(*args: Any, **options: Any) -> Array:
        if not [a for a in args if isinstance(a, np.ndarray | jax.Array) and is_half(a)]:
            return run(*args, **options)
        is_array = [isinstance(a, np.ndarray | jax.Array) for a in args]
        y = run(*(widened(a) if array else a for a, array in zip(args, is_array, strict=True)), **options)
        return rounded(y, *(a for a, array in zip(args, is_array, strict=True) if array))

    return computed


def sum_of(arrays: Iterable[Array]) -> Array:
    """The sum of the arrays, of halves rounded once."""
    arrays = tuple(arrays)
    return rounded(reduce(add, map(widened, arrays)), *arrays)


def aligned(v: Array, x: Array) -> Array:
    """v with as many axes as x, its own the last: (1, ..., *v.shape)."""
    return v.reshape((1,) * (x.ndim - v.ndim) + v.shape)


def matmul(a: Array, b: Array, *, wide: bool = False) -> Array:
    """a @ b, of halves summed in float32 and rounded once; or not, where it is wanted `wide` for more to be added to it.

    JAX sums products of halves in float32 by itself, on the units made for them. NumPy is many times faster in float32, of which
    it has a BLAS, and makes bfloat16 float32 anyway.
    """
    if not (is_half(a) or is_half(b)):
        return a @ b
    if namespace(a, b) is np:
        y = widened(a) @ widened(b)
        return y if wide else rounded(y, a, b)
    return jnp.matmul(a, b, preferred_element_type="float32") if wide and is_half(a) and is_half(b) else a @ b


def einsum(subscripts: str, a: Array, b: Array) -> Array:
    """An einsum of two arrays, of halves summed in float32 and rounded once."""
    if namespace(a, b) is np:
        return rounded(np.einsum(subscripts, widened(a), widened(b)), a, b)
    return jnp.einsum(subscripts, a, b)


def erfc(a: Array) -> Array:
    """The complementary error function, which NumPy leaves to SciPy, without which there is no JAX."""
    from scipy import special  # takes a while to import, and is rarely needed

    return special.erfc(a) if namespace(a) is np else jax.scipy.special.erfc(a)


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
