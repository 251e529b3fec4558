"""Where a pair is checked, and the row of numbers for one leaf of its gradient."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arrays import Array, PyTree, to_numpy
from funcnn.checking.oracles import flat, rounding
from funcnn.checking.report import Row

Forward = Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]
Backward = Callable[[PyTree, PyTree], PyTree]
Result = tuple[list[Row], list[str]]
"""Rows, and why an oracle did not apply."""


class Point(NamedTuple):
    """A pair, where it is checked, and what is known about it.

    Attributes:
        forward: `(args, context) -> (y, residuals)`, on NumPy and (for most oracles) JAX arrays.
        backward: `(residuals, dy) -> dargs`.
        plain: the same function as `forward`, whose gradient JAX may be asked for; None with the reason in `why`.
        args: a tree of float64 NumPy arrays, and whole numbers, which stay as they are.
        context: what else `forward` gets, not to be differentiated by: state, keys.
        leaves: the name of every leaf of args, with the names of its axes.
        case, layer: for the rows.
        dtype: in which the two passes are jitted and compared with float64.
        ties: whether the point has ties and kinks on purpose: then they are checked against the policy that `plain` declares.
        jit: whether it is an error if `backward` does not run under jit.
        quick: whether what is inside is checked by itself too; then fewer directions and one step size do.
        wide: whether the pair holds NumPy arrays of 64 bits itself.
    """

    forward: Forward
    backward: Backward
    plain: Forward | None
    args: PyTree
    context: PyTree
    leaves: Mapping[str, tuple[str, ...]]
    case: str = ""
    layer: str = ""
    dtype: str = "float32"
    ties: bool = False
    jit: bool = False
    quick: bool = False
    wide: bool = False
    why: str = ""

    def row(self, leaf: str, oracle: str, **values) -> Row:
        return Row(self.case, self.layer, leaf, oracle, **values)

    def broken(self, words: str) -> Row:
        """What cannot even be compared."""
        return self.row("dy", "contract", error=float("inf"), words=words)


class Found(NamedTuple):
    """What the oracles need of the gradient that is checked, leaf by leaf.

    Attributes:
        dy: the cotangent.
        gradient: by `backward`.
        relative: the rounding error allowed to sums as long as these, relative to their size.
        moved: how far the gradient's entries move when arguments and cotangent are rounded: what conditioning costs.
        shaken: how far each output (M,) moves then.
        reached: which outputs (M,) depend on the leaf.
        scale: the largest dy y of these, or dy y / x where all x are below 1.
    """

    dy: PyTree
    gradient: list[np.ndarray]
    relative: float
    moved: list[np.ndarray]
    shaken: np.ndarray
    reached: list[np.ndarray]
    scale: list[float]

    def floor(self, i: int) -> float:
        """What may be left of terms that cancel: the rounding of dy y, or dy y / x for small x, where the outputs depend on leaf i."""
        return self.relative * self.scale[i]

    def noise(self, i: int, values: Sequence[np.ndarray]) -> np.ndarray:
        """What rounding does to each output (M,): nothing where it does not depend on leaf i."""
        size = np.max(np.abs(values), axis=0)
        return np.where(self.reached[i], self.relative * size + MOVED * self.shaken, 0.0)

    def allowed(self, i: int, expected: np.ndarray) -> float:
        """What an entry of leaf i may be off by."""
        return self.relative * largest(expected) + MOVED * largest(self.moved[i]) + self.floor(i)

    def allowed_along(self, i: int, vs: Sequence[np.ndarray]) -> np.ndarray:
        """What the gradient of leaf i along each of the directions vs may be off by."""
        each = (self.relative * abs(self.gradient[i]) + MOVED * self.moved[i]).ravel()
        return np.asarray([abs(v).ravel() @ each + self.floor(i) * np.linalg.norm(v) for v in vs])


MOVED = 16
"""How many times what a rounding of the arguments changes may be lost on the way."""


def largest(a: np.ndarray) -> float:
    return float(abs(a).max(initial=0))


def measure(point: Point, args: PyTree, context: PyTree, dy: PyTree, eps: float, rng: np.random.Generator) -> Found:
    """The gradient in float64, and what a rounding of args and dy by `eps` changes."""
    y, gradient = _passes(point, args, context, dy)
    moved, shaken = [np.zeros(g.shape) for g in gradient], np.zeros(y.shape)
    relative = rounding(y.dtype, max([1, y.size, *(g.size for g in gradient)]))

    def near(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda a: np.asarray(a * (1 + eps * rng.choice([-2, 2], a.shape)), a.dtype) if inexact(a) else a, tree)

    for _ in range(0 if point.ties else 3):
        other_y, other = _passes(point, near(args), context, near(dy))
        moved = [np.maximum(m, abs(a - b)) for m, a, b in zip(moved, other, gradient, strict=True)]
        shaken = np.maximum(shaken, abs(other_y - y))
    reached = _reached(point, args, context, y, rng)
    sizes = (min(largest(x), 1.0) or 1.0 for x in jax.tree.leaves(args) if inexact(x))
    scale = [largest((flat(dy) * y)[r]) / size for r, size in zip(reached, sizes, strict=True)]
    return Found(dy, gradient, relative, moved, shaken, reached, scale)


def _reached(point: Point, args: PyTree, context: PyTree, y: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """For each leaf, which outputs change when all of it does."""
    leaves, tree = jax.tree.flatten(args)
    found = []
    for i, x in enumerate(leaves):
        if inexact(x):
            moved = x + np.asarray(rng.standard_normal(x.shape) * (largest(x) or 1.0), x.dtype)
            found.append(flat(point.forward(jax.tree.unflatten(tree, [*leaves[:i], moved, *leaves[i + 1 :]]), context)[0]) != y)
    return found


def measure_rounding(point: Point, found: Found) -> Found:
    """`found` with what rounding costs inside of both passes, measured by running them in float32: float64 does 5e8 times better.

    What moves by more than any rounding does is a kink close by, and does not count.
    """
    size, fine = max(map(largest, found.gradient), default=0.0), float(jnp.finfo("float64").eps / jnp.finfo("float32").eps)
    moved = [np.where(m <= 1e-6 * size, m, 0) for m in found.moved]
    low = jax.tree.map(
        lambda a: np.asarray(a, "float32") if isinstance(a, np.ndarray) and inexact(a) else a, (point.args, point.context, found.dy)
    )
    try:
        _, rough = _passes(point, *low)
    except Exception:  # what asks for float64 is not measured
        return found._replace(moved=moved)
    apart = [np.nan_to_num(abs(r.astype("float64") - g), nan=0.0, posinf=0.0) for r, g in zip(rough, found.gradient, strict=True)]
    return found._replace(moved=[np.maximum(m, fine * a) for m, a in zip(moved, apart, strict=True)])


def _passes(point: Point, args: PyTree, context: PyTree, dy: PyTree) -> tuple[np.ndarray, list[np.ndarray]]:
    y, residuals = point.forward(args, context)
    return flat(y), differentiable(to_numpy(point.backward(residuals, dy)), args)


def frozen(tree: PyTree) -> PyTree:
    """A copy whose NumPy arrays cannot be written to."""

    def freeze(a: Array) -> Array:
        if isinstance(a, np.ndarray):
            a = a.copy()
            a.setflags(write=False)
        return a

    return jax.tree.map(freeze, tree)


def differentiable(tree: PyTree, args: PyTree) -> list[np.ndarray]:
    """The leaves of `tree`, shaped like `args`, that belong to floating-point arguments."""
    flags = [inexact(a) for a in jax.tree.leaves(args)]
    leaves = jax.tree.structure(args).flatten_up_to(tree)
    return [np.asarray(leaf) for leaf, flag in zip(leaves, flags, strict=True) if flag]


def normal_like(tree: PyTree, rng: np.random.Generator) -> PyTree:
    return jax.tree.map(lambda a: np.asarray(rng.standard_normal(a.shape), a.dtype), tree)


def inexact(a: Array) -> bool:
    return jnp.issubdtype(a.dtype, jnp.inexact)


def differentiated(point: Point) -> Iterator[tuple[str, tuple[str, ...]]]:
    return (item for item, a in zip(point.leaves.items(), jax.tree.leaves(point.args), strict=True) if inexact(a))


def array_row(point: Point, leaf: str, oracle: str, got: np.ndarray, expected: np.ndarray, tolerance: float) -> Row:
    """All entries of one leaf, one by one."""
    error, norms = abs(got - expected), float(np.linalg.norm(got) * np.linalg.norm(expected))
    index = tuple(map(int, np.unravel_index(error.argmax(), error.shape))) if error.size else ()
    row = sized_row(point, leaf, oracle, float(error.max(initial=0)), tolerance, largest(expected))
    return row._replace(
        entries=error.size, cosine=float((got * expected).sum()) / norms if norms else float("nan"), index=index,
        got=float(got[index]) if error.size else 0.0, expected=float(expected[index]) if error.size else 0.0,
    )  # fmt: skip


def sized_row(point: Point, leaf: str, oracle: str, error: float, tolerance: float, size: float) -> Row:
    """An error, also relative to `size`; to 1 where `size` is nothing but rounding."""
    unit = size if size > tolerance else 1.0
    return point.row(leaf, oracle, error=error, relative=error / unit, ulps=error / float(np.spacing(unit)), tolerance=tolerance)


def first_line(error: BaseException) -> str:
    """What was raised, in short."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:160] if str(error).strip() else ''}"
