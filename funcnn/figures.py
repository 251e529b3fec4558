"""Pictures of data, of training and of what a network has learned. Needs matplotlib (the extra `experiments`).

Every function returns a `matplotlib.figure.Figure`; `figure.savefig(path)` writes it. Nothing global is touched.
"""

from collections.abc import Mapping, Sequence
from math import ceil

import numpy as np
from matplotlib.figure import Figure


def learning_curves(history: Sequence[Mapping[str, float]], loss_label: str = "cross-entropy (nats)") -> Figure:
    """Loss (logarithmic) and error in percent over epochs, training beside test.

    Args:
        history: per epoch {"epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy"}.
        loss_label: what the loss is, and its unit.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, error = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    for part, style in (("train", "o-"), ("test", "s-")):
        loss.plot(epochs, [row[f"{part}_loss"] for row in history], style, markersize=3, label=part)
        error.plot(epochs, [100 * (1 - row[f"{part}_accuracy"]) for row in history], style, markersize=3, label=part)
    loss.set(xlabel="epoch", ylabel=loss_label, yscale="log", title="Loss")
    error.set(xlabel="epoch", ylabel="wrong (%)", title="Error")
    for axes in (loss, error):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def confusion_matrix(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """counts (K, K): how many examples of class i (row) were taken for class j (column)."""
    figure = Figure(figsize=(1.8 + 0.42 * len(names), 1.4 + 0.42 * len(names)), layout="constrained")
    axes = figure.subplots()
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    picture = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (i, j), n in np.ndenumerate(counts):
        if n:
            axes.text(j, i, str(n), ha="center", va="center", fontsize=9, color="white" if share[i, j] > 0.5 else "black")
    axes.set(xlabel="predicted class", ylabel="true class", xticks=range(len(names)), yticks=range(len(names)), title="Confusion matrix")
    slanted = max(map(len, names)) > 2
    axes.set_xticklabels(names, rotation=45 if slanted else 0, ha="right" if slanted else "center")
    axes.set_yticklabels(names)
    figure.colorbar(picture, ax=axes, label="share of the true class", fraction=0.046)
    return figure


def filters(w: np.ndarray, title: str = "First-layer filters") -> Figure:
    """The kernels w (KH, KW, C, O) on the first input channel, on one scale: blue is negative, red positive."""
    shown = [w[:, :, 0, o] for o in range(w.shape[-1])]
    figure, grid = _grid(len(shown), title)
    limit = float(np.abs(w).max())
    for o, (axes, kernel) in enumerate(zip(grid, shown, strict=False)):
        picture = axes.imshow(kernel, cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.set_title(f"filter {o}", fontsize=8)
    figure.colorbar(picture, ax=grid, label="weight", fraction=0.03)
    return figure


def feature_maps(stages: Sequence[tuple[str, np.ndarray]], title: str, most: int = 8) -> Figure:
    """One example on its way through a network, a row for each layer, each channel on a grey scale of its own.

    Args:
        stages: for each layer its name and its output (H, W, C) or (D,); a vector is drawn as bars.
        most: the largest number of channels drawn of each.
    """
    figure = Figure(figsize=(1.6 + 1.0 * most, 1.2 * len(stages) + 0.5), layout="constrained")
    figure.suptitle(
        f"{title}\n(the first {most} channels of each layer; every picture from black, its smallest value, to white)", fontsize=10
    )
    for axes, (name, value) in zip(figure.subplots(len(stages), 1, squeeze=False).flat, stages, strict=True):
        label = f"{name}\n" + "x".join(map(str, value.shape))
        axes.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=8, labelpad=8)
        axes.tick_params(labelsize=7)
        if value.ndim == 1:
            axes.bar(range(len(value)), value, color="0.4")
            axes.set_xticks(range(len(value)) if len(value) <= 20 else [])
            axes.set_xlabel("entry", fontsize=8)
            continue
        count, width = min(most, value.shape[-1]), value.shape[1] * 1.1
        for c in range(count):
            picture = value[:, :, c]
            axes.imshow(picture, cmap="gray", extent=(c * width, c * width + value.shape[1], 0, value.shape[0]))
        axes.set(xlim=(0, most * width), ylim=(0, value.shape[0]), yticks=[])
        axes.set_xticks([c * width + value.shape[1] / 2 for c in range(count)], [f"channel {c}" for c in range(count)])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    return figure


def examples(images: np.ndarray, captions: Sequence[str], title: str) -> Figure:
    """Images (N, H, W, 1) with a caption each."""
    figure, grid = _grid(len(images), title)
    for axes, image, caption in zip(grid, images, captions, strict=False):
        axes.imshow(image[..., 0], cmap="gray_r")
        axes.set_title(caption, fontsize=8)
    return figure


def _grid(count: int, title: str, columns: int = 8) -> tuple[Figure, list]:
    """A figure with at least `count` square axes without ticks; the surplus ones are hidden."""
    columns = max(min(columns, count), 4)
    rows = max(ceil(count / columns), 1)
    figure = Figure(figsize=(1.1 * columns + 1, 1.35 * rows + 0.6), layout="constrained")
    figure.suptitle(title)
    grid = list(figure.subplots(rows, columns, squeeze=False).flat)
    for i, axes in enumerate(grid):
        axes.set(xticks=[], yticks=[])
        axes.set_visible(i < count)
    return figure, grid
