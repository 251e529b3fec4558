"""One pair `forward`, `backward` at one point against every oracle."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import product

import jax
import numpy as np

from funcnn.arrays import to_numpy
from funcnn.checking.contract import backward_breaks, forward_breaks
from funcnn.checking.oracles import Slope, best_step, by_jax, complex_step, differences, directions, flat, rounding, unit_step
from funcnn.checking.patterns import describe
from funcnn.checking.point import (
    Forward,
    Found,
    Point,
    Result,
    array_row,
    differentiable,
    differentiated,
    first_line,
    inexact,
    normal_like,
)
from funcnn.checking.precision import against_jitted, by_jit
from funcnn.checking.report import Row


def compare(point: Point, rng: np.random.Generator) -> Result:
    """The rows of one point, and why which oracle did not apply."""
    with jax.enable_x64(True), np.errstate(all="ignore"):
        y, residuals = point.forward(point.args, point.context)
        words = forward_breaks(point, y, residuals)
        if words:
            return [point.broken(words)], []
        dy = normal_like(to_numpy(y), rng)
        try:
            manual = point.backward(residuals, dy)
            words = backward_breaks(point, manual, residuals, dy, rng)
        except Exception as error:  # whatever the code under test raises
            manual, words = None, f"expected backward(residuals, dy) to run, got {type(error).__name__}: {error}"
        if words:
            return [point.broken(words)], []
        gradient = differentiable(to_numpy(manual), point.args)
        length = max([1, flat(y).size, *(g.size for g in gradient)])
        size = max([float(abs(flat(dy)).max(initial=0)), *(float(abs(g).max(initial=0)) for g in gradient)])
        found = Found(dy, gradient, rounding(flat(y).dtype, length), size)
        rows, skipped = [], []
        for oracle in (_against_jax, _against_slopes, _linear, against_jitted):
            some, why = oracle(point, found, rng)
            rows, skipped = rows + some, skipped + why
        return rows, skipped


def _against_jax(point: Point, found: Found, rng: np.random.Generator) -> Result:
    """Every entry by `jax.vjp`; and <J v, dy> = <v, backward(dy)> for one random v over all arguments by `jax.jvp`."""
    plain = point.plain
    if plain is None:
        return [], [f"jax.vjp, adjoint: {point.why}"]
    v, rows = [rng.standard_normal(g.shape) for g in found.gradient], []
    try:
        expected, dots = by_jax(plain, point.args, point.context, found.dy, v)
    except Exception as error:
        return [], [f"jax.vjp, adjoint: forward cannot be traced ({first_line(error)})"]
    tolerance = found.relative * max([found.scale, *(float(abs(e).max(initial=0)) for e in expected)])
    for (name, axes), got, right in zip(differentiated(point), found.gradient, expected, strict=True):
        row = array_row(point, name, "jax.vjp", got, right, tolerance, found)
        rows.append(row if row.ok else row._replace(words=_explain(point, plain, found, name, axes, got, right, tolerance)))
    if not point.ties:
        left, right = float(flat(dots) @ flat(found.dy)), sum(float((a * g).sum()) for a, g in zip(v, found.gradient, strict=True))
        size = sum(float(np.linalg.norm(a) * np.linalg.norm(g)) for a, g in zip(v, found.gradient, strict=True))
        size += float(np.linalg.norm(flat(dots)) * np.linalg.norm(flat(found.dy)))
        row = point.row(
            "dy", "adjoint", entries=1, error=abs(left - right), relative=abs(left - right) / (size or 1), got=right, expected=left
        )
        rows.append(row._replace(tolerance=found.relative * size))
    return rows, []


def _explain(point: Point, plain: Forward, found: Found, name: str, axes, got: np.ndarray, right: np.ndarray, tolerance: float) -> str:
    """The pattern of a wrong gradient; where there is none, what would have to be otherwise for it to be right."""
    arrays = {n: np.asarray(a) for n, a in zip(point.leaves, jax.tree.leaves(point.args), strict=True) if inexact(a)}
    single = {"dy": flat(found.dy).reshape(jax.tree.leaves(found.dy)[0].shape)} if len(jax.tree.leaves(found.dy)) == 1 else {}
    batch = next((a.shape[0] for n, a in arrays.items() if n == "x"), 1)
    words = describe(got, right, tolerance, axes, {"N": batch, "the number of entries": right.size}, arrays | single)
    return words or _as_if(point, plain, found, name, got, tolerance)


def _as_if(point: Point, plain: Forward, found: Found, name: str, got: np.ndarray, tolerance: float) -> str:
    """Whether the gradient is right for an argument that is flipped, transposed or shifted."""
    which = [n for n, _ in differentiated(point)].index(name)
    leaves, tree = jax.tree.flatten(point.args)
    for i, other in enumerate(point.leaves):
        changes = _changes(leaves[i], first=1 if other == "x" else 0) if inexact(leaves[i]) else ()
        for how, changed in changes:
            if changed.shape != leaves[i].shape:
                continue
            args = jax.tree.unflatten(tree, [*leaves[:i], np.ascontiguousarray(changed), *leaves[i + 1 :]])
            pulled = by_jax(plain, args, point.context, found.dy, [np.zeros(g.shape) for g in found.gradient])[0][which]
            if abs(pulled - got).max() <= tolerance:
                return f"right if {other} were {how}"
    return ""


def _changes(a: np.ndarray, first: int) -> Iterator[tuple[str, np.ndarray]]:
    """What an array may have been taken for; its axes in space are those from `first` to the last but one, or but two."""
    space = tuple(range(first, a.ndim - 2 + first))
    if space:
        yield "flipped in space", np.flip(a, space)
    if len(space) > 1:
        yield "transposed in space", a.swapaxes(*space[:2])
    if a.ndim > 1 and not first:
        yield "transposed" + (" in its channels" if space else ""), a.swapaxes(-1, -2)
    for by, axes in product((1, -1, 2, -2), ((i,) for i in space) if len(space) < 2 else (*((i,) for i in space), space)):
        if all(a.shape[i] > abs(by) for i in axes):
            kept = np.pad(a, [(max(by, 0), max(-by, 0)) if i in axes else (0, 0) for i in range(a.ndim)])
            kept = kept[tuple(slice(max(-by, 0), max(-by, 0) + a.shape[i]) if i in axes else slice(None) for i in range(a.ndim))]
            yield f"shifted by {by} in space", kept


def _against_slopes(point: Point, found: Found, rng: np.random.Generator) -> Result:
    """Along random directions and single entries, in NumPy (or whatever `forward` computes in)."""
    leaves, tree = jax.tree.flatten(point.args)
    dy, rows, skipped, used, few = flat(found.dy), [], [], iter(found.gradient), 1 if point.quick else 4
    for i, name in enumerate(point.leaves):
        if not inexact(leaves[i]):
            continue
        x, gradient = leaves[i], next(used)
        if not x.size:
            continue

        def outputs(value: np.ndarray, i: int = i) -> np.ndarray:
            return flat(point.forward(jax.tree.unflatten(tree, [*leaves[:i], value, *leaves[i + 1 :]]), point.context)[0])

        vs = [v.reshape(x.shape) for v in directions(x.size, rng, whole=4 * few, few=few)]
        along = np.asarray([float((v * gradient).sum()) for v in vs])
        relative = found.relative
        oracle, slopes = _slopes(outputs, x, vs, dy, relative, point.quick)
        finite = [k for k, slope in enumerate(slopes) if np.isfinite(slope[:2]).all()]
        if not finite:
            skipped.append("differences: forward is not finite nearby")
            continue
        vs, along, slopes = [vs[k] for k in finite], along[finite], [slopes[k] for k in finite]
        rows.append(_slope_row(point, name, oracle, x, vs, along, slopes, found))
        if point.ties:
            continue
        smooth, why = _exact(outputs, x, vs, dy, relative, slopes)
        if smooth:
            chosen = list(smooth)
            rows.append(_slope_row(point, name, "complex step", x, [vs[k] for k in chosen], along[chosen], list(smooth.values()), found))
        else:
            skipped.append(f"complex step: {why}")
    return rows, list(dict.fromkeys(skipped))


def _slopes(outputs, x, vs, dy, relative, quick: bool) -> tuple[str, list[Slope]]:
    """By unit steps where the function is linear in this argument, else by five-point differences."""
    linear = [unit_step(outputs, x, v, dy, relative) for v in vs[:1]]
    if linear[0]:
        linear += [unit_step(outputs, x, v, dy, relative) for v in vs[1:]]
    if all(linear):
        return "unit step", [s for s in linear if s]
    steps = [s * (float(abs(x).max()) or 1.0) for s in ((1e-5,) if quick else (1e-3, 1e-4, 1e-5))]
    step = best_step(outputs, x, vs[0], dy, relative, steps) if len(steps) > 1 else steps[0]
    slopes = [differences(outputs, x, v, dy, relative, step) for v in vs]
    size = max(abs(s.value) for s in slopes)
    for i, s in enumerate(slopes):
        if s.tolerance > 1e-5 * size and not s.kink:  # a kink nearby, which smaller steps may not reach
            slopes[i] = min(s, differences(outputs, x, vs[i], dy, relative, step / 100), key=lambda s: s.tolerance)
    return "differences", slopes


def _exact(outputs, x, vs, dy, relative, slopes: list[Slope]) -> tuple[dict[int, Slope], str]:
    """By the complex step, for each direction along which differences see no kink; or why it does not apply."""
    sure = 1e-4 * max(abs(s.value) for s in slopes)
    smooth = [k for k, s in enumerate(slopes) if not s.kink and s.tolerance <= sure]
    if not smooth:
        return {}, "there is a kink along every direction"
    try:
        exact = {k: complex_step(outputs, x, vs[k], dy, relative) for k in smooth}
    except Exception as error:
        return {}, f"forward does not take complex numbers ({first_line(error)})"
    if not all(abs(exact[k].value - slopes[k].value) <= exact[k].tolerance + slopes[k].tolerance for k in smooth):
        return {}, "forward is not analytic: the complex step and differences differ"
    return exact, ""


def _slope_row(point: Point, name: str, oracle: str, x, vs, along: np.ndarray, slopes: list[Slope], found: Found) -> Row:
    """The direction whose error is largest, in units of what it allows; a single entry where one is wrong."""
    values, allowed = np.asarray([s.value for s in slopes]), np.asarray([s.tolerance for s in slopes])
    allowed = allowed + found.relative * np.asarray([np.linalg.norm(v) for v in vs]) * found.scale
    error = abs(along - values)
    error = np.where(np.isfinite(error), error, np.finfo("float64").max)
    single = np.asarray([np.count_nonzero(v) == 1 for v in vs])
    excess = error / allowed
    k = int(np.where(single, excess, 0).argmax() if (single & (excess > 1)).any() else excess.argmax())
    largest = float(abs(values).max())
    largest = largest if largest > allowed[k] else found.scale or 1.0
    row = point.row(
        name, oracle, entries=len(vs), error=float(error[k]), relative=float(error[k]) / largest,
        ulps=float(error[k] / np.spacing(largest)),
        tolerance=float(allowed[k]), kinks=sum(s.kink for s in slopes), got=float(along[k]), expected=float(values[k]),
        index=tuple(np.argwhere(vs[k])[0]) if single[k] else (),
    )  # fmt: skip
    if not row.ok and single.all() and len(vs) == x.size:
        got, right = along.reshape(x.shape), values.reshape(x.shape)
        row = row._replace(words=describe(got, right, float(allowed.max()), point.leaves[name], {}, {}))
    if slopes[k].kink and not row.ok:
        row = row._replace(words="; ".join(filter(None, (row.words, "at a kink, and outside of the slopes on its two sides"))))
    return row


def _linear(point: Point, found: Found, rng: np.random.Generator) -> Result:
    """backward(a dy + b du) = a backward(dy) + b backward(du)."""
    a, b = rng.uniform(0.5, 2.0), -rng.uniform(0.5, 2.0)
    residuals = point.forward(point.args, point.context)[1]
    du = normal_like(found.dy, rng)
    mixed = jax.tree.map(lambda d, u: (a * d + b * u).astype(d.dtype), found.dy, du)
    other, both = (differentiable(to_numpy(point.backward(residuals, d)), point.args) for d in (du, mixed))
    rows = []
    size = found.relative * max([found.scale, *(float(abs(g).max(initial=0)) for g in (*other, *both))])
    for (name, _), g, u, m in zip(differentiated(point), found.gradient, other, both, strict=True):
        row = array_row(point, name, "linear in dy", m, a * g + b * u, size, found)
        rows.append(row if row.ok else row._replace(words="backward is not linear in dy: something depends on the cotangent that must not"))
    return rows, []


def compile_ahead(points: Sequence[Point]) -> None:
    """Compile what many points need, several at a time: what is compiled is then found by those who call it."""

    def compile_one(point: Point) -> None:
        with suppress(Exception), jax.enable_x64(True):  # what cannot be compiled is told by the oracle that needs it
            y = jax.eval_shape(lambda *at: point.forward(*at)[0], point.args, point.context)
            dy = jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), y)
            by_jax(point.forward, point.args, point.context, dy, [np.zeros(a.shape) for a in differentiable(point.args, point.args)])
            with jax.enable_x64(point.dtype == "float64"):
                by_jit(point, point.args, point.context, dy)

    with ThreadPoolExecutor() as pool:
        list(pool.map(compile_one, [point for point in points if not point.ties]))
