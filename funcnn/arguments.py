"""Checks at a layer's entrance: one clear sentence with the layer's name, what was expected, what came, and the fix.

They look at types, shapes and dtypes only, so they also run while JAX traces, and cost nothing in the compiled program.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arrays import Array, PyTree


def check_shape(name: str, what: str, shape: Sequence[int], expected: Sequence[int | str], hint: str = "") -> None:
    """Raise unless `shape` is as `expected`: a number stands for itself, a letter for any size, "..." for any axes."""
    if not _fits(tuple(shape), tuple(expected)):
        pattern = "(" + ", ".join(map(str, expected)) + ("," if len(expected) == 1 else "") + ")"
        raise ValueError(f"{name}: expected {what} of shape {pattern}, got {tuple(shape)}" + (f"; {hint}" if hint else ""))


def _fits(shape: tuple[int, ...], expected: tuple[int | str, ...]) -> bool:
    if "..." in expected:
        i = expected.index("...")
        end = len(shape) - len(expected) + i + 1
        return end >= i and _fits(shape[:i] + shape[end:], expected[:i] + expected[i + 1 :])
    return len(shape) == len(expected) and all(isinstance(e, str) or e == s for e, s in zip(expected, shape, strict=True))


def check_array(name: str, what: str, x: Array, expected: Sequence[int | str], hint: str = "") -> None:
    """Raise unless `x` is a floating-point (or complex) array of the `expected` shape."""
    if not isinstance(x, np.ndarray | jax.Array):
        raise TypeError(f"{name}: expected {what} to be a NumPy or JAX array, got {type(x).__name__}")
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        scale = " / 255" if x.dtype == "uint8" else ""
        raise TypeError(f"{name}: expected {what} of a floating-point dtype, got {x.dtype}; convert it, x.astype('float32'){scale}")
    check_shape(name, what, x.shape, expected, hint)


def check_params(name: str, params: PyTree, expected: Mapping[str, Sequence[int | str]], what: str = "params") -> None:
    """Raise unless `params` is a dict with exactly the `expected` entries, each of its shape; no entries mean `()`."""
    if not expected:
        if not isinstance(params, tuple) or params:
            raise ValueError(f"{name}: expected {what} () as it has none, got {_describe(params)}")
        return
    if not isinstance(params, Mapping) or set(params) != set(expected):
        raise ValueError(f"{name}: expected {what} to be a dict with {sorted(expected)}, got {_describe(params)}")
    for entry, shape in expected.items():
        check_array(name, f"{what}[{entry!r}]", params[entry], shape)


def _describe(tree: PyTree) -> str:
    if isinstance(tree, Mapping):
        return f"a dict with {sorted(map(str, tree))}"
    return f"a tuple of {len(tree)}" if isinstance(tree, tuple) else type(tree).__name__


def check_key(name: str, key: Array | None) -> Array:
    """`key`, or raise unless it is one key of `jax.random`."""
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ()
    raw = isinstance(key, jax.Array | np.ndarray) and key.dtype == "uint32" and key.ndim == 1
    if not typed and not raw:
        got = "none" if key is None else f"an array of shape {key.shape}" if hasattr(key, "shape") else repr(key)
        raise ValueError(f"{name}: expected one random key, got {got}; pass key=jax.random.key(seed)")
    return key


def check_in_shape(name: str, in_shape: Sequence[int], expected: Sequence[int | str], hint: str = "") -> None:
    """Raise unless `in_shape`, the shape of one example, is as `expected`, in whole numbers of at least 1."""
    if not isinstance(in_shape, tuple | list):
        raise ValueError(f"{name}: expected in_shape to be the shape of one example, a tuple, got {type(in_shape).__name__}")
    check_shape(name, "in_shape", in_shape, expected, hint)
    for size in in_shape:
        check_option(name, "every size of in_shape", size)


def check_number(name: str, what: str, value: Any, allowed: str, fits: Callable[[float], bool]) -> float:
    """`value` as a Python float (a NumPy one would change the dtype of what it meets), or raise where it is not `allowed`."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating) or not fits(float(value)):
        raise ValueError(f"{name}: expected {what} {allowed}, got {value!r}")
    return float(value)


def check_option(name: str, what: str, value: Any, low: int = 1) -> int:
    """`value` as an int that is at least `low`, or raise."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        raise ValueError(f"{name}: expected {what} to be a whole number of at least {low}, got {value!r}")
    return int(value)
