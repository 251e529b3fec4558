"""Two gradients of one loss against each other, entry by entry: on the diagonal they agree."""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from funcnn.arrays import PyTree

POINTS = 20_000
"""The largest number of entries drawn of a leaf."""
RIGHT, WRONG = "tab:blue", "tab:red"
VANISHING = 64
"""A leaf is 0 but for rounding where no entry of it is larger than so many epsilons of the whole gradient's largest entry."""


class Pair(NamedTuple):
    """One leaf of both gradients.

    Attributes:
        name: of the leaf.
        manual, automatic: its entries (D,), float64.
        scale: the largest |entry| of `automatic`; that of the whole gradient where `vanishes`.
        vanishes: whether this gradient is 0 but for rounding, as that of a bias before batch norm.
        dtype: the coarser one of both.
        epsilon: its spacing at 1.
    """

    name: str
    manual: np.ndarray
    automatic: np.ndarray
    scale: float
    vanishes: bool
    dtype: str
    epsilon: float

    @property
    def differences(self) -> np.ndarray:
        """(D,), relative to the largest entry; NaN or infinite where an entry is."""
        with np.errstate(invalid="ignore"):
            return (self.manual - self.automatic) / self.scale

    @property
    def error(self) -> float:
        """The largest relative difference; infinite where an entry is not finite."""
        return float(np.nan_to_num(np.abs(self.differences), nan=np.inf, posinf=np.inf).max())

    @property
    def wrong(self) -> bool:
        """Whether more than half of the digits are lost: more than rounding does."""
        return not self.error <= self.epsilon**0.5


def gradients(manual: PyTree, automatic: PyTree, names: Sequence[str] | None = None, *, most: int = 8) -> Figure:
    """The hand-written gradient against the automatic one, a panel for each array, and a histogram of all differences.

    A point is one entry of a gradient; it lies on the diagonal where both agree. An array that has lost more than half of its
    dtype's digits is drawn in red.

    Args:
        manual: the gradient by `net.backward`: a tree of arrays.
        automatic: that by `jax.grad`, of the same structure and shapes.
        names: what the arrays are called, in the order of `jax.tree.leaves`; by default their paths in the tree. For a tuple
            of layers also the names of those, as `checking.layer_names(net)` gives them; the path inside the layer is added.
        most: the largest number of panels; those with the largest errors are drawn. The histogram is always of all.

    Raises:
        ValueError: another structure or shape; no arrays; entries that are not real floating-point numbers; another number of names.
    """
    pairs = _pairs(manual, automatic, names)
    drawn = [pairs[i] for i in sorted(sorted(range(len(pairs)), key=lambda i: -pairs[i].error)[:most])]
    columns = min(len(drawn), 4)
    rows = ceil(len(drawn) / columns)
    heights = 0.75 + 2.4 * rows, 2.4
    figure = Figure(figsize=(10, 0.75 + sum(heights)), layout="constrained")
    entries = sum(pair.manual.size for pair in pairs)
    figure.suptitle(f"The gradient written by hand against jax.grad, all {entries:,} entries", fontsize=14, weight="bold")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=heights).flat
    some = f"; the {most} worst of {len(pairs)} arrays" if len(pairs) > most else ""
    wrong = sum(pair.wrong for pair in pairs)
    verdict = f"; {wrong} of {len(pairs)} arrays WRONG" if wrong else ""
    above.suptitle(f"Each point is one entry: on the diagonal both agree{some}{verdict}", fontsize=11)
    panels = list(above.subplots(rows, columns, squeeze=False).flat)
    for surplus in panels[len(drawn) :]:
        surplus.remove()
    for i, (pair, axes) in enumerate(zip(drawn, panels, strict=False)):
        _scatter(axes, pair)
        axes.set_xlabel("by jax.grad" if i + columns >= len(drawn) else "", fontsize=11)
        axes.set_ylabel("by hand" if i % columns == 0 else "", fontsize=11)
    _histogram(below.subplots(), pairs)
    return figure


def _pairs(manual: PyTree, automatic: PyTree, names: Sequence[str] | None) -> list[Pair]:
    leaves, structure = jax.tree_util.tree_flatten_with_path(manual)
    others, other = jax.tree.flatten(automatic)
    if structure != other:
        raise ValueError(f"figures.gradients: expected two trees of one structure, got {structure} and {other}")
    called = _called(manual, [path for path, _ in leaves], names)
    arrays = [(name, *_entries(name, a, b)) for name, (_, a), b in zip(called, leaves, others, strict=True)]
    arrays = [row for row in arrays if row[1].size]
    if not arrays:
        raise ValueError("figures.gradients: expected at least one array, got none")
    whole = max(_largest(a, b) for _, a, b, _ in arrays) or 1.0
    pairs = []
    for name, a, b, dtype in arrays:
        epsilon = float(jnp.finfo(dtype).eps)
        vanishes = bool(np.isfinite(a).all() and np.isfinite(b).all()) and _largest(a, b) <= VANISHING * epsilon * whole
        pairs.append(Pair(name, a, b, whole if vanishes else _largest(b) or 1.0, vanishes, dtype, epsilon))
    return pairs


def _called(tree: PyTree, paths: Sequence[tuple], names: Sequence[str] | None) -> list[str]:
    def joined(path: tuple) -> str:
        return jax.tree_util.keystr(path, simple=True, separator=" ")

    if names is None:
        return [joined(path) or "gradient" for path in paths]
    if isinstance(tree, tuple | list) and len(names) == len(tree):
        return [f"{names[path[0].idx]} {joined(path[1:])}".strip() for path in paths]
    if len(names) != len(paths):
        raise ValueError(f"figures.gradients: expected {len(paths)} names, one for each array, got {len(names)}")
    return list(names)


def _entries(name: str, manual: np.ndarray, automatic: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """The entries of both (D,), float64, and the coarser dtype."""
    a, b = np.asarray(manual), np.asarray(automatic)
    if a.shape != b.shape:
        raise ValueError(f"figures.gradients: expected both gradients of {name} of one shape, got {a.shape} and {b.shape}")
    for dtype in (a.dtype, b.dtype):
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(f"figures.gradients: expected real floating-point gradients of {name}, got {dtype}")
    coarser = max(a.dtype, b.dtype, key=lambda dtype: jnp.finfo(dtype).eps)
    return a.astype("float64").ravel(), b.astype("float64").ravel(), str(coarser)


def _largest(*arrays: np.ndarray) -> float:
    """The largest finite |entry| of any array."""
    return max(float(np.abs(array[np.isfinite(array)]).max(initial=0)) for array in arrays)


def _scatter(axes: Axes, pair: Pair) -> None:
    """The entries of a leaf around the diagonal; of very many some, the farthest from it among them."""
    shown = np.arange(pair.manual.size)
    if len(shown) > POINTS:
        far = np.argsort(-np.nan_to_num(np.abs(pair.differences), nan=0))
        shown = np.union1d(far[: POINTS // 2], shown[:: ceil(len(shown) / (POINTS // 2))])
    shown = shown[np.isfinite(pair.manual[shown]) & np.isfinite(pair.automatic[shown])]
    x, y = pair.automatic[shown], pair.manual[shown]
    limit = 1.15 * _largest(x, y) or 1.0
    axes.axline((0, 0), slope=1, color="0.6", linewidth=1, zorder=1)
    size = 30 if len(x) <= 64 else 14 if len(x) <= 1000 else 6
    axes.scatter(x, y, s=size, color=WRONG if pair.wrong else RIGHT, alpha=0.6, linewidths=0, zorder=2)
    error = f"error {pair.error:.1e}" if np.isfinite(pair.error) else "not finite"
    verdict = "0 but for rounding" if pair.vanishes else f"WRONG: {error}" if pair.wrong else f"relative {error}"
    axes.set_title(f"{pair.name}\n{verdict}", fontsize=10, color=WRONG if pair.wrong else "black")
    count = f"{pair.manual.size:,}\nentries" if pair.manual.size > 1 else "1 entry"
    count += f"\n{len(shown):,} drawn" if pair.manual.size > POINTS else ""
    axes.text(0.04, 0.96, count, transform=axes.transAxes, fontsize=9, color="0.35", va="top")
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(3, symmetric=True))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.tick_params(labelsize=9)
    axes.grid(alpha=0.25)


def _histogram(axes: Axes, pairs: Sequence[Pair]) -> None:
    """The differences of all entries in epsilons, those of wrong leaves in red on top; their numbers on a logarithmic axis."""
    right, wrong = (
        np.concatenate([np.zeros(0), *(pair.differences / pair.epsilon for pair in pairs if pair.wrong == kind)]) for kind in (False, True)
    )
    lost = int((~np.isfinite(wrong)).sum())
    wrong = wrong[np.isfinite(wrong)]
    furthest = _largest(right, wrong)
    labels = ["right", "WRONG: more than half of the digits are lost"]
    axes.hist([right, wrong], list(np.linspace(-1, 1, 82) * max(furthest, 1)), stacked=True, color=[RIGHT, WRONG], label=labels)
    if any(pair.wrong for pair in pairs):
        axes.legend(fontsize=9, loc="upper right")
    unit = " or ".join(f"{epsilon:.1e} in {dtype}" for dtype, epsilon in {pair.dtype: pair.epsilon for pair in pairs}.items())
    axes.set_title(
        f"How far from the diagonal: at most {furthest:.3g} epsilons" + f"; {lost:,} entries are not finite" * bool(lost), fontsize=11
    )
    axes.set_xlabel(f"(by hand - by jax.grad) / largest entry of the array, in machine epsilons ({unit})", fontsize=11)
    axes.set_ylabel("entries", fontsize=11)
    axes.set_yscale("log")
    axes.set_ylim(0.5, None)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
