"""The tables and pictures of `experiments speed`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.common.console import table

Rows = list[dict[str, Any]]


def _mean(values: Sequence[float]) -> float:
    """The geometric mean."""
    return float(np.exp(np.mean(np.log(values))))


def _ratio(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2f}"  # without PyTorch


def show(rows: Rows, tutorials: Rows, slopes: Mapping[str, float], peaks: Mapping[str, float], rate: float) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row["ms"]))

    def cells(row: dict[str, Any]) -> list[str]:
        times = (f"{row['ms'][name]:.3g}" if name in row["ms"] else "" for name in names)
        plain = f"{row['operations'] / rate / 1e6:.3g}" if row["operations"] else ""
        return [row["name"], *times, _ratio(row["to_torch"]), _ratio(row["to_lax"]), f"{max(row['spread'].values()):.1f}", plain]

    for group in dict.fromkeys(row["group"] for row in rows):
        some = [row for row in rows if row["group"] == group]
        means = [
            f"geometric mean of {len(some)}",
            *("" for _ in names),
            *(_ratio(_mean([s[k] for s in some])) for k in ("to_torch", "to_lax")),
            "",
            "",
        ]
        table(f"{group}: medians in ms; funcnn's best over PyTorch's and lax's; slowest over fastest round; plain sum as matrix products",
              ("work", *names, "/ torch", "/ lax", "spread", "plain"), [*map(cells, some), means])  # fmt: skip
    steps_only = [row for row in rows if row["group"] == "steps"]
    firsts = ([row["name"], *(f"{row['first_s'][name]:.1f}" for name in names)] for row in steps_only)
    table("The first call of a step, which compiles, in s", ("work", *names), firsts)
    ways = list(tutorials[0]["seconds"])

    def steps(t: dict[str, Any]) -> list[str]:
        times, compiled = t["seconds"], t["seconds"]["compiled"]
        return [t["name"], *(f"{1e3 * times[k]:.3g} ({times[k] / compiled:,.0f} x)" for k in ways), f"{1e3 * t['tutorial']:.3g}"]

    title = "A step of the tutorials in ms, and how many times as long as compiled; last: measured with their own program, elsewhere"
    table(title, ("step", *ways, "the tutorial"), map(steps, tutorials))
    table("Peak memory of a process that trains the middle-sized network, with everything it has imported", ("contender", "MiB"),
          ((name, f"{mib:.0f}") for name, mib in peaks.items()))  # fmt: skip
    table("The time of a step grows with the power", ("of the", "power"), ((what, f"{slope:.2f}") for what, slope in slopes.items()))


def bars(rows: Rows) -> Figure:
    figure = Figure(figsize=(8, 0.3 * len(rows) + 1.2), layout="constrained")
    axes, y = figure.subplots(), np.arange(len(rows))
    for i, (key, label) in enumerate((("to_torch", "PyTorch"), ("to_lax", "JAX's own convolution and jax.grad"))):
        axes.barh(y + 0.4 * i - 0.2, [row[key] for row in rows], 0.38, label=f"funcnn over {label}")
    axes.set(yticks=y, yticklabels=[row["name"] for row in rows], xscale="log", xlabel="ratio of median times; below 1 funcnn is faster")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.invert_yaxis()
    axes.legend(fontsize="small")
    return figure


def lines(curves: Mapping[str, Sequence[tuple[float, float]]], slopes: Mapping[str, float]) -> Figure:
    figure = Figure(figsize=(3.2 * len(curves), 3), layout="constrained")
    for axes, (what, points) in zip(figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        sizes, seconds = np.asarray(points).T
        axes.loglog(sizes, 1e3 * seconds, "o-")
        axes.set(xlabel=what, ylabel="ms a step", title=f"slope {slopes[what]:.2f}")
    return figure
