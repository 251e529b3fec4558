"""JAX's own gradient of the plain forward pass: every entry by `jax.vjp`, and all at once by `jax.jvp`."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arrays import Array, PyTree, to_numpy
from funcnn.checking.pairs import QUICKLY, Forward
from funcnn.checking.patterns import describe, mistaken
from funcnn.checking.points import Point, Variable
from funcnn.checking.report import Result, Row, raised, row_of_entries, row_of_error
from funcnn.checking.tolerances import Measured
from funcnn.checking.trees import flat, inexact, replaced


def by_autodiff(point: Point, measured: Measured, rng: np.random.Generator) -> Result:
    """Every entry by `jax.vjp`; and <J v, dy> = <v, backward(dy)> for one random v over all arguments by `jax.jvp`."""
    if point.why:
        return [], [f"jax.vjp, adjoint: {point.why}"]
    v, rows, skipped = [rng.standard_normal(g.shape) for g in measured.gradient], [], []
    try:
        expected, dots = by_jax(point, measured.dy, v)
    except Exception as first:
        try:
            expected, dots = by_jax(point, measured.dy, with_jvp=False)[0], None
        except Exception as error:
            return [], [f"jax.vjp, adjoint: JAX cannot trace forward ({type(error).__name__})"]
        skipped = [f"adjoint: forward has no forward mode ({raised(first)})"]
    for i, (variable, got, right) in enumerate(zip(point.variables, measured.gradient, expected, strict=True)):
        tolerance = measured.allowed(i, right)
        row = row_of_entries(variable.name, "jax.vjp", got, right, tolerance)
        words = "" if row.ok else _pattern(point, measured, variable, got, right, tolerance) or _as_if(point, measured, i, tolerance)
        rows.append(row._replace(words=words))
    if dots is not None and not point.ties:
        rows.append(_adjoint(measured, v, flat(dots)))
    return rows, skipped


def by_jax(point: Point, dy: PyTree, tangents: list[np.ndarray] | None = None, with_jvp: bool = True) -> tuple[list[np.ndarray], PyTree]:
    """J^T dy by `jax.vjp` and J tangents by `jax.jvp` of the plain forward pass, in one program, for all variables; in float64.

    Without tangents these are 0, for those who ask for the first alone.
    """
    tangents = [np.zeros(variable.value.shape) for variable in point.variables] if tangents is None else tangents
    with jax.enable_x64(True):
        return to_numpy(_by_jax(point.plain, with_jvp, *jax.tree.map(jnp.asarray, (point.args, point.context, dy, tangents))))


@partial(jax.jit, static_argnums=(0, 1), compiler_options=QUICKLY)
def _by_jax(
    forward: Forward, with_jvp: bool, args: PyTree, context: PyTree, dy: PyTree, tangents: list[Array]
) -> tuple[list[Array], PyTree]:
    leaves, tree = jax.tree.flatten(args)

    def outputs(given: list[Array]) -> PyTree:
        rest = iter(given)
        return forward(jax.tree.unflatten(tree, [next(rest) if inexact(a) else a for a in leaves]), context)[0]

    primals = [a for a in leaves if inexact(a)]
    y, pull = jax.vjp(outputs, primals)
    dots = jax.jvp(outputs, (primals,), (tangents,))[1] if with_jvp else y
    return pull(jax.tree.map(lambda d, y: d.astype(y.dtype), dy, y))[0], dots


def _adjoint(measured: Measured, v: list[np.ndarray], dots: np.ndarray) -> Row:
    dy = flat(measured.dy)
    left, right = float(dots @ dy), sum(float((a * g).sum()) for a, g in zip(v, measured.gradient, strict=True))
    size = float(abs(dots) @ abs(dy))
    tolerance = measured.relative * size + sum(float(measured.allowed_along(i, [a])[0]) for i, a in enumerate(v))
    return row_of_error("dy", "adjoint", abs(left - right), tolerance, size)._replace(entries=1, got=right, expected=left)


def _pattern(point: Point, measured: Measured, variable: Variable, got: np.ndarray, right: np.ndarray, tolerance: float) -> str:
    """The pattern of a wrong gradient."""
    arrays = {other.name: other.value for other in point.variables}
    cotangents = jax.tree.leaves(measured.dy)
    single = {"dy": cotangents[0]} if len(cotangents) == 1 else {}
    batch = arrays["x"].shape[0] if "x" in arrays else 1
    return describe(got, right, tolerance, variable.axes, {"N": batch, "the number of entries": right.size}, arrays | single)


def _as_if(point: Point, measured: Measured, i: int, tolerance: float) -> str:
    """Whether the gradient by variable i is right for an argument that is flipped, transposed or shifted."""
    for place, name, _, value in point.variables:
        for how, changed in mistaken(value, first=1 if name == "x" else 0):
            if changed.shape != value.shape:
                continue
            args = replaced(point.args, place, np.ascontiguousarray(changed))
            pulled = by_jax(point._replace(args=args), measured.dy, with_jvp=False)[0][i]
            if abs(pulled - measured.gradient[i]).max() <= tolerance:
                return f"right if {name} were {how}"
    return ""
