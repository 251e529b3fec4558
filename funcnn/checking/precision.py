"""Both passes of a pair compiled by JAX in the precision that people train in, against themselves in float64."""

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arrays import PyTree, to_numpy
from funcnn.checking.oracles import QUICKLY, flat, rounding
from funcnn.checking.patterns import describe
from funcnn.checking.point import Backward, Forward, Found, Point, Result, array_row, differentiable, differentiated, first_line, inexact


def _both(forward: Forward, backward: Backward, args: PyTree, context: PyTree, dy: PyTree) -> PyTree:
    return backward(forward(args, context)[1], dy)


_jitted = jax.jit(_both, static_argnums=(0, 1), compiler_options=QUICKLY)


def by_jit(point: Point, args: PyTree, context: PyTree, dy: PyTree) -> tuple[PyTree, PyTree]:
    """The gradient by both passes in one program in `point.dtype`, and (args, context, dy) as they were rounded for it."""
    low = jax.tree.map(lambda a: jnp.asarray(a, point.dtype if inexact(a) else None), (args, context, dy))
    return _jitted(point.forward, point.backward, *low), low


def against_jitted(point: Point, found: Found, rng: np.random.Generator) -> Result:
    """Both passes jitted in a lower precision, against themselves in float64.

    What the same rounding of the arguments changes in float64, near a kink for instance, is allowed too.
    """
    if point.ties:
        return [], []
    with jax.enable_x64(point.dtype == "float64"):
        try:
            raw, low = by_jit(point, point.args, point.context, found.dy)
        except Exception as error:
            words = f"expected both passes to run under jit, got {first_line(error)}"
            return ([point.broken(words)], []) if point.jit else ([], [f"jitted: {words}"])
    got = differentiable(to_numpy(raw, "float64"), point.args)
    for (name, _), g in zip(differentiated(point), differentiable(raw, point.args), strict=True):
        if g.dtype != point.dtype:
            return [point.broken(f"expected d{name} in {point.dtype}, as the arguments are, got {g.dtype}")], []
    args, context, dy = to_numpy(low, "float64")

    def gradient(args):
        return differentiable(to_numpy(point.backward(point.forward(args, context)[1], dy)), point.args)

    expected, moved = gradient(args), [np.zeros(g.shape) for g in got]
    eps = float(jnp.finfo(point.dtype).eps)
    for _ in range(3):
        near = jax.tree.map(lambda a: a * (1 + 2 * eps * rng.choice([-1.0, 1.0], a.shape)) if inexact(a) else a, args)
        moved = [np.maximum(m, abs(n - e)) for m, n, e in zip(moved, gradient(near), expected, strict=True)]
    length = max([1, flat(dy).size, *(g.size for g in got)])
    size = rounding(point.dtype, length) * max([found.scale, *(float(abs(e).max(initial=0)) for e in expected)])
    rows = []
    for (name, axes), g, e, m in zip(differentiated(point), got, expected, moved, strict=True):
        tolerance = size + 4 * float(m.max(initial=0))
        row = array_row(point, name, "jitted", g, e, tolerance, found)
        words = "" if row.ok else describe(g, e, tolerance, axes, {}, {}) or f"jitted in {point.dtype} it is not what it is in float64"
        rows.append(row._replace(words=words))
    return rows, []
