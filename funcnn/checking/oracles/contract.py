"""What holds of every pair, whatever its gradient: both passes return arrays as they should and are pure, and `backward` is linear."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arrays import PyTree, to_numpy
from funcnn.checking.points import Point, Variable
from funcnn.checking.report import Result, raised, row_of_entries
from funcnn.checking.tolerances import Measured
from funcnn.checking.trees import flat, inexact, is_array, normal_like


def forward_breaks(point: Point, y: PyTree, residuals: PyTree) -> str:
    """Why nothing can be compared, as far as the forward pass knows; "" where something can."""
    strays = [type(r).__name__ for r in jax.tree.leaves(residuals) if not is_array(r)]
    if strays:
        return f"expected residuals of arrays only, got {', '.join(sorted(set(strays)))} among them; keep arrays, they survive jit"
    if not all(is_array(a) and inexact(a) for a in jax.tree.leaves(y)) or not jax.tree.leaves(y):
        return f"expected forward to return floating-point arrays, got {jax.tree.map(lambda a: getattr(a, 'dtype', type(a).__name__), y)}"
    if not np.isfinite(flat(y)).all():
        count = int((~np.isfinite(flat(y))).sum())
        return f"expected finite outputs, got {count} NaNs or infinities of {flat(y).size} from forward; check at another point"
    if not _same(point.forward(point.args, point.context)[0], y):
        return "expected forward to be reproducible, got another output from the same arguments; draw random numbers from a key"
    return ""


def backward_breaks(point: Point, residuals: PyTree, dy: PyTree, rng: np.random.Generator) -> str:
    """Why nothing can be compared, as far as the backward pass knows; "" where something can."""
    try:
        dargs = point.backward(residuals, dy)
        words = _not_like(point.args, point.variables, dargs)
        if words:
            return words
        if not _same(point.backward(residuals, dy), dargs):
            return "expected backward to be reproducible, got another gradient from the same residuals and dy"
        fresh = point.forward(point.args, point.context)[1]
        other = jax.tree.map(lambda a: a + rng.standard_normal(a.shape).astype(a.dtype) if inexact(a) else a, point.args)
        point.forward(other, point.context)
        if not _same(point.backward(fresh, dy), dargs):
            return "expected backward to depend on its residuals alone, got another gradient after another forward pass: stale residuals"
    except Exception as error:  # whatever the code under test raises
        return f"expected backward(residuals, dy) to run, got {raised(error)}"
    return ""


def by_linearity(point: Point, measured: Measured, rng: np.random.Generator) -> Result:
    """backward(a dy + b du) = a backward(dy) + b backward(du)."""
    a, b = rng.uniform(0.5, 2.0), -rng.uniform(0.5, 2.0)
    residuals = point.forward(point.args, point.context)[1]
    du = normal_like(measured.dy, rng)
    mixed = jax.tree.map(lambda d, u: (a * d + b * u).astype(d.dtype), measured.dy, du)
    other, both = (point.by_variable(to_numpy(point.backward(residuals, d))) for d in (du, mixed))
    rows = []
    for i, (variable, g, u, m) in enumerate(zip(point.variables, measured.gradient, other, both, strict=True)):
        row = row_of_entries(variable.name, "linear in dy", m, a * g + b * u, 4 * max(measured.allowed(i, e) for e in (g, u, m)))
        rows.append(row if row.ok else row._replace(words="backward is not linear in dy: something depends on the cotangent that must not"))
    return rows, []


def _not_like(args: PyTree, variables: Sequence[Variable], dargs: PyTree) -> str:
    """Why a gradient does not belong to its arguments; "" where it does."""
    wanted = jax.tree.structure(args)
    try:
        leaves = wanted.flatten_up_to(dargs)
    except (TypeError, ValueError):
        return f"expected backward to return a tree like the arguments, {wanted}, got {jax.tree.structure(dargs)}"
    for place, name, _, a in variables:
        g = leaves[place]
        if not is_array(g) or (g.shape, g.dtype) != (a.shape, a.dtype):
            got = f"{g.dtype} {g.shape}" if hasattr(g, "shape") else type(g).__name__
            return f"expected d{name} to be {a.dtype} {a.shape}, as {name} is, got {got}"
        count = int((~np.isfinite(np.asarray(g))).sum())
        if count:
            return f"expected finite gradients, as the outputs are finite, got {count} NaNs or infinities of {g.size} in d{name}"
    return ""


def _same(a: PyTree, b: PyTree) -> bool:
    leaves = zip(jax.tree.leaves(to_numpy(a)), jax.tree.leaves(to_numpy(b)), strict=True)
    return all(np.array_equal(p, q, equal_nan=inexact(p)) for p, q in leaves if not jnp.issubdtype(p.dtype, jax.dtypes.prng_key))
