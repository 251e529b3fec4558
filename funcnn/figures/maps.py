"""What the layers of a network make of one example."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

MARKED, PLAIN = "tab:orange", "0.45"


def feature_maps(
    stages: Sequence[tuple[str, np.ndarray]], title: str, most: int = 8, *, classes: Sequence[str] | None = None, answer: int | None = None
) -> Figure:
    """One example on its way through a network, a row for each layer, whose channels share one scale from black to white.

    Args:
        stages: for each layer its name and its output, (H, W, C) or (D,); a vector is drawn as bars.
        title: what the example is.
        most: the largest number of channels drawn of each.
        classes: the names of the entries of the last output, (K,): logits or probabilities.
        answer: which of them is marked; by default, where `classes` are given, the largest.

    Raises:
        ValueError: no stages; an output of another rank; classes that are not as many as the last output's entries; an answer
            that is none of them.
    """
    marked = _check(stages, classes, answer)
    figure = Figure(figsize=(1.9 + 0.98 * most, 0.9 + 1.06 * len(stages)), layout=ConstrainedLayoutEngine(h_pad=0.05))
    figure.suptitle(
        f"{title}\nthe first {most} channels of each layer, from black, its smallest value, to white, its largest (at the right)",
        fontsize=11,
    )
    rows = figure.subplots(len(stages), 2, squeeze=False, width_ratios=(most, 0.12))
    above = 0
    for (axes, scale), (name, value) in zip(rows, stages, strict=True):
        value = np.asarray(value, "float32")
        label = f"{name}\n" + " x ".join(map(str, value.shape))
        axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9.5, labelpad=8)
        axes.tick_params(labelsize=9)
        if value.ndim == 1:
            scale.remove()
            _bars(axes, value)
            continue
        shown = value[..., :most]
        _row(axes, scale, shown, most, value)
        if shown.shape[-1] > above:  # columns are numbered where they begin
            above = shown.shape[-1]
            axes.set_xticks([(c + 0.5) * axes.get_xlim()[1] / most for c in range(above)], [f"channel {c}" for c in range(above)])
    if classes is not None and marked is not None:
        _name(rows[-1][0], np.asarray(stages[-1][1], "float32"), classes, marked)
    return figure


def _check(stages: Sequence[tuple[str, np.ndarray]], classes: Sequence[str] | None, answer: int | None) -> int | None:
    """The index of the bar to be marked."""
    if not stages:
        raise ValueError("figures.feature_maps: expected at least one stage, got none")
    for name, value in stages:
        if np.ndim(value) not in (1, 3) or not np.size(value):
            raise ValueError(f"figures.feature_maps: expected the output of {name} of shape (H, W, C) or (D,), got {np.shape(value)}")
    shape = np.shape(stages[-1][1])
    if classes is None:
        if answer is not None:
            raise ValueError(f"figures.feature_maps: expected classes together with answer, got answer={answer} alone")
        return None
    if shape != (len(classes),):
        raise ValueError(f"figures.feature_maps: expected the last output of shape ({len(classes)},), one for each class, got {shape}")
    if answer is not None and not 0 <= answer < len(classes):
        raise ValueError(f"figures.feature_maps: expected answer in [0, {len(classes)}), got {answer}")
    return int(np.argmax(stages[-1][1])) if answer is None else int(answer)


def _row(axes: Axes, scale: Axes, shown: np.ndarray, most: int, value: np.ndarray) -> None:
    """The channels of `shown` (H, W, C) side by side, on the scale of the whole layer's `value`, which is drawn beside them."""
    height, width = shown.shape[:2]
    finite = value[np.isfinite(value)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    grey, step = colormaps["gray"].with_extremes(bad="red"), 1.1 * width
    for c in range(shown.shape[-1]):
        picture = np.ma.masked_invalid(shown[..., c])
        axes.imshow(picture, cmap=grey, vmin=low, vmax=max(high, low + 1e-30), extent=(c * step, c * step + width, 0, height))
    axes.set(xlim=(0, most * step), ylim=(0, height), xticks=[], yticks=[])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    scale.imshow(np.linspace(1, 0, 64)[:, None], cmap="gray", vmin=0, vmax=1, aspect="auto", extent=(0, 1, 0, 1))
    scale.yaxis.tick_right()
    scale.set(xticks=[], yticks=[0, 1], yticklabels=[f"{end:.2g}" for end in (low, high)])
    lowest, highest = scale.get_yticklabels()
    lowest.set_verticalalignment("bottom")  # both clear of the next row's
    highest.set_verticalalignment("top")
    scale.tick_params(labelsize=9, length=2)
    if finite.size < value.size:
        axes.set_ylabel(f"{axes.get_ylabel()}\nred: not finite")


def _bars(axes: Axes, value: np.ndarray) -> None:
    axes.bar(range(len(value)), np.where(np.isfinite(value), value, 0), color=PLAIN)
    axes.axhline(0, color="black", linewidth=0.6)
    axes.set_xticks(range(len(value)) if len(value) <= 20 else [])
    lost = "" if np.isfinite(value).all() else "; those without a bar are not finite"
    axes.set_xlabel(f"entries 0 to {len(value) - 1}{lost}", fontsize=9.5)
    axes.spines[["top", "right"]].set_visible(False)


def _name(axes: Axes, value: np.ndarray, classes: Sequence[str], answer: int) -> None:
    """The last bars by the names of their classes, with the answer marked."""
    axes.patches[answer].set_color(MARKED)
    slanted = sum(map(len, classes)) > 90
    axes.set_xticks(range(len(classes)), list(classes), rotation=30 if slanted else 0, ha="right" if slanted else "center")
    axes.get_xticklabels()[answer].set(color=MARKED, weight="bold")
    share = (value >= 0).all() and abs(value.sum() - 1) < 0.01
    kind = "probability" if share else "logit"
    largest = f", the largest {kind}" if answer == value.argmax() else ""
    axes.set_xlabel(
        f"{'probabilities' if share else 'logits'} of the classes; orange: the answer, {classes[answer]}{largest}", fontsize=9.5
    )
