"""One source for two array libraries: which namespace an array belongs to, and the checks at a layer's entrance.

Checks look at types, shapes and dtypes only, so they also run while JAX traces, and cost nothing in the compiled program.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from math import prod
from operator import add
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

Array: TypeAlias = Any
"""A NumPy array, a JAX array or a tracer; which of them, only the run knows."""

PyTree: TypeAlias = Any
"""Nested tuples and dicts of arrays."""


LARGE = 2**19
"""Numbers from which a sum is worth sharing out."""
LARGE_CHEAP = 2**16
"""Numbers from which that is so where they are cheap to make."""
PARTS = 8
"""Parts of the examples that are added up first: twice as many are too much for one loop, half as many slower."""
HALVES = ("float16", "bfloat16")
"""Floating-point numbers of 16 bits."""


def namespace(*arrays: Array) -> Any:
    """The array library of `arrays`: JAX as soon as one of them is JAX's, else NumPy."""
    return jnp if any(isinstance(a, jax.Array) for a in arrays) else np


def on_cpu(a: Array) -> bool:
    """Whether `a` is computed with on a CPU: NumPy's always, JAX's where that is the default."""
    return isinstance(a, np.ndarray) or jax.default_backend() == "cpu"


def sum_rows(a: Array, cheap: bool = False) -> Array:
    """The sum over all axes but the last: (C,).

    XLA on a CPU makes a sum into which it has fused other work number by number, on one core. A large sum is therefore a product
    with ones, before which it stores `a`; of what is `cheap` to make from stored arrays eight parts of the examples are added up
    before that, in one loop, on vectors, by all cores. For NumPy too a product is many times faster than a sum.
    """
    xp, axes = namespace(a), tuple(range(a.ndim - 1))
    if a.ndim < 3 or a.dtype in HALVES or not on_cpu(a) or (xp is not np and a.size < (LARGE_CHEAP if cheap else LARGE)):
        return a.sum(axes)
    part = len(a) // PARTS
    if not cheap or not part or xp is np:
        return _product_with_ones(a)
    added = reduce(add, (a[i * part : (i + 1) * part] for i in range(PARTS)))  # (N / 8, ..., C)
    return _product_with_ones(added) + a[part * PARTS :].sum(axes)


def _product_with_ones(a: Array) -> Array:
    rows = prod(a.shape[1:-1])
    return (namespace(a).ones((len(a), 1, rows), a.dtype) @ a.reshape(len(a), rows, a.shape[-1])).sum((0, 1))


def mean_rows(a: Array, cheap: bool = False) -> Array:
    """The mean over all axes but the last: (C,). Of 16-bit numbers, whose sum may be larger than they can be, not by their sum."""
    if a.dtype in HALVES:
        return a.mean(tuple(range(a.ndim - 1)), dtype="float32").astype(a.dtype)
    return sum_rows(a, cheap) / (a.size // a.shape[-1])


def masked(keep: Array, a: Array) -> Array:
    """`a` where `keep`, else 0. NumPy's `where` takes a branch for every number, most of them unforeseen: many times a product's time."""
    xp = namespace(keep, a)
    return a * keep + 0 if xp is np and np.isfinite(a).all() else xp.where(keep, a, 0)  # -0 + 0 is 0


def stored(run: Callable[[Array], PyTree], x: Array) -> PyTree:
    """`run(x)`, which works example by example, as an array in memory that later work reads.

    XLA on a CPU would put cheap work into every loop that reads its result, and make it anew for each of a pool's taps. It does
    not reach behind a concatenation, here of two halves of the examples.
    """
    xp, half = namespace(x), len(x) // 2
    if xp is np or not half or not on_cpu(x):
        return run(x)
    return jax.tree.map(lambda *parts: xp.concatenate(parts), run(x[:half]), run(x[half:]))


def wide(dtype: Any) -> str:
    """What a mean over many examples is kept in: float64 for float64, else float32."""
    return "float64" if dtype == "float64" else "float32"


def to_numpy(tree: PyTree, dtype: Any = None) -> PyTree:
    """`tree` with every JAX array as a NumPy array, floating-point ones as `dtype` where it is given.

    Random keys stay as they are: they come from `jax.random` on either path.
    """

    def convert(a: Array) -> Array:
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            return a
        return np.asarray(a, dtype if jnp.issubdtype(a.dtype, jnp.inexact) else None)

    return jax.tree.map(convert, tree)


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
