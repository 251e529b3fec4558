"""What JAX's operations are made of and into: terms, with their shapes, and how they get into the graph."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arrays import Array
from funcnn.interop.onnx_file.graph import Graph, ints


class Term(NamedTuple):
    """What an operation gets: a name in the graph, or a constant; its shape there, in which an axis of size 1 stands for any size."""

    name: str
    shape: tuple[Any, ...]
    value: Any = None  # a NumPy array


class Run(NamedTuple):
    """What is the same for a layer: the graph, the layer's name, and N, the symbol."""

    graph: Graph
    layer: str
    n: Any

    def error(self, what: str) -> ValueError:
        return ValueError(f"to_onnx: expected operations that ONNX has, got {what} in the layer {self.layer}; write it by other ones")

    def constant(self, a: Array) -> Term:
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            raise self.error("random numbers")
        return Term("", np.shape(a), np.asarray(a))

    def add(self, op: str, *inputs: Any, **attributes: Any) -> str:
        """A node; terms among its inputs as they are."""
        return self.graph.add(op, *(self.name(a) if isinstance(a, Term) else a for a in inputs), **attributes)

    def name(self, t: Term) -> str:
        if t.name.startswith(BITS):
            raise self.error("numbers as their bits")
        return t.name if t.value is None else self.graph.constant(t.value.astype(onnx_dtype(self, "a constant", t.value.dtype)))


BITS = "bits of "
"""Before the name of numbers whose bits are looked at: there is no such node, only the way back, as where no gradient is to flow."""
DTYPES = {
    **dict.fromkeys(("float32", "bool", "int64"), None),
    **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16"), "int32"),
}  # fmt: skip
"""Those that runtimes have all operations for, and what stands for the others."""


def onnx_dtype(run: Run, what: str, dtype: Any) -> str:
    if str(dtype) not in DTYPES:
        raise run.error(f"{what} of {dtype}")
    return DTYPES[str(dtype)] or str(dtype)


def sizes_of(run: Run, shape: Sequence[Any]) -> Array | str:
    """A shape as an input: its sizes, of which some are computed from N where they depend on it."""
    if all(isinstance(size, int) for size in shape):
        return ints(*shape)
    parts: list[Any] = []
    for size in shape:
        if isinstance(size, int):
            parts.append(ints(size))
            continue
        slope, start = _linear(run, size)
        n = run.add("Shape", "x", start=0, end=1)
        n = n if slope == 1 else run.add("Mul", n, ints(slope))
        parts.append(n if start == 0 else run.add("Add", n, ints(start)))
    return run.add("Concat", *parts, axis=0)


def _linear(run: Run, size: Any) -> tuple[int, int]:
    """(a, b) of a size a N + b."""
    for slope in range(1, 4097):
        rest = size - slope * run.n
        if isinstance(rest, int):
            return slope, rest
    raise run.error(f"the size {size}")


def whole(run: Run, t: Term, shape: Sequence[Any], dtype: Any) -> str:
    """The name of a term in its full shape."""
    if tuple(t.shape) == tuple(shape):
        return run.name(t)
    if t.value is not None and all(isinstance(size, int) for size in shape):
        return run.name(run.constant(np.broadcast_to(t.value, shape)))
    return run.add("Expand", t, sizes_of(run, shape))


def stack(run: Run, terms: Sequence[Term], aval: Any) -> Term:
    """The terms, one after the other along a new first axis."""
    rows = [reshaped(run, Term(whole(run, t, aval.shape[1:], aval.dtype), aval.shape[1:]), (1, *aval.shape[1:])) for t in terms]
    return Term(run.add("Concat", *rows, axis=0), tuple(aval.shape))


def full(run: Run, equation: Any, inputs: Sequence[Term], i: int = 0) -> str:
    aval = equation.invars[i].aval
    return whole(run, inputs[i], aval.shape, aval.dtype)


def shape_of(equation: Any) -> tuple[Any, ...]:
    return tuple(equation.outvars[0].aval.shape)


def reshaped(run: Run, t: Term, shape: Sequence[Any]) -> Term:
    """The same numbers in another shape, of which one size may depend on N."""
    shape = tuple(shape)
    if tuple(t.shape) == shape:
        return t
    if t.value is not None:
        return run.constant(t.value.reshape(shape))
    symbols = [size for size in shape if not isinstance(size, int)]
    if len(symbols) < 2 and 0 not in shape:
        return Term(run.add("Reshape", t, ints(*(size if isinstance(size, int) else -1 for size in shape))), shape)
    return Term(run.add("Reshape", t, sizes_of(run, shape), allowzero=1), shape)


Make: TypeAlias = Callable[[Run, Any, list[Term]], Term | list[Term]]
"""From an operation of JAX and its inputs to its outputs."""
