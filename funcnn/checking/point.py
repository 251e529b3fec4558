"""Where a pair is checked, and the row of numbers for one leaf of its gradient."""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arrays import Array, PyTree
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
        quick: whether what is inside is checked by itself too; then fewer directions, one step size and a quick compilation do.
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
    why: str = ""

    def row(self, leaf: str, oracle: str, **values) -> Row:
        return Row(self.case, self.layer, leaf, oracle, **values)

    def broken(self, words: str) -> Row:
        """What cannot even be compared."""
        return self.row("dy", "contract", error=float("inf"), words=words)


class Found(NamedTuple):
    """What the oracles need of the gradient that is checked."""

    dy: PyTree
    gradient: list[np.ndarray]
    relative: float
    scale: float


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


def array_row(point: Point, leaf: str, oracle: str, got: np.ndarray, expected: np.ndarray, tolerance: float, found: Found) -> Row:
    """All entries of one leaf, one by one."""
    error = abs(got - expected)
    error = np.where(np.isfinite(error), error, np.finfo("float64").max)
    index = np.unravel_index(error.argmax(), error.shape) if error.size else ()
    largest, norms = float(abs(expected).max(initial=0)), float(np.linalg.norm(got) * np.linalg.norm(expected))
    worst, unit = float(error.max(initial=0)), largest if largest > tolerance else found.scale or 1.0
    return point.row(
        leaf, oracle, entries=error.size, error=worst, relative=worst / unit, ulps=worst / np.spacing(unit),
        cosine=float((got * expected).sum()) / norms if norms else float("nan"), tolerance=tolerance, index=index,
        got=float(got[index]) if error.size else 0.0, expected=float(expected[index]) if error.size else 0.0,
    )  # fmt: skip


def first_line(error: BaseException) -> str:
    """What was raised, in short."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:160] if str(error).strip() else ''}"
