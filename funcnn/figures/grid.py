"""Many small pictures side by side."""

from math import ceil

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine


def grid(
    count: int, title: str, *, columns: int = 8, width: float = 1.2, height: float = 1.35, gap: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """A figure with `count` axes without ticks, at most `columns` in a row, each with a caption above it.

    Args:
        width, height: inches of each, with its caption.
        gap: between two in a row, as a share of their width.
    """
    columns = max(min(columns, count), 4)  # no fewer, so that the title has room
    rows = max(ceil(count / columns), 1 if count else 0)
    figure = Figure(figsize=(width * columns + 0.4, height * rows + 0.7), layout=ConstrainedLayoutEngine(wspace=gap))
    figure.suptitle(title, fontsize=11)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat) if count else []
    for surplus in axes[count:]:
        surplus.remove()
    for one in axes[:count]:
        one.set(xticks=[], yticks=[])
    return figure, axes[:count]
