"""Both passes of a pair compiled by JAX in the precision that people train in, against themselves in float64."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from funcnn.arrays import PyTree, to_numpy
from funcnn.checking.oracles import QUICKLY, flat
from funcnn.checking.patterns import describe
from funcnn.checking.point import (
    Backward,
    Forward,
    Found,
    Point,
    Result,
    array_row,
    differentiable,
    differentiated,
    first_line,
    inexact,
    measure,
)


def _both(forward: Forward, backward: Backward, args: PyTree, context: PyTree, dy: PyTree) -> tuple[PyTree, PyTree]:
    y, residuals = forward(args, context)
    return y, backward(residuals, dy)


_jitted = jax.jit(_both, static_argnums=(0, 1), compiler_options=QUICKLY)


def by_jit(point: Point, args: PyTree, context: PyTree, dy: PyTree) -> tuple[PyTree, PyTree, PyTree]:
    """y and the gradient by both passes in one program in `point.dtype`, and (args, context, dy) as they were rounded for it."""
    low = jax.tree.map(lambda a: jnp.asarray(a, point.dtype if inexact(a) else None), (args, context, dy))
    y, raw = _jitted(point.forward, point.backward, *low)
    return y, raw, low


def against_jitted(point: Point, found: Found, rng: np.random.Generator) -> Result:
    """Both passes jitted in a lower precision, against themselves in float64.

    What the same rounding of the arguments changes in float64, near a kink for instance, is allowed too.
    """
    if point.ties:
        return [], []
    if point.wide:
        return [], [
            "jitted: it closes over a NumPy array of 64 bits, which JAX mixes up when the precision changes; pass it as an argument"
        ]
    with jax.enable_x64(point.dtype == "float64"):
        try:
            y, raw, low = by_jit(point, point.args, point.context, found.dy)
        except Exception as error:
            words = f"expected both passes to run under jit, got {first_line(error)}"
            return ([point.broken(words)], []) if point.jit else ([], [f"jitted: JAX cannot compile both passes ({type(error).__name__})"])
    if not np.isfinite(flat(to_numpy(y, "float64"))).all():
        return [], [f"jitted: forward overflows in {point.dtype}"]
    for (name, _), g in zip(differentiated(point), differentiable(raw, point.args), strict=True):
        if g.dtype != point.dtype:
            return [point.broken(f"expected d{name} in {point.dtype}, as the arguments are, got {g.dtype}")], []
    got, eps = differentiable(to_numpy(raw, "float64"), point.args), float(jnp.finfo(point.dtype).eps)
    args, context, dy = to_numpy(low, "float64")
    exact = measure(point, args, context, dy, eps, rng)
    coarser = eps / float(jnp.finfo("float64").eps)
    moved = [np.maximum(m, coarser * n) for m, n in zip(exact.moved, found.moved, strict=True)]  # what cancels leaves rounding behind
    exact = exact._replace(relative=coarser * exact.relative, moved=moved)
    rows = []
    for i, ((name, axes), g, e) in enumerate(zip(differentiated(point), got, exact.gradient, strict=True)):
        if not np.isfinite(g).all():
            return [point.broken(f"expected finite gradients in {point.dtype}, as the outputs are finite, got others in d{name}")], []
        tolerance = exact.allowed(i, e)
        row = array_row(point, name, "jitted", g, e, tolerance)
        if not row.ok:
            row = row._replace(words=describe(g, e, tolerance, axes, {}, {}) or f"jitted in {point.dtype} it is not what it is in float64")
        rows.append(row)
    return rows, []


def constants(closed: Any) -> Iterator[np.ndarray]:
    """The arrays that a traced program holds itself."""
    yield from (np.asarray(c) for c in closed.consts)
    yield from _literals(closed.jaxpr)


def _literals(jaxpr: Any) -> Iterator[np.ndarray]:
    for equation in jaxpr.eqns:
        yield from (np.asarray(v.val) for v in equation.invars if isinstance(v, core.Literal) and np.ndim(v.val))
        for value in jax.tree.leaves(tuple(equation.params.values()), is_leaf=lambda v: isinstance(v, core.ClosedJaxpr | core.Jaxpr)):
            if isinstance(value, core.ClosedJaxpr):
                yield from constants(value)
            elif isinstance(value, core.Jaxpr):
                yield from _literals(value)


def trace(forward: Forward, backward: Backward, args: PyTree, context: PyTree) -> Any:
    """Both passes as JAX sees them."""
    y = jax.eval_shape(lambda *at: forward(*at)[0], args, context)
    return jax.make_jaxpr(lambda *at: _both(forward, backward, *at))(args, context, y)


def holds_wide(first: Any, second: Any) -> bool:
    """Whether both of two traces hold the same NumPy array of 64 bits: one that the functions close over, not one they make.

    JAX 0.9 takes such an array for float64 or float32 by the setting of the first time, and refuses it after another.
    """
    held = [{a.__array_interface__["data"][0] for a in constants(p) if a.dtype.itemsize == 8} for p in (first, second)]
    return bool(held[0] & held[1])
