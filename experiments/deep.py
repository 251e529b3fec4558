"""Deep networks: how long ResNet-20 and ResNet-56 take to compile and to train, in how much memory. Takes 5 min.

Claim: ResNet-56, whose blocks are repeated, compiles in at most 1.2 times what ResNet-20 does; `recompute` halves the program's memory;
gradients agree with `jax.grad` to 1e-10 in float64. By JAX's own convolution a step takes longer and compiles sooner.
Contenders take turns, each in a process of its own, after a check that all compute the same losses; PyTorch counts in the better of its
two memory layouts. "funcnn" repeats equal blocks by `fn.repeat`; "written out" has them one after the other, as lax and PyTorch have;
"recompute" is `fn.recompute` around every block. JAX's own convolution inside `repeat` is so slow on a CPU that it has no turns.
Theme: speed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

import funcnn as fn
from experiments.benchmark import race as r
from experiments.benchmark import workloads as w
from experiments.common.console import progress, table
from experiments.common.options import Options
from experiments.common.run import Run
from funcnn import networks, training

Row = dict[str, Any]
IN_TURNS = (r.MANUAL, r.OUT, r.RECOMPUTED, r.OUT_RECOMPUTED, r.LAX)
COMPILED = {"ResNet-20": (20, r.MANUAL), "ResNet-20 by lax": (20, r.LAX), "ResNet-56": (56, r.MANUAL)}
"""What is compiled several times: a depth and a contender."""
COMPARED = (
    (r.MANUAL, r.LAX), (r.MANUAL, r.TORCH), (r.OUT, r.LAX), (r.OUT, r.TORCH), (r.MANUAL, r.OUT), (r.LAX_REPEATED, r.LAX),
    (r.RECOMPUTED, r.MANUAL), (r.OUT_RECOMPUTED, r.OUT),
)  # fmt: skip


@dataclass(frozen=True)
class Config(Options):
    batch: int = 128
    """Images in a step."""
    rounds: int = 5
    """How often everyone has a turn."""
    milliseconds: int = 2000
    """How long a turn is; three steps at least."""
    compiles: int = 3
    """How often what is compared in compiling is compiled, each time in a new process."""


def main(options: Config) -> None:
    run, workload = Run("deep", options), _resnet(20, options)
    compiles = 1 if options.smoke else options.compiles
    with progress("ResNets", 3 + compiles) as advance:
        rows = _in_turns(workload, options)
        advance()
        rows[r.LAX_REPEATED] = _lax_in_repeat(workload, options.smoke)
        advance()
        seconds = {what: [_compiled(rows[name])] if depth == 20 else [] for what, (depth, name) in COMPILED.items()}
        for i in range(compiles):
            for what, (depth, name) in COMPILED.items():
                if len(seconds[what]) == i:  # else the first was in turns
                    seconds[what].append(_compiled(_program(name, _resnet(depth, options), options.smoke)))
            advance()
        error = gradient_error(networks.resnet20(width=2 if options.smoke else 16), 8 if options.smoke else 32)
        advance()
    for row in rows.values():
        run.log(row)
    compiled = {what: float(np.median(times)) for what, times in seconds.items()}
    ratios = _ratios(rows, compiled) | {"gradients, largest relative error in float64": error}
    header = ("contender", "trace s", "compile s", "ms a step", "temporary MiB", "peak MiB", "spread", "error")
    table(f"{workload.name}: the training step; memory of the compiled program and of the process; slowest over fastest round",
          header, map(_cells, rows.values()))  # fmt: skip
    table("To trace and compile, median", ("network", "s"), ((what, f"{s:.1f}") for what, s in compiled.items()))
    table("Ratios", ("of what", "value"), ((what, f"{value:.2g}") for what, value in ratios.items()))
    run.finish({"rows": list(rows.values()), "compiled_s": seconds, "ratios": ratios}, f"{jax.devices()[0].device_kind}; results")


def _resnet(depth: int, options: Config) -> w.Workload:
    """In a smoke run 14 layers for 20 and 20 for 56, on few small images."""
    return w.resnet({20: 14, 56: 20}[depth], 4, 8, 2) if options.smoke else w.resnet(depth, options.batch)


def _in_turns(workload: w.Workload, options: Config) -> dict[str, Row]:
    names = (r.MANUAL, r.LAX) if options.smoke else (*IN_TURNS, *r.torches())
    rounds, turn = (1, 0.01) if options.smoke else (options.rounds, options.milliseconds / 1e3)
    with r.processes(names, quickly=options.smoke) as ask:
        timings = r.race(ask, workload, rounds, turn)
        return {name: _row(name, ask[name], t.median, t.error, max(t.rounds) / min(t.rounds)) for name, t in timings.items()}


def _lax_in_repeat(workload: w.Workload, smoke: bool) -> Row:
    """One step, after a check that it computes what funcnn does."""
    with r.processes((r.MANUAL, r.LAX_REPEATED), quickly=smoke) as ask:
        error = r.race(ask, workload, 0, 0)[r.LAX_REPEATED].error
        return _row(r.LAX_REPEATED, ask[r.LAX_REPEATED], ask[r.LAX_REPEATED]("once"), error, float("nan"))


def _row(name: str, ask: r.Ask, seconds: float, error: float, spread: float) -> Row:
    return {"name": name, **ask("program"), "step_s": seconds, "peak_mib": ask("peak"), "spread": spread, "error": error}


def _program(name: str, workload: w.Workload, smoke: bool) -> Row:
    """What is to say of a program, by a new process."""
    with r.processes([name], quickly=smoke) as ask:
        ask[name]("prepare", (workload, r.initial(workload)))
        return ask[name]("program")


def _compiled(program: Row) -> float:
    """Seconds, with tracing."""
    return program["trace_s"] + program["compile_s"]


def gradient_error(net: fn.Layer, size: int, batch: int = 4) -> float:
    """The largest error of a parameter's gradient by hand against `jax.grad`, relative to that gradient's largest entry, in float64."""
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((batch, size, size, 3)), np.arange(batch, dtype="int32") % 10
    with jax.enable_x64(True):
        params, state = jax.tree.map(jax.numpy.asarray, fn.to_numpy(net.init(jax.random.key(0), x.shape[1:]), "float64"))
        ours, theirs = (
            jax.tree.leaves(fn.to_numpy(jax.jit(make(net, fn.softmax_cross_entropy))(params, state, x, labels, jax.random.key(1))[0]))
            for make in (training.manual, training.automatic)
        )
    return max(float(abs(a - b).max() / abs(b).max()) for a, b in zip(ours, theirs, strict=True))


def _ratios(rows: Mapping[str, Row], compiled: Mapping[str, float]) -> dict[str, float]:
    """Of those who took part."""
    torches = [rows[name] for name in r.torches() if name in rows]
    best = {r.TORCH: min(torches, key=lambda row: row["step_s"])} if torches else {}
    rows, ours = {**rows, **best}, compiled["ResNet-20"]
    ratios = {
        "compiling: funcnn / lax": ours / compiled["ResNet-20 by lax"],
        "compiling: ResNet-56 / ResNet-20": compiled["ResNet-56"] / ours,
    }
    for what, title in (("step_s", "step"), ("temporary_mib", "temporary memory"), ("peak_mib", "peak memory")):
        for name, other in COMPARED:
            if what in rows.get(name, {}) and what in rows.get(other, {}):
                ratios[f"{title}: {name} / {other}"] = rows[name][what] / rows[other][what]
    return ratios


def _cells(row: Row) -> list[str]:
    program = [f"{row[what]:.{digits}f}" if what in row else "" for what, digits in _PROGRAM.items()]  # PyTorch has none
    spread = "" if np.isnan(row["spread"]) else f"{row['spread']:.1f}"
    return [row["name"], *program[:2], f"{1e3 * row['step_s']:.0f}", program[2], f"{row['peak_mib']:.0f}", spread, f"{row['error']:.0e}"]


_PROGRAM = {"trace_s": 2, "compile_s": 1, "temporary_mib": 0}
