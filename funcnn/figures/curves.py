"""How a training went: every metric in its history, epoch by epoch."""

from collections.abc import Mapping, Sequence
from math import ceil, floor, inf, log10

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

Line = tuple[np.ndarray, np.ndarray]
"""The epochs (E,) and values (E,) of one metric of one part of the data."""


def learning_curves(history: Sequence[Mapping[str, float]], loss_label: str = "cross-entropy (nats)") -> Figure:
    """The loss and every other metric over the epochs, the parts of the data (training, test, ...) beside each other.

    Loss and error are on a logarithmic axis, so that the end can be read as well as the beginning; what is 0 lies on a line of
    its own at the bottom, below which the axis does not go. Accuracies are drawn as the error, the share misclassified, in percent.

    Args:
        history: a row for each epoch: "epoch", "train_loss", and where there are any "train_accuracy", "test_loss",
            "validation_loss", "test_mean_absolute_error" and so on. The parts are what stands before "_loss"; a metric is
            drawn from the rows that have it, and an entry of no part, as "seconds", not at all.
        loss_label: what the loss is, and its unit.

    Raises:
        ValueError: no rows; a row without "epoch"; no losses; an accuracy outside [0, 1].
    """
    panels = _panels(history)
    columns = min(len(panels), 2)
    rows = ceil(len(panels) / columns)
    figure = Figure(figsize=(0.6 + 4.4 * columns, 0.3 + 4 * rows), layout="constrained")
    figure.suptitle("Learning curves: " + ", ".join("classification error" if m == "accuracy" else _words(m) for m in panels))
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for surplus in grid[len(panels) :]:
        surplus.remove()
    for axes, (metric, lines) in zip(grid, panels.items(), strict=False):
        name = _words(metric)
        title, label, unit = {
            "loss": ("Loss", loss_label, ""),
            "accuracy": ("Classification error", "misclassified (%)", " %"),
        }.get(metric, (name[:1].upper() + name[1:], name, ""))  # fmt: skip
        axes.set(title=title, xlabel="epoch", ylabel=label)
        if metric == "accuracy":
            lines = {part: (epochs, 100 * (1 - values)) for part, (epochs, values) in lines.items()}
        _draw(axes, lines, unit, logarithmic=metric in ("loss", "accuracy"))
    return figure


def _panels(history: Sequence[Mapping[str, float]]) -> dict[str, dict[str, Line]]:
    """For each metric, loss first, then accuracy, and each part of the data its values; after the checks."""
    if not history:
        raise ValueError("figures.learning_curves: expected a history of at least one epoch, got an empty one")
    for row in history:
        if "epoch" not in row:
            raise ValueError(f"figures.learning_curves: expected 'epoch' in every row of the history, got {sorted(row)}")
    keys = list(dict.fromkeys(key for row in history for key in row))
    parts = [key.removesuffix("loss") for key in keys if key == "loss" or key.endswith("_loss")]  # "train_", "test_"
    if not parts:
        raise ValueError(f"figures.learning_curves: expected a loss in the history, 'train_loss' or 'test_loss', got {sorted(keys)}")
    found: dict[str, dict[str, Line]] = {"loss": {}, "accuracy": {}}
    for key in keys:
        part = max((part for part in parts if part and key.startswith(part)), key=len, default="")
        if part or key in ("loss", "accuracy"):
            line = _line(history, key)
            if len(line[0]):
                found.setdefault(key.removeprefix(part), {})[_words(part)] = line
    for part, (epochs, values) in found["accuracy"].items():
        for epoch, value in zip(epochs, values, strict=True):
            if value < 0 or value > 1:
                where = f"{part} accuracy {value:g} in epoch {epoch:g}"
                raise ValueError(f"figures.learning_curves: expected accuracies in [0, 1], got the {where}; divide percents by 100")
    return {metric: lines for metric, lines in found.items() if lines}


def _line(history: Sequence[Mapping[str, float]], key: str) -> Line:
    pairs = [(row["epoch"], row[key]) for row in history if row.get(key) is not None]
    epochs, values = np.asarray(pairs, "float64").reshape(-1, 2).T
    return epochs, values


def _words(name: str) -> str:
    return name.replace("_", " ").strip()


def _draw(axes: Axes, lines: Mapping[str, Line], unit: str, *, logarithmic: bool) -> None:
    """One metric: a line for each part; epochs without a finite value are crosses at the upper edge."""
    for (part, (epochs, values)), marker in zip(lines.items(), "osD^v<>ph*" * len(lines), strict=False):
        finite = np.isfinite(values)
        last = f"{values[-1]:.3g}{unit} at the end" if finite[-1] else "not finite at the end"
        (line,) = axes.plot(
            epochs, np.where(finite, values, np.nan), marker=marker, markersize=3.5, label=f"{part}: {last}".removeprefix(": "),
        )  # fmt: skip
        if not finite.all():
            edge, across = np.full((~finite).sum(), 0.97), axes.get_xaxis_transform()
            axes.plot(epochs[~finite], edge, "x", color=line.get_color(), transform=across, label=f"{part}: NaN or infinite")
    if logarithmic:
        _logarithmic(axes, np.concatenate([values[np.isfinite(values)] for _, values in lines.values()]))
    first, last = (f(f(epochs) for epochs, _ in lines.values()) for f in (min, max))
    margin = max(0.04 * (last - first), 0.1)
    axes.set_xlim(first - margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False)  # where it hides nothing


def _logarithmic(axes: Axes, values: np.ndarray) -> None:
    """A logarithmic axis with plain numbers; zeros on a line of their own below the smallest other value; none for negative values."""
    positive = values[values > 0]
    if not len(positive) or (values < 0).any():
        return
    low, high = float(positive.min()), float(positive.max())
    ticks = _ticks(low, high)
    if (values == 0).any():
        axes.set_yscale("symlog", linthresh=low, linscale=0.35)
        axes.set_ylim(-0.25 * low, 1.4 * high)
        axes.axhspan(-0.25 * low, low, color="0.93", zorder=0)
        axes.text(0.01, 0.3 * low, f"linear from 0 to {low:.2g}", fontsize=8, color="0.4", transform=axes.get_yaxis_transform())
        ticks = [0.0, *ticks]
    else:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.3, high * 1.4)
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between `low` and `high`, about evenly spaced on a logarithmic axis where they are a decade apart or more."""
    if high < 10 * low:
        return [float(tick) for tick in MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low / 1.3, 1.4 * high) if tick > 0]
    decades = range(floor(log10(low)), ceil(log10(high)) + 1)
    steps = next(steps for steps, most in (((1, 2, 5), 2.5), ((1, 3), 4), ((1,), inf)) if log10(high / low) <= most)
    return [step * 10.0**decade for decade in decades for step in steps if low / 1.3 <= step * 10.0**decade <= 1.4 * high]
