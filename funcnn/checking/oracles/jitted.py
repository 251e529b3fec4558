"""Both passes of a pair compiled by JAX in the precision that people train in, against themselves in float64."""

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arrays import PyTree, to_numpy
from funcnn.checking.pairs import QUICKLY, both
from funcnn.checking.patterns import describe
from funcnn.checking.points import Point
from funcnn.checking.report import Result, broken, raised, row_of_entries
from funcnn.checking.tolerances import Measured, measure
from funcnn.checking.trees import flat, inexact

WIDE = "jitted: it closes over a NumPy array of 64 bits, which JAX mixes up when the precision changes; pass it as an argument"


def by_jit(point: Point, measured: Measured, rng: np.random.Generator) -> Result:
    """Both passes jitted in a lower precision, against themselves in float64.

    What the same rounding of the arguments changes in float64, near a kink for instance, is allowed too.
    """
    if point.ties:
        return [], []
    if point.wide:
        return [], [WIDE]
    try:
        y, dargs, (args, context, dy) = run_jitted(point, measured.dy)
    except Exception as error:
        words = f"expected both passes to run under jit, got {raised(error)}"
        return ([broken(words)], []) if point.jit else ([], [f"jitted: JAX cannot compile both passes ({type(error).__name__})"])
    if not np.isfinite(flat(to_numpy(y, "float64"))).all():
        return [], [f"jitted: forward overflows in {point.dtype}"]
    for variable, g in zip(point.variables, point.by_variable(dargs), strict=True):
        if g.dtype != point.dtype:
            return [broken(f"expected d{variable.name} in {point.dtype}, as the arguments are, got {g.dtype}")], []
    exact, rows = _expected(point._replace(args=args, context=context), dy, measured, rng), []
    for i, (variable, g, e) in enumerate(zip(point.variables, point.by_variable(to_numpy(dargs, "float64")), exact.gradient, strict=True)):
        if not np.isfinite(g).all():
            return [broken(f"expected finite gradients in {point.dtype}, as the outputs are finite, got others in d{variable.name}")], []
        tolerance = exact.allowed(i, e)
        row = row_of_entries(variable.name, "jitted", g, e, tolerance)
        if not row.ok:
            words = describe(g, e, tolerance, variable.axes, {}, {})
            row = row._replace(words=words or f"jitted in {point.dtype} it is not what it is in float64")
        rows.append(row)
    return rows, []


def run_jitted(point: Point, dy: PyTree) -> tuple[PyTree, PyTree, tuple[PyTree, PyTree, PyTree]]:
    """The outputs and the gradient by one program in `point.dtype`; and (args, context, dy), rounded for it, in float64."""
    with jax.enable_x64(point.dtype == "float64"):
        low = jax.tree.map(lambda a: jnp.asarray(a, point.dtype if inexact(a) else None), (point.args, point.context, dy))
        y, dargs = _jitted(point.forward, point.backward, *low)
    return y, dargs, to_numpy(low, "float64")


_jitted = jax.jit(both, static_argnums=(0, 1), compiler_options=QUICKLY)


def _expected(point: Point, dy: PyTree, measured: Measured, rng: np.random.Generator) -> Measured:
    """The gradient in float64 at the rounded arguments, and what rounding in `point.dtype` allows."""
    eps = float(jnp.finfo(point.dtype).eps)
    exact, coarser = measure(point, dy, eps, rng), eps / float(jnp.finfo("float64").eps)
    # what cancels leaves rounding behind
    moved = [np.maximum(m, coarser * n) for m, n in zip(exact.conditioning, measured.conditioning, strict=True)]
    return exact._replace(relative=coarser * exact.relative, moved=moved)
