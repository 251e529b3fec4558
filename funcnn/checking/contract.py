"""What must hold before a gradient can be compared: what `forward` and `backward` return, and that they are pure."""

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arrays import PyTree, to_numpy
from funcnn.checking.oracles import flat
from funcnn.checking.point import Point, inexact


def same(a: PyTree, b: PyTree) -> bool:
    leaves = zip(jax.tree.leaves(to_numpy(a)), jax.tree.leaves(to_numpy(b)), strict=True)
    return all(np.array_equal(p, q, equal_nan=inexact(p)) for p, q in leaves if not jnp.issubdtype(p.dtype, jax.dtypes.prng_key))


def forward_breaks(point: Point, y: PyTree, residuals: PyTree) -> str:
    """Why nothing can be compared, as far as the forward pass knows."""
    strays = [type(r).__name__ for r in jax.tree.leaves(residuals) if not isinstance(r, np.ndarray | np.generic | jax.Array)]
    if strays:
        return f"expected residuals of arrays only, got {', '.join(sorted(set(strays)))} among them; keep arrays, they survive jit"
    if not all(isinstance(a, np.ndarray | np.generic | jax.Array) and inexact(a) for a in jax.tree.leaves(y)) or not jax.tree.leaves(y):
        return f"expected forward to return floating-point arrays, got {jax.tree.map(lambda a: getattr(a, 'dtype', type(a).__name__), y)}"
    if not np.isfinite(flat(y)).all():
        count = int((~np.isfinite(flat(y))).sum())
        return f"expected finite outputs, got {count} NaNs or infinities of {flat(y).size} from forward; check at another point"
    if not same(point.forward(point.args, point.context)[0], y):
        return "expected forward to be reproducible, got another output from the same arguments; draw random numbers from a key"
    return ""


def backward_breaks(point: Point, manual: PyTree, residuals: PyTree, dy: PyTree, rng: np.random.Generator) -> str:
    """Why nothing can be compared, as far as the backward pass knows."""
    wanted = jax.tree.structure(point.args)
    try:
        leaves = wanted.flatten_up_to(manual)
    except (TypeError, ValueError):
        return f"expected backward to return a tree like the arguments, {wanted}, got {jax.tree.structure(manual)}"
    for (name, _), a, g in zip(point.leaves.items(), jax.tree.leaves(point.args), leaves, strict=True):
        if inexact(a) and (not isinstance(g, np.ndarray | np.generic | jax.Array) or (g.shape, g.dtype) != (a.shape, a.dtype)):
            got = f"{g.dtype} {g.shape}" if hasattr(g, "shape") else type(g).__name__
            return f"expected d{name} to be {a.dtype} {a.shape}, as {name} is, got {got}"
        count = int((~np.isfinite(np.asarray(g))).sum()) if inexact(a) else 0
        if count:
            return f"expected finite gradients, as the outputs are finite, got {count} NaNs or infinities of {g.size} in d{name}"
    if not same(point.backward(residuals, dy), manual):
        return "expected backward to be reproducible, got another gradient from the same residuals and dy"
    fresh = point.forward(point.args, point.context)[1]
    other = jax.tree.map(lambda a: a + rng.standard_normal(a.shape).astype(a.dtype) if inexact(a) else a, point.args)
    point.forward(other, point.context)
    if not same(point.backward(fresh, dy), manual):
        return "expected backward to depend on its residuals alone, got another gradient after another forward pass: stale residuals"
    return ""
