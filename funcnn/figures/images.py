"""Images, and filters as images. Shapes: N images of H x W pixels with C channels; kernels KH x KW from C to O channels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from funcnn.figures.grid import grid


def examples(images: np.ndarray, captions: Sequence[str], title: str) -> Figure:
    """Images with a caption each: grey ones from black, 0, to white, 1, or in colours.

    Args:
        images: (N, H, W, 1), grey, or (N, H, W, 3), red, green and blue; uint8, or floats in [0, 1]. Grey values may go
            beyond; then black and white are the smallest and the largest of all images.
        captions: N of them.
        title: what the images are.

    Raises:
        ValueError: another shape; another number of captions; values that are not finite, or no colours.
    """
    return captioned("figures.examples", images, captions, title)


def captioned(name: str, images: np.ndarray, captions: Sequence[str], title: str, **layout: Any) -> Figure:
    """The same in the name of another function, with options of `grid`."""
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise ValueError(f"{name}: expected images of shape (N, H, W, 1) or (N, H, W, 3), got {images.shape}; choose channels")
    if len(captions) != len(images):
        raise ValueError(f"{name}: expected {len(images)} captions, one for each image, got {len(captions)}")
    shown = images / np.float32(255) if images.dtype == "uint8" else images.astype("float32")
    low, high = (min(shown.min(), 0), max(shown.max(), 1)) if shown.size else (0, 1)
    if not np.isfinite([low, high]).all():
        raise ValueError(f"{name}: expected finite values in images, got NaN or infinity")
    if images.shape[-1] == 3 and (low, high) != (0, 1):
        raise ValueError(
            f"{name}: expected colours in [0, 1] or of dtype uint8, got values from {shown.min():g} to {shown.max():g}; scale them"
        )
    figure, axes = grid(len(images), title, **layout)
    for one, image, caption in zip(axes, shown, captions, strict=True):
        if images.shape[-1] == 3:
            one.imshow(image)  # (H, W, 3)
        else:
            one.imshow(image[..., 0], cmap="gray", vmin=low, vmax=high)  # (H, W)
        one.set_title(caption, fontsize=9)
    return figure


def filters(w: np.ndarray, title: str = "First-layer filters", *, most: int = 64, channels: int = 4) -> Figure:
    """The kernels of a convolution, all on one scale.

    Those of one input channel are drawn with negative weights in blue, 0 in white, positive ones in red; those of three as
    the colours that they answer to, with 0 in mid-grey; of others, the first few input channels side by side.

    Args:
        w: (KH, KW, C, O).
        title: what they are filters of.
        most: the largest number of filters drawn.
        channels: the largest number of input channels drawn of each, unless there are three.

    Raises:
        ValueError: w of another shape, or not finite.
    """
    w = np.asarray(w, "float32")
    if w.ndim != 4 or 0 in w.shape:
        raise ValueError(f"figures.filters: expected w of shape (KH, KW, C, O), got {w.shape}")
    if not np.isfinite(w).all():
        raise ValueError("figures.filters: expected finite weights, got NaN or infinity")
    inputs, outputs = w.shape[2:]
    shown = w[:, :, : inputs if inputs == 3 else channels, :most]
    limit = float(np.abs(shown).max()) or 1.0
    side = 1 if inputs == 3 else shown.shape[2]
    notes = [f"the first {most} of {outputs}"] * (outputs > most)
    notes += [f"input channels 0 to {side - 1} of {inputs} side by side" if inputs > side else f"{side} input channels side by side"] * (
        side > 1
    )
    width, height, gap = (1.2, 1.35, 0.0) if side == 1 else (0.4 + 0.45 * side, 0.9, 0.15)
    columns = max(int(9.6 / width), 1)
    figure, axes = grid(shown.shape[3], "\n".join([title, *notes]), columns=columns, width=width, height=height, gap=gap)
    for o, one in enumerate(axes):
        one.set_title(f"filter {o}", fontsize=9)
        if inputs == 3:
            one.imshow(0.5 + shown[..., o] / (2 * limit))  # (KH, KW, 3)
        else:
            _side_by_side(one, shown[..., o], limit)
    if inputs == 3:
        figure.supxlabel(
            f"weights for red, green and blue: grey is 0; each colour from dark, {-limit:.2g}, to bright, {limit:.2g}", fontsize=9
        )
    else:
        figure.colorbar(ScalarMappable(Normalize(-limit, limit), "RdBu_r"), ax=axes, label="weight", fraction=0.03)
    return figure


def _side_by_side(axes: Axes, kernel: np.ndarray, limit: float) -> None:
    """The channels of a kernel (KH, KW, C) in a row."""
    height, width, count = kernel.shape
    gap = 0.15 * width
    for c in range(count):
        left = c * (width + gap)
        axes.imshow(kernel[..., c], cmap="RdBu_r", vmin=-limit, vmax=limit, extent=(left, left + width, height, 0))
    axes.set(xlim=(0, count * (width + gap) - gap), ylim=(height, 0))
    axes.spines[:].set_visible(count == 1)
