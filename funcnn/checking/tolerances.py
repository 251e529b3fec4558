"""The gradient that is checked, in float64, and what rounding allows it to be off by."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arrays import PyTree, to_numpy
from funcnn.checking.points import Point
from funcnn.checking.trees import flat, inexact, largest, replaced

SAFETY = 8
"""How many times the expected rounding error is allowed; the largest ever seen is told by `python -m experiments mutants`."""
MOVED = 16
"""How many times what a rounding of the arguments changes may be lost on the way."""


def rounding(dtype: Any, length: int) -> float:
    """The relative rounding error allowed to sums of `length` terms: SAFETY eps sqrt(length).

    Rounding errors of many operations add up like a random walk (Higham & Mary 2019, doi:10.1137/18M1226312).
    """
    return SAFETY * float(jnp.finfo(dtype).eps) * length**0.5


class Measured(NamedTuple):
    """What the oracles need of the gradient that is checked, variable by variable.

    Attributes:
        dy: the cotangent.
        gradient: by `backward`.
        relative: the rounding error allowed to sums as long as these, relative to their size.
        conditioning: how far the gradient's entries move when arguments and cotangent are rounded.
        moved: the same, with what rounding costs inside of both passes.
        shaken: how far each output (M,) moves when arguments are rounded.
        reached: which outputs (M,) depend on the variable.
        scale: the largest dy y of these, or dy y / x where all x are below 1.
    """

    dy: PyTree
    gradient: list[np.ndarray]
    relative: float
    conditioning: list[np.ndarray]
    moved: list[np.ndarray]
    shaken: np.ndarray
    reached: list[np.ndarray]
    scale: list[float]

    def floor(self, i: int) -> float:
        """What may be left of terms that cancel: the rounding of dy y, or dy y / x for small x, of the outputs that variable i reaches."""
        return self.relative * self.scale[i]

    def noise(self, i: int, values: Sequence[np.ndarray]) -> np.ndarray:
        """What rounding does to each output (M,): nothing where it does not depend on variable i."""
        size = np.max(np.abs(values), axis=0)
        return np.where(self.reached[i], self.relative * size + MOVED * self.shaken, 0.0)

    def allowed(self, i: int, expected: np.ndarray) -> float:
        """What an entry of variable i may be off by."""
        return self.relative * largest(expected) + MOVED * largest(self.moved[i]) + self.floor(i)

    def allowed_along(self, i: int, vs: Sequence[np.ndarray]) -> np.ndarray:
        """What the gradient of variable i along each of the directions vs may be off by."""
        each = (self.relative * abs(self.gradient[i]) + MOVED * self.moved[i]).ravel()
        return np.asarray([abs(v).ravel() @ each + self.floor(i) * np.linalg.norm(v) for v in vs])


def measure(point: Point, dy: PyTree, eps: float, rng: np.random.Generator) -> Measured:
    """The gradient in float64, and what a rounding of args and dy by `eps` changes."""
    y, gradient = _passes(point, dy)
    conditioning, shaken = [np.zeros(g.shape) for g in gradient], np.zeros(y.shape)
    relative = rounding(y.dtype, max([1, y.size, *(g.size for g in gradient)]))

    def near(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda a: np.asarray(a * (1 + eps * rng.choice([-2, 2], a.shape)), a.dtype) if inexact(a) else a, tree)

    for _ in range(0 if point.ties else 3):
        other_y, other = _passes(point._replace(args=near(point.args)), near(dy))
        conditioning = [np.maximum(m, abs(a - b)) for m, a, b in zip(conditioning, other, gradient, strict=True)]
        shaken = np.maximum(shaken, abs(other_y - y))
    reached = _reached(point, y, rng)
    sizes = (min(largest(variable.value), 1.0) or 1.0 for variable in point.variables)
    scale = [largest((flat(dy) * y)[r]) / size for r, size in zip(reached, sizes, strict=True)]
    return Measured(dy, gradient, relative, conditioning, conditioning, shaken, reached, scale)


def measure_rounding(point: Point, measured: Measured) -> Measured:
    """`measured` with what rounding costs inside of both passes, by running them in float32: float64 does 5e8 times better.

    What moves by more than any rounding does is a kink close by, and does not count.
    """
    size, fine = max(map(largest, measured.gradient), default=0.0), float(jnp.finfo("float64").eps / jnp.finfo("float32").eps)
    moved = [np.where(m <= 1e-6 * size, m, 0) for m in measured.conditioning]
    args, context, dy = jax.tree.map(
        lambda a: np.asarray(a, "float32") if isinstance(a, np.ndarray) and inexact(a) else a, (point.args, point.context, measured.dy)
    )
    try:
        _, rough = _passes(point._replace(args=args, context=context), dy)
    except Exception:  # what asks for float64 is not measured
        return measured._replace(moved=moved)
    apart = [np.nan_to_num(abs(r.astype("float64") - g), nan=0.0, posinf=0.0) for r, g in zip(rough, measured.gradient, strict=True)]
    return measured._replace(moved=[np.maximum(m, fine * a) for m, a in zip(moved, apart, strict=True)])


def _passes(point: Point, dy: PyTree) -> tuple[np.ndarray, list[np.ndarray]]:
    y, residuals = point.forward(point.args, point.context)
    return flat(y), point.by_variable(to_numpy(point.backward(residuals, dy)))


def _reached(point: Point, y: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """For each variable, which outputs change when all of it does."""
    reached = []
    for place, _, _, x in point.variables:
        moved = x + np.asarray(rng.standard_normal(x.shape) * (largest(x) or 1.0), x.dtype)
        reached.append(flat(point.forward(replaced(point.args, place, moved), point.context)[0]) != y)
    return reached
