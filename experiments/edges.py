"""A vertical edge and a digit under the classic edge filters, as one convolution layer with given weights. Takes 3 s.

Claim: `conv` is the field's correlation: each response equals SciPy's to 1e-12, and on a step of height 1 Sobel answers 4.
Measured by `.venv/bin/python -m experiments edges`, on any machine: they are equal.
Theme: first steps.
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from scipy.ndimage import correlate

import funcnn as fn
from experiments.common.console import table
from experiments.common.options import Options
from experiments.common.run import Run
from funcnn import datasets

Config = Options
FILTERS: Mapping[str, list[list[float]]] = {
    "difference": [[0, 0, 0], [-1, 0, 1], [0, 0, 0]],
    "Prewitt, vertical": [[-1, 0, 1], [-1, 0, 1], [-1, 0, 1]],
    "Sobel, vertical": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "Sobel, horizontal": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
    "Laplace": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
}


def images() -> dict[str, np.ndarray]:
    """A step from 0 to 1 in the middle of 8x8, and the first of the test digits: (H, W), float64."""
    step = np.broadcast_to(np.arange(8) >= 4, (8, 8)).astype("float64")
    return {"vertical edge": step, "digit": datasets.digits().test_images[0, :, :, 0].astype("float64")}


def responses(image: np.ndarray) -> np.ndarray:
    """The image (H, W) under every filter, by one `conv` layer with as many output channels: (H - 2, W - 2, filters)."""
    layer = fn.conv(len(FILTERS), (3, 3), padding="VALID", bias=False)
    w = np.stack([np.asarray(kernel, "float64") for kernel in FILTERS.values()], axis=-1)[:, :, None]  # (3, 3, 1, O)
    return layer.apply({"w": w}, (), image[None, :, :, None])[0][0]


def main(options: Config) -> None:
    run, rows = Run("edges", options), []
    shown = {}
    for name, image in images().items():
        seen = responses(image)
        by_scipy = np.stack([correlate(image, np.asarray(k, "float64"))[1:-1, 1:-1] for k in FILTERS.values()], axis=-1)
        shown[name] = (image, seen)
        for i, kernel in enumerate(FILTERS):
            y = seen[:, :, i]
            error = float(np.abs(y - by_scipy[:, :, i]).max())
            rows.append({"image": name, "filter": kernel, "smallest": y.min(), "largest": y.max(), "error": error})
    cells = ((r["image"], r["filter"], f"{r['smallest']:.2f}", f"{r['largest']:.2f}", f"{r['error']:.0e}") for r in rows)
    table(
        "The responses of one conv layer; error: against SciPy", ("image", "filter", "smallest", "largest", "error"), cells, text_columns=2
    )
    run.picture("edges", _picture(shown))
    run.finish({"responses": rows}, "picture and results")


def _picture(shown: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """A row for each image: the image, then its responses, blue negative and red positive, on one scale a row."""
    figure = Figure(figsize=(2 * len(FILTERS) + 2, 4.6), layout="constrained")
    grid = figure.subplots(len(shown), len(FILTERS) + 1)
    for row, (name, (image, seen)) in zip(grid, shown.items(), strict=True):
        row[0].imshow(image, cmap="gray_r", vmin=0, vmax=1)
        row[0].set_title(f"{name} (black: 1)", fontsize=9)
        limit = np.abs(seen).max()
        for axes, kernel, y in zip(row[1:], FILTERS, np.moveaxis(seen, -1, 0), strict=True):
            picture = axes.imshow(y, cmap="RdBu_r", vmin=-limit, vmax=limit)
            axes.set_title(kernel, fontsize=9)
        figure.colorbar(picture, ax=list(row), label="response", fraction=0.02)
        for axes in row:
            axes.set(xticks=[], yticks=[])
    return figure
