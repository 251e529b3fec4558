"""funcnn's convolution and pooling inside networks of JAX, Flax, Haiku and Equinox, against JAX's own in the same networks. Takes 15 min.

Claim: the same losses over 20 steps, to 1e-4; a step takes at most 0.35 of the time with pooling, 0.8 in a ResNet, 0.3 in a depthwise
network; compiling at most 1.5 times as long. Then single layers: both gradients of transposed and depthwise convolutions on the
shapes of JAX's open issues. All begin with the same parameters and see the same random images and labels of MNIST's and CIFAR's shapes,
drawn with a fixed seed: time and equality need no others. Contenders take turns, each in a process of its own; PyTorch counts in the
better of its two memory layouts.
Theme: speed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

import funcnn as fn
from experiments.benchmark import race as r
from experiments.benchmark import workloads as w
from experiments.common.console import CONSOLE, progress, table
from experiments.common.options import Options
from experiments.common.run import Run

Row = dict[str, Any]
PLAIN = "plain JAX"
FLAX, SERIES = ("linen", "nnx"), ("linen", "nnx", "equinox", "haiku")
ALLOWED = 1e-4
"""Of the losses, relative to the largest."""


@dataclass(frozen=True)
class Config(Options):
    rounds: int = 5
    """How often everyone has a turn with a network."""
    layer_rounds: int = 2
    """The same with a layer, of which the slowest takes JAX a quarter of a minute."""
    milliseconds: int = 500
    """How long a turn is; three steps at least."""
    compiles: int = 3
    """How often a step is compiled, each time in a new process."""


def networks(smoke: bool) -> dict[w.Workload, tuple[str, ...]]:
    """The networks, and the libraries in which each is built."""
    if smoke:
        return {w.mnist("avg_pool", 4, 8, 2): SERIES, w.separable(4, 8, 2): FLAX}
    resnet = w.long(w.resnet(20, 128))
    return {w.mnist("avg_pool"): SERIES, w.mnist("max_pool"): SERIES, resnet: FLAX, w.separable(): FLAX}


def layers(smoke: bool) -> tuple[w.Workload, ...]:
    if smoke:
        return w.transposed("3-D", (1, 3, 4, 2, 4), 1, (3, 3, 3), 2, 1, 1), w.depthwise("1-D", (2, 7, 4), (5,))
    half = w.TRANSPOSED[0]._replace(dtype="bfloat16", name=w.TRANSPOSED[0].name.replace("jax-ml/jax#31662", "openxla/xla#34273, bfloat16"))
    return w.TRANSPOSED[0], half, *w.TRANSPOSED[1:], *w.DEPTHWISE


def main(options: Config) -> None:
    run, rows = Run("doors", options), {"networks": [], "layers": []}
    fn.keep_memory()
    missing = sorted({module for module in r.LIBRARIES.values() if not find_spec(module)})
    if missing:
        CONSOLE.print(f"left out, as not installed: {', '.join(missing)}; .venv/bin/pip install -e '.[peers]'", markup=False)
    steps, single = networks(options.smoke), layers(options.smoke)
    with progress("in turns", len(steps) + len(single)) as advance:
        for workload, libraries in steps.items():
            there = [name for name in libraries if r.LIBRARIES[name] not in missing]
            for row in _in_libraries(workload, there, options):
                rows["networks"].append(row)
                run.log(row)
            advance()
        with r.processes(everyone([], options.smoke), quickly=options.smoke) as ask:
            for workload in single:
                rows["layers"].append(_layer(workload, _race(ask, workload, options.layer_rounds, options)))
                run.log(rows["layers"][-1])
                advance()
    _show(rows)
    run.finish(rows, "results")


def everyone(libraries: Sequence[str], smoke: bool) -> list[str]:
    """JAX's own convolution and funcnn's, called directly and in the libraries; PyTorch."""
    pairs = [name for pair in _pairs(libraries).values() for name in pair]
    return pairs if smoke else [*pairs, *r.torches()]


def _pairs(libraries: Sequence[str]) -> dict[str, tuple[str, str]]:
    return {PLAIN: (r.LAX, r.DOOR)} | {name: (name, r.THROUGH.format(name)) for name in libraries}


def _race(ask: Mapping[str, r.Ask], workload: w.Workload, rounds: int, options: Config) -> dict[str, r.Timing]:
    return r.race(ask, workload, *((1, 0.01) if options.smoke else (rounds, options.milliseconds / 1e3)))


def _in_libraries(workload: w.Workload, libraries: Sequence[str], options: Config) -> list[Row]:
    """A row for each library."""
    names, compiled = everyone(libraries, options.smoke), []
    timings: dict[str, r.Timing] = {}
    for i in range(1 if options.smoke else options.compiles):
        with r.processes(names, quickly=options.smoke) as ask:
            if i == 0:
                timings = _race(ask, workload, options.rounds, options)
            else:
                r.race(ask, workload._replace(losses=1), 0, 0)
            compiled.append({name: ask[name]("program") for name in names})
    rows = []
    for library, (lax, ours) in _pairs(libraries).items():
        seconds = {name: float(np.median([c[name]["trace_s"] + c[name]["compile_s"] for c in compiled])) for name in (lax, ours)}
        error = max(timings[name].error for name in (lax, ours))
        rows.append(
            {"network": workload.name, "library": library, **_times(timings, lax, ours), "lax_compile_s": seconds[lax],
             "compile_s": seconds[ours], "compile_to_lax": seconds[ours] / seconds[lax], "error": error, "same": error <= ALLOWED}
        )  # fmt: skip
    return rows


def _layer(workload: w.Workload, timings: Mapping[str, r.Timing]) -> Row:
    return {"layer": workload.name, **_times(timings, r.LAX, r.DOOR), "error": max(t.error for t in timings.values())}


def _times(timings: Mapping[str, r.Timing], lax: str, ours: str) -> Row:
    """Medians in ms and their ratios; PyTorch's the better of its two layouts, NaN where it is not there."""
    torch = min((timings[name].median for name in r.torches() if name in timings), default=float("nan"))
    spread = max(max(t.rounds) / min(t.rounds) for t in (timings[lax], timings[ours]))
    there, here = timings[lax].median, timings[ours].median
    times = {"lax_ms": 1e3 * there, "ms": 1e3 * here, "torch_ms": 1e3 * torch}
    return times | {"to_lax": here / there, "to_torch": here / torch, "spread": spread}


def _show(rows: Mapping[str, Sequence[Row]]) -> None:
    ratios = ("lax", "funcnn", "PyTorch", "/ lax", "/ torch", "spread")

    def times(row: Row) -> list[str]:
        values = (f"{row[what]:.3g}" for what in ("lax_ms", "ms", "torch_ms", "to_lax", "to_torch", "spread"))
        return ["" if value == "nan" else value for value in values]

    def compiled(row: Row) -> list[str]:
        return [f"{row['lax_compile_s']:.2f}", f"{row['compile_s']:.2f}", f"{row['compile_to_lax']:.2f}"]

    table(
        "A training step by JAX's own convolution and pooling, and by funcnn's in the same program: medians in ms; seconds to compile",
        ("network", "in", *ratios, "lax s", "funcnn s", "/ lax", "losses"),
        ([row["network"], row["library"], *times(row), *compiled(row), f"{row['error']:.0e}"] for row in rows["networks"]), 2,
    )  # fmt: skip
    table("A layer, forward and both gradients by jax.vjp: medians in ms", ("x (N, ..., C)", *ratios, "error"),
          ([row["layer"], *times(row), f"{row['error']:.0e}"] for row in rows["layers"]))  # fmt: skip
