"""A layer as the operations that JAX traces of it, channels last; for what the table has not, and for layers of a user's."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export
from jax.extend import core

from funcnn.arrays import Array, PyTree
from funcnn.cpu import cpu_tuning
from funcnn.interop.onnx_file.graph import Graph, Value
from funcnn.interop.onnx_file.primitives import PRIMITIVES
from funcnn.interop.onnx_file.terms import Run, Term, onnx_dtype, stack, whole
from funcnn.interop.programs import for_any_batch
from funcnn.layer import Layer

INLINED = {
    "jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call",
    "custom_vjp_call_jaxpr",
}  # fmt: skip
"""Operations that are programs."""


def traced(layer: Layer, params: PyTree, state: PyTree, in_shape: tuple[int, ...]) -> tuple[Any, Any]:
    """What a layer makes of any number N of examples, shape and dtype, and its program of (*params, *state, x)."""
    x = jax.ShapeDtypeStruct((jax_export.symbolic_shape("N")[0], *in_shape), "float32")

    def run(params: PyTree, state: PyTree, x: Array) -> Array:
        return layer.apply(params, state, x)[0]

    def trace() -> Any:
        with cpu_tuning(False):
            return jax.jit(run).trace(params, state, x)

    found = for_any_batch("to_onnx", lambda x: run(params, state, x), x, trace)
    return found.out_info, found.jaxpr


def by_program(g: Graph, layer: Layer, params: PyTree, state: PyTree, x: Value) -> Value:
    """The nodes of a layer's program."""
    x = g.channels_last(x)
    y, program = traced(layer, params, state, x.shape)
    n = program.in_avals[-1].shape[0]
    run = Run(g, layer.name, n)
    given = [*map(run.constant, jax.tree.leaves((params, state))), Term(x.name, (n, *x.shape))]
    (made,) = run_program(run, program.jaxpr, program.consts, given)
    return Value(whole(run, made, y.shape, y.dtype), tuple(y.shape[1:]))


def run_program(
    run: Run, jaxpr: Any, constants: Sequence[Array], given: Sequence[Term], wanted: Sequence[bool] | None = None
) -> list[Term]:
    """What the program makes of the given terms, as nodes; NOTHING for outputs that are not wanted."""
    known = dict(zip(jaxpr.constvars, map(run.constant, constants), strict=True)) | dict(zip(jaxpr.invars, given, strict=True))

    def read(v: Any) -> Term:
        return known[v] if not isinstance(v, core.Literal) else run.constant(np.asarray(v.val, v.aval.dtype))  # pyrefly: ignore

    outs = [v for v, want in zip(jaxpr.outvars, wanted or [True] * len(jaxpr.outvars), strict=True) if want]
    for equation, used in _needed(jaxpr, outs):
        known |= dict(zip(equation.outvars, _made(run, equation, [read(v) for v in equation.invars], used), strict=True))
    return [read(v) if v in outs else NOTHING for v in jaxpr.outvars]


NOTHING = Term("", ())


def _needed(jaxpr: Any, outs: Sequence[Any]) -> Iterator[tuple[Any, list[bool]]]:
    """The operations that the outputs depend on, and which of what each makes: residuals are not made."""
    wanted, kept = {v for v in outs if not isinstance(v, core.Literal)}, []
    for equation in reversed(jaxpr.eqns):
        used = [v in wanted for v in equation.outvars]
        if any(used):
            kept.append((equation, used))
            wanted |= {v for v in equation.invars if not isinstance(v, core.Literal)}
    return reversed(kept)


def _made(run: Run, equation: Any, inputs: list[Term], used: list[bool]) -> list[Term]:
    """What one operation makes."""
    name, options, outs = equation.primitive.name, equation.params, [v.aval for v in equation.outvars]
    if name in INLINED:
        inner = next(options[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in options)
        return run_program(run, getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), inputs, used)
    if name == "scan":
        return _scanned(run, equation, inputs, used)
    if all(t.value is not None for t in inputs) and name not in BY_SIZES and all(map(_is_known, outs)):
        arrays = [jnp.asarray(np.broadcast_to(t.value, v.aval.shape)) for t, v in zip(inputs, equation.invars, strict=True)]
        made = equation.primitive.bind(*arrays, **options)
        return [run.constant(a) for a in (made if equation.primitive.multiple_results else [made])]
    for out in outs:
        onnx_dtype(run, name, out.dtype)
    if all(0 in out.shape for out in outs):  # arrays without a number are all alike
        return [run.constant(np.zeros([size if isinstance(size, int) else 1 for size in out.shape], out.dtype)) for out in outs]
    if name not in PRIMITIVES:
        raise run.error(f"the operation {name!r}")
    made = PRIMITIVES[name](run, equation, inputs)
    return made if isinstance(made, list) else [made]


BY_SIZES = {"broadcast_in_dim", "dim_as_value"}
"""Operations that are not computed here: one would make large constants of small ones, the other depends on N."""


def _is_known(aval: Any) -> bool:
    """Whether its shape does not depend on the number of examples."""
    return all(isinstance(size, int) for size in aval.shape)


def _scanned(run: Run, equation: Any, inputs: list[Term], used: list[bool]) -> list[Term]:
    """A loop of known length over constants, such as the params of `repeat`: its rounds one after the other."""
    options, outs = equation.params, equation.outvars
    body, fixed, carried = options["jaxpr"], options["num_consts"], options["num_carry"]
    consts, carry, rows = inputs[:fixed], inputs[fixed : fixed + carried], inputs[fixed + carried :]
    if any(t.value is None for t in rows):
        raise run.error("a loop over arrays that it computes")
    order, made = range(options["length"])[:: -1 if options["reverse"] else 1], {}
    rows = [np.broadcast_to(t.value, v.aval.shape) for t, v in zip(rows, equation.invars[fixed + carried :], strict=True)]
    for i in order:
        given = [*consts, *carry, *(run.constant(a[i]) for a in rows)]
        made[i] = run_program(run, body.jaxpr, body.consts, given, [True] * carried + used[carried:])
        carry = made[i][:carried]
    stacked = (stack(run, [made[i][j] for i in sorted(made)], outs[j].aval) if used[j] else NOTHING for j in range(carried, len(outs)))
    return [*carry, *stacked]
