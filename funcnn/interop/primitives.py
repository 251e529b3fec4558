"""An operation that JAX transforms, not traces: what it is on a CPU, and elsewhere."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax import numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import mlir

from funcnn.arrays import Array
from funcnn.cpu import decided

DTYPES = ("float16", "bfloat16", "float32", "float64")


def primitive(name: str, here: Callable[..., Any], elsewhere: Callable[..., Any], multiple_results: bool = False) -> Primitive:
    """The primitive that runs `here(*arrays, **options)` where a program is lowered for a CPU, and `elsewhere` on any other platform.

    Its type, its transposes and what it does under `vmap` are for the caller to define.
    """
    p = Primitive(name)
    p.multiple_results = multiple_results

    def on_cpu(*arrays, **options):
        return decided(lambda *arrays: here(*arrays, **options), True)(*arrays)

    mlir.register_lowering(p, mlir.lower_fun(elsewhere, multiple_results))
    mlir.register_lowering(p, mlir.lower_fun(on_cpu, multiple_results), platform="cpu")

    compiled = jax.jit(lambda *arrays, options: p.bind(*arrays, **dict(options)), static_argnames="options")

    def at_once(*arrays, **options):
        with jax.disable_jit(False):  # which would come here again
            return compiled(*arrays, options=tuple(options.items()))

    p.def_impl(at_once)
    return p


def batch_first(arrays: Sequence[Array], axes: Sequence[int | None]) -> tuple[list[Array], list[bool], Any]:
    """The arrays that a rule of `vmap` gets, with its axis as the first; which of them have it; and its size."""
    having = [axis is not None for axis in axes]
    first = [a if axis is None else jnp.moveaxis(a, axis, 0) for a, axis in zip(arrays, axes, strict=True)]
    return first, having, first[having.index(True)].shape[0]


def of_nothing(run: Callable[..., Any], arrays: Sequence[Array], having: Sequence[bool]) -> Any:
    """What `run` over an axis of size 0 returns."""
    one = jax.eval_shape(run, *(jax.ShapeDtypeStruct(a.shape[has:], a.dtype) for a, has in zip(arrays, having, strict=True)))
    return jax.tree.map(lambda y: jnp.zeros((0, *y.shape), y.dtype), one)


def varying_alike(*arrays: Array) -> list[Array]:
    """Under `jax.shard_map`: each marked as different on all devices where one of them is, whose gradient is a sum over these then."""
    varying = frozenset().union(*(jax.typeof(a).vma for a in arrays))
    more = [tuple(varying - jax.typeof(a).vma) for a in arrays]
    return [lax.pcast(a, names, to="varying") if names else a for a, names in zip(arrays, more, strict=True)]


def is_for_funcnn(*arrays: Array) -> bool:
    """Whether all are of floating-point numbers that it knows, and none is divided over explicit axes of a mesh."""
    return all(a.dtype in DTYPES for a in arrays) and not any(a.sharding and any(a.sharding.spec) for a in map(jax.typeof, arrays))


def split(a: Array, axis: int, count: int) -> Array:
    """One axis as two, the first of that many."""
    return a.reshape(*a.shape[:axis], count, a.shape[axis] // count, *a.shape[axis + 1 :])


def merge(a: Array, axis: int) -> Array:
    """An axis and the next as one."""
    return a.reshape(*a.shape[:axis], a.shape[axis] * a.shape[axis + 1], *a.shape[axis + 2 :])
