"""Transposed convolutions against JAX's own with `jax.grad` and PyTorch's, each in a process of its own. Takes 4 min.

Claim: on a CPU forward and both gradients take at most a fifth of JAX's time; of PyTorch's between a quarter and twice as much.
JAX spreads the input with zeros and convolves (jax-ml/jax#31662, #23783, open); here the zeros are not there. Contenders take turns,
after a check that all compute the same numbers; PyTorch counts in the better of its two memory layouts. Ratios are of medians over
the rounds of one run. #31662's shape is its own, in float32; #23783's is one of the kind.
Theme: speed.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

import funcnn as fn
from experiments.benchmark import race as r
from experiments.benchmark import workloads as w
from experiments.common.console import progress, table
from experiments.common.options import Options
from experiments.common.run import Run


@dataclass(frozen=True)
class Config(Options):
    rounds: int = 5
    """How often everyone has a turn."""
    milliseconds: int = 300
    """How long a turn is."""


SMOKE = (w.transposed("3-D", (1, 3, 4, 2, 4), 1, (3, 3, 3), 2, 1, 1), w.transposed("1-D", (2, 5, 3), 2, (8,), 4, 2))


def main(options: Config) -> None:
    run, rows = Run("transposed", options), []
    everyone = [name for name in r.contenders() if name not in (r.AUTO, r.EPOCH)]
    names, workloads = (everyone[:2], SMOKE) if options.smoke else (everyone, w.TRANSPOSED)
    rounds, seconds = (1, 0.01) if options.smoke else (options.rounds, options.milliseconds / 1e3)
    fn.keep_memory()
    with progress("in turns", len(workloads)) as advance, r.processes(names) as ask:
        for workload in workloads:
            rows.append(_row(workload, r.race(ask, workload, rounds, seconds)))
            run.log(rows[-1])
            advance(error=rows[-1]["error"])
    table(
        "Forward and both gradients: medians in ms; funcnn's over PyTorch's best and lax's; slowest over fastest round; first call in s",
        ("x (N, ..., C) -> F", *names, "/ torch", "/ lax", "spread", "first", "lax's"),
        (_cells(row, names) for row in rows),
    )
    run.finish({"rows": rows}, "results")


def _cells(row: dict[str, Any], names: list[str]) -> list[str]:
    to_torch = "" if np.isnan(row["to_torch"]) else f"{row['to_torch']:.2f}"
    times, first = (f"{row['ms'][name]:.3g}" for name in names), (f"{row['first_s'][name]:.1f}" for name in (r.MANUAL, r.LAX))
    return [row["name"], *times, to_torch, f"{row['to_lax']:.3f}", f"{row['spread']:.1f}", *first]


def _row(workload: w.Workload, timings: dict[str, r.Timing]) -> dict[str, Any]:
    ours, lax = timings[r.MANUAL].median, timings[r.LAX].median
    torch = min((timings[name].median for name in (r.TORCH, r.TORCH_LAST) if name in timings), default=float("nan"))
    return {
        "name": workload.name, "ms": {name: 1e3 * t.median for name, t in timings.items()},
        "spread": max(max(t.rounds) / min(t.rounds) for t in timings.values()), "first_s": {name: t.first for name, t in timings.items()},
        "error": max(t.error for t in timings.values()), "to_torch": ours / torch, "to_lax": ours / lax,
    }  # fmt: skip
