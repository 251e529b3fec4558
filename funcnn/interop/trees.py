"""Params and state as trees of NumPy arrays, checked against those of a network."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arguments import check_in_shape
from funcnn.arrays import Array, PyTree
from funcnn.combinators.inside import check_layers
from funcnn.cpu import cpu_tuning
from funcnn.layer import Layer


def started(who: str, net: Layer, in_shape: tuple[int, ...]) -> tuple[PyTree, PyTree]:
    """The shapes and dtypes of `net.init`, (params, state)."""
    check_layers(who, (net,))
    check_in_shape(who, in_shape, ("...",))
    with cpu_tuning(False):
        return jax.eval_shape(lambda: net.init(jax.random.key(0), tuple(in_shape)))


def check_trees(who: str, expected: tuple[PyTree, PyTree], trees: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
    """(params, state) as NumPy arrays, or raise and name every array that is not as expected."""
    given = leaves_of(trees)
    arrays = check_leaves(who, leaves_of(expected), {path: numpy_of(who, path, a) for path, a in given.items()})
    structure = jax.tree.structure(expected)
    if jax.tree.structure(trees) != structure:
        raise ValueError(f"{who}: expected (params, state) of the structure {structure}, got {jax.tree.structure(trees)}")
    return jax.tree.unflatten(structure, list(arrays.values()))


def check_leaves(who: str, expected: dict[str, Any], given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The given arrays in the expected order, or raise."""
    wrong = []
    for path in {**expected, **given}:
        a, b = expected.get(path), given.get(path)
        if a is None or b is None:
            wrong.append(f"expected {_of(path, a)}, got {_of(path, b)}")
        elif a.shape != b.shape:
            wrong.append(f"expected {path} of shape {a.shape}, got shape {b.shape}")
        elif jnp.issubdtype(a.dtype, jnp.inexact) != jnp.issubdtype(b.dtype, jnp.inexact):
            wrong.append(f"expected {path} of a dtype like {a.dtype}, got {b.dtype}")
    if wrong:
        raise ValueError(f"{who}: " + ";\n".join(wrong))
    return {path: given[path] for path in expected}


def _of(path: str, a: Any) -> str:
    return f"no {path}" if a is None else f"{path} of shape {a.shape}"


def leaves_of(trees: tuple[PyTree, PyTree]) -> dict[str, Any]:
    """The arrays by their paths, "params.0.w", "state.1.mean"."""
    found = {}
    for what, tree in zip(("params", "state"), trees, strict=True):
        for keys, a in jax.tree_util.tree_flatten_with_path(tree)[0]:
            found[".".join([what, *(str(key_name(key)) for key in keys)])] = a
    return found


def key_name(key: Any) -> Any:
    """What a step of a path in a pytree is called."""
    return next(getattr(key, what) for what in ("key", "idx", "name") if hasattr(key, what))


def numpy_of(who: str, name: str, a: Any) -> np.ndarray:
    """`a` as a NumPy array of numbers, or raise."""
    if isinstance(a, jax.Array) and jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        raise TypeError(f"{who}: expected numbers for {name}, got a random key")
    if not hasattr(a, "shape") and not isinstance(a, Sequence | int | float):
        raise TypeError(f"{who}: expected an array for {name}, got {type(a).__name__}")
    array = np.asarray(a)
    if not jnp.issubdtype(array.dtype, jnp.number) and array.dtype != bool:
        raise TypeError(f"{who}: expected numbers for {name}, got {type(a).__name__} of dtype {array.dtype}")
    return array


def exact(a: np.ndarray) -> Array:
    """As a JAX array; as it is where JAX would round it."""
    return a if jax.dtypes.canonicalize_dtype(a.dtype) != a.dtype else jnp.asarray(a)
