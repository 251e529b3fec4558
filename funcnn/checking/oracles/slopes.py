"""Slopes along single entries and random directions, in NumPy (or whatever `forward` computes in), in float64.

Outputs are seen as one vector of M entries.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from funcnn.checking.patterns import describe
from funcnn.checking.points import Point, Variable
from funcnn.checking.report import Result, Row, row_of_error
from funcnn.checking.tolerances import Measured
from funcnn.checking.trees import flat, largest, replaced

TINY = 1e-200
"""The complex step; its square is nothing."""


class Slope(NamedTuple):
    """A derivative along one direction.

    Attributes:
        value: the slope; where there is a kink, the mean of the slopes before and behind it.
        tolerance: how far from it a right gradient may be.
        kink: whether the slopes before and behind differ; then `tolerance` spans both.
    """

    value: float
    tolerance: float
    kink: bool = False


Noise = Callable[[Sequence[np.ndarray]], np.ndarray]
"""What rounding does to each output (M,), given the outputs at several points."""


class Function(NamedTuple):
    """The outputs as a function of one variable, at one point.

    Attributes:
        outputs: from the variable to the outputs (M,).
        x: the variable.
        here: outputs(x).
        dy: the cotangent (M,).
        noise: what rounding does to the outputs.
    """

    outputs: Callable[[np.ndarray], np.ndarray]
    x: np.ndarray
    here: np.ndarray
    dy: np.ndarray
    noise: Noise

    def along(self, v: np.ndarray, steps: Sequence[float]) -> list[np.ndarray]:
        """The outputs (M,) at x + step v, for each of the steps."""
        return [self.outputs(self.x + step * v) if step else self.here for step in steps]


def by_slopes(point: Point, measured: Measured, rng: np.random.Generator) -> Result:
    """Along random directions and single entries: by unit steps or differences, and by the complex step."""
    rows, skipped, few = [], [], 1 if point.quick else 4
    for i, variable in enumerate(point.variables):
        if not variable.value.size:
            continue
        vs = [v.reshape(variable.value.shape) for v in directions(variable.value.size, rng, whole=4 * few, few=few)]
        function = _function(point, measured, i, variable)
        oracle, slopes = _slopes(function, vs, point.quick)
        if not slopes:
            skipped.append(f"differences: forward is not finite near {variable.name}")
            continue
        rows.append(_row(variable, oracle, i, vs, slopes, measured))
        if point.ties:
            continue
        smooth, why = _exact(function, vs, measured.relative, slopes)
        if smooth:
            rows.append(_row(variable, "complex step", i, vs, smooth, measured))
        else:
            skipped.append(f"complex step: {why}")
    return rows, list(dict.fromkeys(skipped))


def _function(point: Point, measured: Measured, i: int, variable: Variable) -> Function:
    """The outputs as a function of variable i, the others as they are at the point."""

    def outputs(value: np.ndarray) -> np.ndarray:
        return flat(point.forward(replaced(point.args, variable.place, value), point.context)[0])

    return Function(outputs, variable.value, outputs(variable.value), flat(measured.dy), partial(measured.noise, i))


def _slopes(function: Function, vs: Sequence[np.ndarray], quick: bool) -> tuple[str, dict[int, Slope]]:
    """By unit steps where it is linear in this argument, else by five-point differences; only the finite ones."""
    linear = [unit_step(function, v) for v in vs[:1]]
    if linear[0]:
        linear += [unit_step(function, v) for v in vs[1:]]
    if all(linear):
        return "unit step", {k: s for k, s in enumerate(linear) if s}
    size = largest(function.x) or 1.0
    step = 1e-5 * size if quick else best_step(function, vs[0], [s * size for s in (1e-3, 1e-4, 1e-5)])
    slopes = {k: differences(function, v, step) for k, v in enumerate(vs)}
    known = max((abs(s.value) for s in slopes.values() if np.isfinite(s.value)), default=0.0)
    for k, s in slopes.items():
        if not s.kink and not s.tolerance <= 1e-5 * known:  # a kink or an end nearby, which smaller steps may not reach
            smaller = (differences(function, vs[k], step * f) for f in (1e-2, 1e-5))
            slopes[k] = min((s, *smaller), key=lambda s: np.nan_to_num(s.tolerance, nan=np.inf))
    return "differences", {k: s for k, s in slopes.items() if np.isfinite(s[:2]).all()}


def _exact(function: Function, vs: Sequence[np.ndarray], relative: float, slopes: dict[int, Slope]) -> tuple[dict[int, Slope], str]:
    """By the complex step, along each direction where differences are sure enough to tell whether it is right; or why it is not used."""
    sure = 1e-4 * max(abs(s.value) for s in slopes.values())
    smooth = [k for k, s in slopes.items() if not s.kink and s.tolerance <= sure]
    if not smooth:
        return {}, "differences are not sure enough to tell whether it applies"
    try:
        exact = {k: complex_step(function, vs[k], relative) for k in smooth}
    except Exception as error:
        return {}, f"forward does not take complex numbers ({type(error).__name__})"
    if not all(abs(exact[k].value - slopes[k].value) <= exact[k].tolerance + slopes[k].tolerance for k in smooth):
        return {}, "forward is not analytic, as it differs from differences"
    return exact, ""


def _row(variable: Variable, oracle: str, i: int, vs: Sequence[np.ndarray], slopes: dict[int, Slope], measured: Measured) -> Row:
    """The direction whose error is largest, in units of what it allows; a single entry where one is wrong."""
    gradient, chosen = measured.gradient[i], [vs[k] for k in slopes]
    along, values = np.asarray([float((v * gradient).sum()) for v in chosen]), np.asarray([s.value for s in slopes.values()])
    allowed = np.asarray([s.tolerance for s in slopes.values()]) + measured.allowed_along(i, chosen)
    single, excess = np.asarray([np.count_nonzero(v) == 1 for v in chosen]), abs(along - values) / np.maximum(allowed, 1e-300)
    k = int(np.where(single, excess, 0).argmax() if (single & (excess > 1)).any() else excess.argmax())
    kink = list(slopes.values())[k].kink
    row = row_of_error(variable.name, oracle, float(abs(along[k] - values[k])), float(allowed[k]), largest(values))
    row = row._replace(
        entries=len(chosen), kinks=sum(s.kink for s in slopes.values()), got=float(along[k]), expected=float(values[k]),
        index=tuple(np.argwhere(chosen[k])[0]) if single[k] else (),
    )  # fmt: skip
    if row.ok:
        return row
    words = "at a kink, and outside of the slopes on its two sides" if kink else ""
    if single.all() and len(chosen) == gradient.size:
        got, right = along.reshape(gradient.shape), values.reshape(gradient.shape)
        words = "; ".join(filter(None, (describe(got, right, float(allowed.max()), variable.axes, {}, {}), words)))
    return row._replace(words=words)


def complex_step(function: Function, v: np.ndarray, relative: float) -> Slope:
    """Im f(x + i t v) / t for t = 1e-200: exact to rounding where f is analytic (Squire & Trapp 1998)."""
    slopes = function.outputs(function.x + 1j * TINY * v).imag / TINY  # (M,)
    return Slope(float(slopes @ function.dy), relative * float(np.linalg.norm(slopes) * np.linalg.norm(function.dy)))


def differences(function: Function, v: np.ndarray, step: float) -> Slope:
    """Five-point central differences.

        d(h) = (f(x + h v) - f(x - h v)) / 2 h,    slope = (4 d(h) - d(2 h)) / 3

    Its error is below |d(h) - d(2 h)|, where a kink within 2 h shows too. At a kink in x itself the slopes on either
    side differ by twice |f(x + h v) - 2 f(x) + f(x - h v)| / 2 h, which does not shrink with h: then any value between is
    allowed; where a side is curved, twice that at h less that at 2 h is what is left as h shrinks.
    """
    dy, f = function.dy, function.along(v, [k * step for k in (-2, -1, 0, 1, 2)])
    near, far = (f[3] - f[1]) / (2 * step), (f[4] - f[0]) / (4 * step)  # (M,)
    noise = float(np.linalg.norm(dy * function.noise(f))) / step
    bends = [float(abs(a - 2 * f[2] + b) @ abs(dy)) / (2 * k * step) for k, a, b in ((1, f[1], f[3]), (2, f[0], f[4]))]
    kink = bends[0] > max(0.75 * bends[1], noise)
    value = float((4 * near - far) @ dy) / 3
    return Slope(value, float(abs(near - far) @ abs(dy)) + noise + kink * max(bends[0], 2 * bends[0] - bends[1]), kink)


def unit_step(function: Function, v: np.ndarray) -> Slope | None:
    """(f(x + v) - f(x - 0.37 v)) / 1.37: exact to rounding where f is linear in this argument; None where it is not.

    Whether it is shows at four points whose distances have no common measure: nothing odd or periodic looks linear there.
    """
    steps = (-0.37, 0.0, 1.0, 2**0.5)
    before, here, behind, far = function.along(v, steps)
    noise = function.noise((here, before, behind, far))
    bent = [abs(f - here - k * (behind - here)) for k, f in ((steps[0], before), (steps[3], far))]
    if not all((bend <= noise).all() for bend in bent):
        return None
    return Slope(float((behind - before) @ function.dy) / 1.37, float(np.linalg.norm(function.dy * noise)))


def best_step(function: Function, v: np.ndarray, steps: Sequence[float]) -> float:
    """Of several steps the one whose result is surest along `v`."""
    slopes = [differences(function, v, step) for step in steps]
    return min(zip(slopes, steps, strict=True), key=lambda pair: (pair[0].kink, np.nan_to_num(pair[0].tolerance, nan=np.inf)))[1]


def directions(size: int, rng: np.random.Generator, *, whole: int = 16, few: int = 4) -> np.ndarray:
    """Along what a variable of `size` entries is differentiated: (directions, size).

    Up to `whole` entries: each by itself. More: `few` normal directions over all entries, `few` with random signs on one block
    each, which together hold all, and twice as many entries by themselves. An error of norm e anywhere escapes one normal
    direction of tolerance t with a probability of 0.8 t / e, and all of them with that to the power of `few`.
    """
    if size <= whole:
        return np.eye(size)
    normal = rng.standard_normal((few, size))
    blocks = rng.choice([-1.0, 1.0], (few, size)) * (np.arange(size)[None] * few // size == np.arange(few)[:, None])
    single = np.zeros((2 * few, size))
    single[np.arange(2 * few), rng.choice(size, 2 * few, replace=False)] = 1
    return np.concatenate([normal, blocks, single])
