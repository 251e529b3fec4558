"""Checks at a layer's entrance: one clear sentence with the layer's name, what was expected, what came, and the fix.

They look at types, shapes and dtypes only, so they also run while JAX traces, and cost nothing in the compiled program. What fits
takes one call, so that with a debugger one is soon where the layer computes; only what does not asks for the words.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import repeat
from operator import eq
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arrays import Array, PyTree

FLOATING = frozenset(map(jnp.dtype, ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")))
"""The usual ones; any other is asked for."""


def check_array(name: str, what: str, x: Array, expected: tuple[int | str, ...], hint: str = "") -> None:
    """Raise unless `x` is a floating-point (or complex) array of the `expected` shape."""
    if not isinstance(x, np.ndarray | jax.Array):
        fix = "; convert it, np.asarray(..., 'float32')" if isinstance(x, Sequence | int | float | np.generic) else ""
        raise TypeError(f"{name}: expected {what} to be a NumPy or JAX array, got {type(x).__name__}{fix}")
    if x.dtype not in FLOATING and not jnp.issubdtype(x.dtype, jnp.inexact):
        fix = f"; convert it, x.astype('float32'){' / 255' if x.dtype == 'uint8' else ''}" if isinstance(x.dtype, np.dtype) else ""
        raise TypeError(f"{name}: expected {what} of a floating-point dtype, got {x.dtype}{fix}")
    shape = x.shape
    if not len(shape) == len(expected) == sum(map(eq, shape, expected)) + sum(map(isinstance, expected, repeat(str))):
        check_shape(name, what, shape, expected, hint or (_advice(shape, expected) if what == "x" else ""))


def check_shape(name: str, what: str, shape: Sequence[int], expected: tuple[int | str, ...], hint: str = "") -> None:
    """Raise unless `shape` is as `expected`: a number stands for itself, a letter for any size, "..." for any axes."""
    wanted = expected
    if "..." in expected:
        i = expected.index("...")
        wanted = (*expected[:i], *("...",) * (len(shape) + 1 - len(expected)), *expected[i + 1 :])
    # as many sizes are equal as there are numbers: by C's loops, which a debugger does not step into
    if not len(shape) == len(wanted) == sum(map(eq, shape, wanted)) + sum(map(isinstance, wanted, repeat(str))):
        pattern = "(" + ", ".join(map(str, expected)) + ("," if len(expected) == 1 else "") + ")"
        raise ValueError(f"{name}: expected {what} of shape {pattern}, got {tuple(shape)}" + (f"; {hint}" if hint else ""))


def _advice(shape: tuple[int, ...], expected: tuple[int | str, ...]) -> str:
    """What to do about an x of `shape`, where that can be told."""
    channels, missing = expected[-1], 0 if "..." in expected else len(expected) - len(shape)
    known = not isinstance(channels, str)
    if len(expected) == 2 and missing < 0:
        return "put fn.flatten before it"
    if missing == 1 and known and shape[-1:] == (channels,):
        return "x[None] makes it a batch of one example"
    if missing == 1 and len(expected) > 2 and (not known or channels == 1):
        return "channels come last; x[..., None] adds them" + ("" if known else ", x[None] the axis of examples")
    if missing or not known or not shape or shape[-1] == channels:
        return ""
    if len(shape) > 2 and shape[1] == channels:
        return f"channels come last; x.transpose({', '.join(map(str, (0, *range(2, len(shape)), 1)))})"
    return f"x has {shape[-1]} {'channels' if len(shape) > 2 else 'features'}, the params are for {channels}"


def check_params(name: str, params: PyTree, expected: Mapping[str, tuple[int | str, ...]], what: str = "params") -> None:
    """Raise unless `params` is a dict with exactly the `expected` entries, each of its shape; no entries mean `()`."""
    if not expected:
        if not isinstance(params, tuple) or params:
            raise ValueError(f"{name}: expected {what} () as it has none, got {describe(params)}")
        return
    if not isinstance(params, dict | Mapping) or params.keys() != expected.keys():
        raise ValueError(f"{name}: expected {what} to be a dict with {sorted(expected)}, got {describe(params)}")
    for entry, shape in expected.items():
        x = params[entry]
        usual = isinstance(x, np.ndarray | jax.Array) and x.dtype in FLOATING and len(x.shape) == len(shape)
        if not usual or sum(map(eq, x.shape, shape)) + sum(map(isinstance, shape, repeat(str))) < len(shape):
            check_array(name, f"{what}[{entry!r}]", x, shape)


def describe(tree: PyTree) -> str:
    """What a message calls a tree that should have been another."""
    if isinstance(tree, Mapping):
        return f"a dict with {sorted(map(str, tree))}"
    if isinstance(tree, tuple):
        return f"a tuple of {len(tree)}"
    return f"an array of shape {tree.shape}" if isinstance(tree, np.ndarray | jax.Array) else type(tree).__name__


RETURNED = {"init": ("params", "state"), "forward": ("y", "state", "residuals"), "backward": ("dparams", "dx")}
"""What a layer's functions return."""


def check_returned(name: str, function: str, got: Any, parts: tuple[str, ...] = ()) -> Any:
    """`got`, which the layer's `function` has returned, or raise unless it is a tuple of such `parts`."""
    parts = parts or RETURNED[function]
    if not isinstance(got, tuple) or len(got) != len(parts):
        raise TypeError(f"{name}: expected {function} to return ({', '.join(parts)}), got {describe(got)}")
    return got


def check_key(name: str, key: Array | None) -> Array:
    """`key`, or raise unless it is one key of `jax.random`."""
    typed = isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.shape == ()
    raw = isinstance(key, jax.Array | np.ndarray) and key.dtype == "uint32" and key.ndim == 1
    if not typed and not raw:
        got = "none" if key is None else f"an array of shape {key.shape}" if hasattr(key, "shape") else repr(key)
        raise ValueError(f"{name}: expected one random key, got {got}; pass key=jax.random.key(seed)")
    return key


def check_in_shape(name: str, in_shape: Sequence[int], expected: tuple[int | str, ...], hint: str = "") -> None:
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


def check_flag(name: str, what: str, value: Any) -> bool:
    """`value` as a Python bool, or raise."""
    if not isinstance(value, bool | np.bool):
        raise ValueError(f"{name}: expected {what} to be True or False, got {value!r}")
    return bool(value)
