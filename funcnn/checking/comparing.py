"""How a check goes: what is compiled ahead, the contract, what rounding allows, then one oracle after the other at every point."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext, suppress

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arrays import PyTree, to_numpy
from funcnn.checking.oracles.autodiff import by_autodiff, by_jax
from funcnn.checking.oracles.contract import backward_breaks, by_linearity, forward_breaks
from funcnn.checking.oracles.jitted import by_jit, run_jitted
from funcnn.checking.oracles.slopes import by_slopes
from funcnn.checking.pairs import outputs_like
from funcnn.checking.points import Point, apart
from funcnn.checking.report import Report, Result, broken
from funcnn.checking.tolerances import measure, measure_rounding
from funcnn.checking.trees import flat, frozen, normal_like

ASKED = (by_autodiff, by_slopes, by_linearity, by_jit)
"""The oracles, in the order in which they draw random numbers."""


def report_on(name: str, points: Iterable[Point], rng: np.random.Generator) -> Report:
    """What all oracles say of all points, which are drawn before the first of them is looked at."""
    rows, skipped, pool = [], {}, ThreadPoolExecutor()
    try:
        with jax.enable_x64(True):
            drawn = [(point, compile_ahead(pool, point)) for point in points]
        with _nothing_compiled([p for _, ahead in drawn for p in ahead]) if any(point.wide for point, _ in drawn) else nullcontext():
            for point, ahead in drawn:
                wait(ahead)
                some, why = compare(point, rng)
                if any(row.kinks for row in some) and not any(row.oracle == "jax.vjp" for row in some):
                    some += compare(apart(point, rng), rng)[0]  # else only differences look at it, and a kink hides much from them
                rows += some
                for reason in why:
                    skipped.setdefault(reason, []).append(" ".join(filter(None, (point.path, point.case and f"({point.case})"))))
    finally:
        pool.shutdown(cancel_futures=True)
    reasons = (r + (f": {', '.join(dict.fromkeys(where))}" if any(where) else "") for r, where in skipped.items())
    return Report(name, tuple(rows), tuple(reasons))


def compare(point: Point, rng: np.random.Generator) -> Result:
    """The rows of one point, and why which oracle did not apply."""
    with jax.enable_x64(True), np.errstate(all="ignore"):
        rows, skipped = _ask(point._replace(args=frozen(point.args)), rng)
    return [row._replace(case=point.case, layer=point.path) for row in rows], skipped


def _ask(point: Point, rng: np.random.Generator) -> Result:
    """The contract, and where it is kept, what rounding allows and all oracles."""
    y, residuals = point.forward(point.args, point.context)
    words = forward_breaks(point, y, residuals)
    if words:
        return ([], [f"ties: {words}"]) if point.ties and not np.isfinite(flat(y)).all() else ([broken(words)], [])
    dy = frozen(normal_like(to_numpy(y), rng))
    words = backward_breaks(point, residuals, dy, rng)
    if words:
        return [broken(words)], []
    measured = measure_rounding(point, measure(point, dy, float(jnp.finfo(flat(y).dtype).eps), rng))
    answers = [oracle(point, measured, rng) for oracle in ASKED]
    return [row for rows, _ in answers for row in rows], [why for _, skipped in answers for why in skipped]


def compile_ahead(pool: Executor, point: Point) -> list[Future]:
    """Begin to compile, and run once, what two of the oracles need at a layer's point: they find it compiled when they ask for the same."""
    if not point.jit or point.ties or point.wide:
        return []

    def run(program: Callable[[Point, PyTree], object]) -> None:
        with suppress(Exception), jax.enable_x64(True):  # what cannot be compiled is told by the oracle that needs it
            y = outputs_like(point.forward, point.args, point.context)
            program(point, jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), y))

    return [pool.submit(run, program) for program in (by_jax, run_jitted)]


@contextmanager
def _nothing_compiled(ahead: Sequence[Future]) -> Iterator[None]:
    """What JAX compiles inside is used by nobody else: with wide arrays it would use in float32 what was compiled in float64."""
    for program in ahead:
        program.cancel()
    wait(ahead)
    jax.clear_caches()
    try:
        yield
    finally:
        jax.clear_caches()
