"""One pair `forward`, `backward` at one point against every oracle."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arrays import PyTree, to_numpy
from funcnn.checking.contract import backward_breaks, forward_breaks
from funcnn.checking.oracles import Leaf, Slope, best_step, by_jax, complex_step, differences, directions, flat, unit_step
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
    frozen,
    inexact,
    largest,
    measure,
    measure_rounding,
    normal_like,
    sized_row,
)
from funcnn.checking.precision import against_jitted, by_jit
from funcnn.checking.report import Row


def compare(point: Point, rng: np.random.Generator) -> Result:
    """The rows of one point, and why which oracle did not apply."""
    with jax.enable_x64(True), np.errstate(all="ignore"):
        point = point._replace(args=frozen(point.args))
        y, residuals = point.forward(point.args, point.context)
        words = forward_breaks(point, y, residuals)
        if words:
            return ([], [f"ties: {words}"]) if point.ties and not np.isfinite(flat(y)).all() else ([point.broken(words)], [])
        dy = frozen(normal_like(to_numpy(y), rng))
        try:
            manual = point.backward(residuals, dy)
            words = backward_breaks(point, manual, residuals, dy, rng)
        except Exception as error:  # whatever the code under test raises
            words = f"expected backward(residuals, dy) to run, got {first_line(error)}"
        if words:
            return [point.broken(words)], []
        found = measure(point, point.args, point.context, dy, float(jnp.finfo(flat(y).dtype).eps), rng)
        rough, found = found, measure_rounding(point, found)
        rows, skipped = [], []
        for oracle, known in ((_against_jax, found), (_against_slopes, found), (_linear, found), (against_jitted, rough)):
            some, why = oracle(point, known, rng)
            rows, skipped = rows + some, skipped + why
        return rows, skipped


def _against_jax(point: Point, found: Found, rng: np.random.Generator) -> Result:
    """Every entry by `jax.vjp`; and <J v, dy> = <v, backward(dy)> for one random v over all arguments by `jax.jvp`."""
    plain = point.plain
    if plain is None:
        return [], [f"jax.vjp, adjoint: {point.why}"]
    v, rows, skipped = [rng.standard_normal(g.shape) for g in found.gradient], [], []
    try:
        expected, dots = by_jax(plain, point.args, point.context, found.dy, v)
    except Exception as first:
        try:
            expected, dots = *by_jax(plain, point.args, point.context, found.dy, v, with_jvp=False)[:1], None
        except Exception as error:
            return [], [f"jax.vjp, adjoint: JAX cannot trace forward ({type(error).__name__})"]
        skipped = [f"adjoint: forward has no forward mode ({first_line(first)})"]
    for i, ((name, axes), got, right) in enumerate(zip(differentiated(point), found.gradient, expected, strict=True)):
        tolerance = found.allowed(i, right)
        row = array_row(point, name, "jax.vjp", got, right, tolerance)
        rows.append(row if row.ok else row._replace(words=_explain(point, plain, found, name, axes, got, right, tolerance)))
    if dots is not None and not point.ties:
        rows.append(_adjoint(point, found, v, dots))
    return rows, skipped


def _adjoint(point: Point, found: Found, v: list[np.ndarray], dots: PyTree) -> Row:
    left, right = float(flat(dots) @ flat(found.dy)), sum(float((a * g).sum()) for a, g in zip(v, found.gradient, strict=True))
    size = float(abs(flat(dots)) @ abs(flat(found.dy)))
    tolerance = found.relative * size + sum(float(found.allowed_along(i, [a])[0]) for i, a in enumerate(v))
    row = sized_row(point, "dy", "adjoint", abs(left - right), tolerance, size)
    return row._replace(entries=1, got=right, expected=left)


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
            pulled = by_jax(plain, args, point.context, found.dy, [np.zeros(g.shape) for g in found.gradient], with_jvp=False)[0][which]
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
    rows, skipped, used, few = [], [], iter(range(len(found.gradient))), 1 if point.quick else 4
    for place, name in enumerate(point.leaves):
        if not inexact(leaves[place]):
            continue
        x, i = leaves[place], next(used)
        if not x.size:
            continue

        def outputs(value: np.ndarray, place: int = place) -> np.ndarray:
            return flat(point.forward(jax.tree.unflatten(tree, [*leaves[:place], value, *leaves[place + 1 :]]), point.context)[0])

        vs = [v.reshape(x.shape) for v in directions(x.size, rng, whole=4 * few, few=few)]
        leaf = Leaf(outputs, x, outputs(x), flat(found.dy), partial(found.noise, i))
        oracle, slopes = _slopes(leaf, vs, point.quick)
        if not slopes:
            skipped.append(f"differences: forward is not finite near {name}")
            continue
        rows.append(_slope_row(point, name, oracle, i, vs, slopes, found))
        if point.ties:
            continue
        smooth, why = _exact(leaf, vs, found.relative, slopes)
        if smooth:
            rows.append(_slope_row(point, name, "complex step", i, vs, smooth, found))
        else:
            skipped.append(f"complex step: {why}")
    return rows, list(dict.fromkeys(skipped))


def _slopes(leaf: Leaf, vs: Sequence[np.ndarray], quick: bool) -> tuple[str, dict[int, Slope]]:
    """By unit steps where the function is linear in this argument, else by five-point differences; only the finite ones."""
    linear = [unit_step(leaf, v) for v in vs[:1]]
    if linear[0]:
        linear += [unit_step(leaf, v) for v in vs[1:]]
    if all(linear):
        return "unit step", {k: s for k, s in enumerate(linear) if s}
    size = largest(leaf.x) or 1.0
    step = 1e-5 * size if quick else best_step(leaf, vs[0], [s * size for s in (1e-3, 1e-4, 1e-5)])
    slopes = {k: differences(leaf, v, step) for k, v in enumerate(vs)}
    known = max((abs(s.value) for s in slopes.values() if np.isfinite(s.value)), default=0.0)
    for k, s in slopes.items():
        if not s.kink and not s.tolerance <= 1e-5 * known:  # a kink or an end nearby, which smaller steps may not reach
            smaller = (differences(leaf, vs[k], step * f) for f in (1e-2, 1e-5))
            slopes[k] = min((s, *smaller), key=lambda s: np.nan_to_num(s.tolerance, nan=np.inf))
    return "differences", {k: s for k, s in slopes.items() if np.isfinite(s[:2]).all()}


def _exact(leaf: Leaf, vs: Sequence[np.ndarray], relative: float, slopes: dict[int, Slope]) -> tuple[dict[int, Slope], str]:
    """By the complex step, along each direction where differences are sure enough to tell whether it is right; or why it is not used."""
    sure = 1e-4 * max(abs(s.value) for s in slopes.values())
    smooth = [k for k, s in slopes.items() if not s.kink and s.tolerance <= sure]
    if not smooth:
        return {}, "differences are not sure enough to tell whether it applies"
    try:
        exact = {k: complex_step(leaf, vs[k], relative) for k in smooth}
    except Exception as error:
        return {}, f"forward does not take complex numbers ({type(error).__name__})"
    if not all(abs(exact[k].value - slopes[k].value) <= exact[k].tolerance + slopes[k].tolerance for k in smooth):
        return {}, "forward is not analytic, as it differs from differences"
    return exact, ""


def _slope_row(point: Point, name: str, oracle: str, i: int, vs, slopes: dict[int, Slope], found: Found) -> Row:
    """The direction whose error is largest, in units of what it allows; a single entry where one is wrong."""
    gradient, chosen = found.gradient[i], [vs[k] for k in slopes]
    along, values = np.asarray([float((v * gradient).sum()) for v in chosen]), np.asarray([s.value for s in slopes.values()])
    allowed = np.asarray([s.tolerance for s in slopes.values()]) + found.allowed_along(i, chosen)
    single, excess = np.asarray([np.count_nonzero(v) == 1 for v in chosen]), abs(along - values) / np.maximum(allowed, 1e-300)
    k = int(np.where(single, excess, 0).argmax() if (single & (excess > 1)).any() else excess.argmax())
    kink = list(slopes.values())[k].kink
    row = sized_row(point, name, oracle, float(abs(along[k] - values[k])), float(allowed[k]), largest(values))
    row = row._replace(
        entries=len(chosen), kinks=sum(s.kink for s in slopes.values()), got=float(along[k]), expected=float(values[k]),
        index=tuple(np.argwhere(chosen[k])[0]) if single[k] else (),
    )  # fmt: skip
    if row.ok:
        return row
    words = "at a kink, and outside of the slopes on its two sides" if kink else ""
    if single.all() and len(chosen) == gradient.size:
        got, right = along.reshape(gradient.shape), values.reshape(gradient.shape)
        words = "; ".join(filter(None, (describe(got, right, float(allowed.max()), point.leaves[name], {}, {}), words)))
    return row._replace(words=words)


def _linear(point: Point, found: Found, rng: np.random.Generator) -> Result:
    """backward(a dy + b du) = a backward(dy) + b backward(du)."""
    a, b = rng.uniform(0.5, 2.0), -rng.uniform(0.5, 2.0)
    residuals = point.forward(point.args, point.context)[1]
    du = normal_like(found.dy, rng)
    mixed = jax.tree.map(lambda d, u: (a * d + b * u).astype(d.dtype), found.dy, du)
    other, both = (differentiable(to_numpy(point.backward(residuals, d)), point.args) for d in (du, mixed))
    rows = []
    for i, ((name, _), g, u, m) in enumerate(zip(differentiated(point), found.gradient, other, both, strict=True)):
        row = array_row(point, name, "linear in dy", m, a * g + b * u, 4 * max(found.allowed(i, e) for e in (g, u, m)))
        rows.append(row if row.ok else row._replace(words="backward is not linear in dy: something depends on the cotangent that must not"))
    return rows, []


def compile_ahead(pool: Executor, point: Point) -> list[Future]:
    """Begin to compile, and run once, what two of the oracles need at a point: they find it compiled when they ask for the same."""

    def compiling(program: Callable[[PyTree], object]) -> None:
        with suppress(Exception), jax.enable_x64(True):  # what cannot be compiled is told by the oracle that needs it
            y = jax.eval_shape(lambda *at: point.forward(*at)[0], point.args, point.context)
            program(jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), y))

    def jitted(dy: PyTree) -> None:
        with jax.enable_x64(point.dtype == "float64"):
            by_jit(point, point.args, point.context, dy)

    v = [np.zeros(a.shape) for a in differentiable(point.args, point.args)]
    programs = (lambda dy: by_jax(point.forward, point.args, point.context, dy, v), jitted)
    return [] if point.ties or point.wide else [pool.submit(compiling, program) for program in programs]
