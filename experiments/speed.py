"""Training steps, convolutions and pooling against JAX's own and PyTorch's, each in a process of its own. Takes 15 min.

Claim: on a CPU the first three tutorials' and the middle-sized network train in less time than with either.
Contenders take turns, after a check that all compute the same numbers; PyTorch counts in the better of its two memory layouts. Ratios are
of medians over the rounds of one run; below 1 funcnn is faster. "In an epoch": 16 steps as one program, as funcnn trains but without
shuffling.
Theme: speed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

import funcnn as fn
from experiments.benchmark import race as r
from experiments.benchmark import report
from experiments.benchmark import workloads as w
from experiments.benchmark.contenders import on_numpy, prepare
from experiments.benchmark.timing import bandwidth, matmul_rate, median_seconds
from experiments.common.console import progress
from experiments.common.options import Options
from experiments.common.run import Run


@dataclass(frozen=True)
class Config(Options):
    rounds: int = 5
    """How often everyone has a turn."""
    milliseconds: int = 300
    """How long a turn is."""
    random: int = 6
    """How many layers beside the tables' are drawn at random."""
    keep_memory: bool = True
    """Whether everyone keeps freed memory, by `fn.keep_memory()`."""


def main(options: Config) -> None:
    run, names = Run("speed", options), (r.MANUAL, r.EPOCH, r.LAX) if options.smoke else r.contenders()
    rows, tutorials, curves, peaks = [], [], {}, {}
    if options.keep_memory:
        fn.keep_memory()
    work = list(_workloads(options))
    growth = _growth(options.smoke)
    with progress("in turns", len(work) + sum(map(len, growth.values()))) as advance, r.processes(names, options.keep_memory) as ask:
        for workload in work:
            rows.append(_row(workload, _race(ask, workload, options)))
            run.log(rows[-1])
            advance()
        for what, series in growth.items():
            curves[what] = []
            for size, workload in series:
                curves[what].append((size, _race({r.EPOCH: ask[r.EPOCH]}, workload, options)[r.EPOCH].median))
                advance()
    for name in names[:1] if options.smoke else names:
        with r.processes([name], options.keep_memory) as ask:
            ask[name]("prepare", (_middle(options.smoke), r.initial(_middle(options.smoke))))
            ask[name]("time", _turn(options))
            peaks[name] = ask[name]("peak")
    for workload in [step for step in w.STEPS if step.name in w.TUTORIALS][: 1 if options.smoke else None]:
        tutorials.append(_tutorial(workload, options.smoke))
    slopes = {what: _slope(points) for what, points in curves.items()}
    rate = matmul_rate(100 if options.smoke else 25088)
    report.show(rows, tutorials, slopes, peaks, rate)
    run.picture("ratios", report.bars(rows))
    run.picture("growth", report.lines(curves, slopes))
    moved = bandwidth(2**10 if options.smoke else 2**20)
    results = {"rows": rows, "tutorials": tutorials, "growth": curves, "slopes": slopes, "peak_mib": peaks}
    results |= {"matmul_gflops": rate, "gigabytes_per_s": moved}
    run.finish(results, f"{jax.devices()[0].device_kind}, {rate:.0f} GFLOP/s in float32 matrix products, {moved:.0f} GB/s; results")


def _race(ask: Mapping[str, r.Ask], workload: w.Workload, options: Config) -> dict[str, r.Timing]:
    return r.race(ask, workload, 1 if options.smoke else options.rounds, _turn(options))


def _turn(options: Config) -> float:
    return 0.01 if options.smoke else options.milliseconds / 1e3


def _middle(smoke: bool) -> w.Workload:
    return w.middle("small", 4, 8, 4) if smoke else w.middle("middle-sized, batch 128", 128)


def _workloads(options: Config) -> Iterable[w.Workload]:
    if options.smoke:
        return [_middle(True), w.layer("3x3", 2, 5, 6, 2, w.conv(3)), w.layer("pool", 2, 6, 6, 2, ("max_pool", 2, 2))]
    everything = (*w.STEPS, *w.TABLE, *w.OTHERS, *w.POOLS, *w.neighbours(options.seed, options.random))
    if jax.default_backend() == "cpu":  # a CPU has no instructions for bfloat16
        return everything
    return (*everything, *(e._replace(name=f"{e.name}, bfloat16", dtype="bfloat16") for e in (*w.TABLE, *w.STEPS[4:])))


def _row(workload: w.Workload, timings: Mapping[str, r.Timing]) -> dict[str, Any]:
    ours, lax = min(timings[name].median for name in (r.MANUAL, r.EPOCH) if name in timings), timings[r.LAX].median
    torch = min((timings[name].median for name in (r.TORCH, r.TORCH_LAST) if name in timings), default=float("nan"))
    return {
        "name": workload.name, "group": workload.group,
        "ms": {name: 1e3 * t.median for name, t in timings.items()},
        "spread": {name: max(t.rounds) / min(t.rounds) for name, t in timings.items()},
        "first_s": {name: t.first for name, t in timings.items()},
        "error": max(t.error for t in timings.values()), "operations": w.operations(workload),
        "to_torch": ours / torch, "to_lax": ours / lax, "per_call_to_lax": timings[r.MANUAL].median / lax,
    }  # fmt: skip


def _growth(smoke: bool) -> dict[str, list[tuple[float, w.Workload]]]:
    """The middle-sized network, larger and larger in one respect."""
    if smoke:
        return {"batch": [(n, w.middle(f"batch {n}", n, 8, 2)) for n in (2, 4)]}
    return {
        "batch": [(n, w.middle(f"batch {n}", n)) for n in (32, 64, 128, 256)],
        "pixels": [(s * s, w.middle(f"{s} x {s}", 32, s)) for s in (16, 32, 48, 64)],
        "channels": [(c, w.middle(f"{c} channels", 32, 28, c)) for c in (8, 16, 32, 64)],
    }


def _tutorial(workload: w.Workload, smoke: bool) -> dict[str, Any]:
    """A step the tutorials' way, one output position and image at a time in Python; by NumPy; and compiled, in an epoch."""
    direct = partial(fn.conv, algorithm=fn.convolution.direct)
    compiled = prepare(workload, r.initial(workload), w.Way(epoch=True))
    ways = {
        "loops, an image at a time": on_numpy(workload, direct, one_at_a_time=True),
        "loops, the batch at once": on_numpy(workload, direct),
        "NumPy": on_numpy(workload, fn.conv),
    }
    seconds = {name: median_seconds(run, 2 if smoke else 5) for name, run in ways.items()}
    seconds["compiled"] = median_seconds(compiled.run, 2 if smoke else 20) / compiled.each
    return {"name": workload.name, "seconds": seconds, "tutorial": w.TUTORIALS[workload.name]}


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """The power with which the second grows with the first."""
    sizes, seconds = np.log(np.asarray(points)).T
    return float(np.polyfit(sizes, seconds, 1)[0])
