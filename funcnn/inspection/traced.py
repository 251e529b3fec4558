"""What a traced function says of itself: what it returns, how much it computes, and which of its results are one array.

Nothing is computed and no array is made: `jax.jit(...).trace` sees shapes alone.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core import Jaxpr, JaxprEqn, Literal

from funcnn.arrays import PyTree

RELABELLED = ("reshape", "squeeze", "broadcast_in_dim")
"""What makes of an array one of as many numbers in the same order: a compiled program keeps both in the same memory."""


class Traced(NamedTuple):
    """A function, traced for arguments of given shapes.

    Attributes:
        out: the shapes and dtypes of what it returns.
        program: what JAX has traced.
    """

    out: PyTree
    program: Any

    def multiply_adds(self) -> int:
        """Half the floating-point operations that XLA counts in the program, before it changes anything."""
        return round(max((self.program.lower().cost_analysis() or {}).get("flops", 0), 0) / 2)


def trace(function: Callable, *args: PyTree) -> Traced:
    """`function` of arguments like `args`, arrays or `jax.ShapeDtypeStruct`s."""
    program = jax.jit(function).trace(*args)
    return Traced(jax.tree.map(shape_of, program.out_info), program)


def shape_of(a: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(a.shape, a.dtype)


def bytes_made(traced: Traced, first: int, lent: Sequence[bool]) -> int:
    """The memory of the results from number `first` on, each array once however often it is returned, without those lent.

    Args:
        traced: a traced function.
        first: where those results begin, among all leaves of what it returns.
        lent: for each leaf of its arguments, whether that takes no memory of its own, as the caller keeps it anyway.
    """
    jaxpr = traced.program.jaxpr.jaxpr
    given = [object() for _ in jaxpr.invars]
    borrowed = {a for a, is_lent in zip(given, lent, strict=True) if is_lent}
    made = zip(origins(jaxpr, given)[first:], jaxpr.outvars[first:], strict=True)
    return sum({a: v.aval.size * v.aval.dtype.itemsize for a, v in made if a not in borrowed}.values())


def origins(jaxpr: Jaxpr, given: Sequence[object]) -> list[object]:
    """What each output is: one of the inputs, which are called as `given`, or an object that stands for the array that is made.

    Looks into calls, and into `jax.lax.scan`: an input that its body returns step by step is the input itself; all else it stacks,
    twice what the body returns twice, and so does XLA.
    """
    known: dict[Any, object] = dict(zip(jaxpr.invars, given, strict=True))

    def of(v: Any) -> object:
        return object() if isinstance(v, Literal) else known.setdefault(v, object())

    for eqn in jaxpr.eqns:
        known.update(zip(eqn.outvars, _made(eqn, [of(v) for v in eqn.invars]), strict=True))
    return [of(v) for v in jaxpr.outvars]


def _made(eqn: JaxprEqn, given: list[object]) -> list[object]:
    """What the outputs of an equation are, of inputs that are called as `given`."""
    inner = eqn.params.get("jaxpr", eqn.params.get("call_jaxpr"))
    inner = getattr(inner, "jaxpr", inner)
    fits = inner is not None and (len(inner.invars), len(inner.outvars)) == (len(eqn.invars), len(eqn.outvars))
    if eqn.primitive.name == "scan" and fits:
        once, carried = eqn.params["num_consts"], eqn.params["num_carry"]
        inside = [object() for _ in given]
        stacked = dict(zip(inside[once + carried :], given[once + carried :], strict=True))
        outputs = origins(inner, inside)
        return [object() for _ in outputs[:carried]] + [stacked.get(a, object()) for a in outputs[carried:]]
    if fits and eqn.primitive.name != "while":
        return origins(inner, given)
    before, after = ([getattr(v.aval, "size", None) for v in some] for some in (eqn.invars[:1], eqn.outvars))
    return given[:1] if eqn.primitive.name in RELABELLED and before == after else [object() for _ in eqn.outvars]
