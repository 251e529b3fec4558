"""How PyTorch, Flax and Equinox name and lay out what our layers keep: one table, both ways."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from funcnn.arrays import PyTree
from funcnn.interop.places import Place, channels_first, places_of
from funcnn.interop.trees import key_name
from funcnn.layer import Layer

LOOSE = ("bias", "scale")
"""Layers that are a single array, to which others give any name and axes of size 1."""
KINDS = ("conv", "conv_transpose", "dense", "batch_norm", "layer_norm", "rms_norm", "group_norm", "instance_norm", "prelu", *LOOSE)
"""What is renamed and turned; the arrays of other layers keep their names and axes."""


class Turn(NamedTuple):
    """From our layout to theirs, and back."""

    there: Callable[[np.ndarray], np.ndarray]
    back: Callable[[np.ndarray], np.ndarray]


class Entry(NamedTuple):
    """An array of ours.

    Attributes:
        ours: its path, "0.w".
        name: theirs, "weight".
        array: it itself, into which reading writes.
        turn: its layout.
        shape: in theirs.
        loose: whether theirs may have any name.
    """

    ours: str
    name: str
    array: np.ndarray
    turn: Turn
    shape: tuple[int, ...]
    loose: bool


class Unit(NamedTuple):
    """The arrays of one layer of ours."""

    path: str
    entries: tuple[Entry, ...]


class Convention(NamedTuple):
    """What a library does.

    Attributes:
        channels_first: whether activations are (C, ...).
        names: of an array, by ours.
        turns: by a layer's name, of its "w": (place, w) -> Turn; of all others the layout is that of the output.
    """

    channels_first: bool
    names: Mapping[str, str]
    turns: Mapping[str, Callable[[Place, np.ndarray], Turn]]


def _space(axes: int) -> tuple[int, ...]:
    return tuple(range(axes))


SAME = Turn(lambda a: a, lambda a: a)
KERNEL = Turn(lambda w: np.moveaxis(w, (-1, -2), (0, 1)), lambda w: np.moveaxis(w, (0, 1), (-1, -2)))
"""(KH, KW, C, O) and (O, C, KH, KW)."""
FLIPPED = Turn(
    lambda w: np.flip(w, _space(w.ndim - 2)).swapaxes(-1, -2),
    lambda w: np.flip(w.swapaxes(-1, -2), _space(w.ndim - 2)),
)
"""The kernel of the convolution that is transposed, (KH, KW, F, C), and one that slides over x with zeros between, (KH, KW, C, F)."""


def _rows(place: Place, w: np.ndarray) -> Turn:
    """(D, O) and (O, D), each in its own order."""
    rows, columns = (_moves(side.shape, side.order) for side in (place.x, place.y))
    return Turn(lambda w: columns.there(rows.there(w).T), lambda w: rows.back(columns.back(w).T))


def _moves(shape: tuple[int, ...], order: Any) -> Turn:
    """Entries of a vector along the first axis."""
    if order is None:
        return SAME
    return Turn(lambda a: a[np.argsort(order.index)], lambda a: a[order.index])


def _sliding(place: Place, w: np.ndarray) -> Turn:
    """(KH, KW, F / G, C) and Equinox's (F, C / G, KH, KW), which slides over x with zeros between."""
    groups, (*size, seen, channels) = place.y.shape[-1] // w.shape[-2], w.shape

    def there(w: np.ndarray) -> np.ndarray:
        apart = np.flip(w, _space(len(size))).reshape(*size, seen, groups, channels // groups)
        return np.moveaxis(apart, (-2, -3, -1), (0, 1, 2)).reshape(groups * seen, channels // groups, *size)

    def back(w: np.ndarray) -> np.ndarray:
        apart = np.moveaxis(w.reshape(groups, seen, channels // groups, *size), (0, 1, 2), (-2, -3, -1))
        return np.flip(apart.reshape(*size, seen, channels), _space(len(size)))

    return Turn(there, back)


def _like_output(place: Place, a: np.ndarray) -> Turn:
    """What has the shape of the output is laid out like it; a value per channel is as it is."""
    shape, order = place.y
    if a.shape == shape:
        index = (channels_first(shape) if order is None else order.index).reshape(-1)
        theirs, back = shape[-1:] + shape[:-1], np.argsort(index)
        return Turn(lambda a: a.reshape(-1)[back].reshape(theirs), lambda a: a.reshape(-1)[index].reshape(shape))
    return Turn(lambda a: np.moveaxis(a, -1, 0), lambda a: np.moveaxis(a, 0, -1)) if 1 < a.ndim == len(shape) else SAME


def _of_kernel(place: Place, w: np.ndarray) -> Turn:
    return KERNEL


STATISTICS = {"mean": "running_mean", "var": "running_var"}
NAMES = {"w": "weight", "b": "bias", "scale": "weight", "shift": "bias"}

TORCH = Convention(
    True, {**NAMES, **STATISTICS, "slope": "weight"}, {"conv": _of_kernel, "conv_transpose": _of_kernel, "dense": _rows}
)  # fmt: skip
EQUINOX = Convention(
    True, {**NAMES, "mean": "mean", "var": "var", "slope": "negative_slope"},
    {"conv": _of_kernel, "conv_transpose": _sliding, "dense": _rows},
)  # fmt: skip
FLAX = Convention(
    False, {"w": "kernel", "b": "bias", "scale": "scale", "shift": "bias", "mean": "mean", "var": "var", "slope": "negative_slope"},
    {"conv_transpose": lambda place, w: FLIPPED},
)  # fmt: skip
FLAX_TRANSPOSED = FLAX._replace(turns={})
"""With `transpose_kernel=True` theirs is ours."""


def units_of(convention: Convention, net: Layer, params: PyTree, state: PyTree, in_shape: tuple[int, ...]) -> list[Unit]:
    """Ours as theirs, in the order in which they run; the arrays are views of those in params and state."""
    units = []
    for place in places_of(net, params, state, in_shape, convention.channels_first):
        by_parent: dict[str, list[Entry]] = {}
        for keys, array in (leaf for tree in (place.params, place.state) for leaf in jax.tree_util.tree_flatten_with_path(tree)[0]):
            *parents, name = (str(key_name(key)) for key in keys)
            path = ".".join([place.path, *parents] if place.path else parents)
            by_parent.setdefault(path, []).append(_entry(convention, place, path, name, array))
        units += (Unit(path, tuple(entries)) for path, entries in by_parent.items())
    return units


def _entry(convention: Convention, place: Place, path: str, name: str, array: np.ndarray) -> Entry:
    kind, theirs, turn = place.layer.name, name, SAME
    if kind in KINDS and name in convention.names and (name != "w" or array.ndim > 1 + (kind != "dense")):
        theirs = convention.names[name]
        by_kind = convention.turns.get(kind) if name == "w" else None
        turn = by_kind(place, array) if by_kind else _like_output(place, array) if convention.channels_first and name != "w" else SAME
    ours = f"{path}.{name}" if path else name
    shape = turn.there(np.broadcast_to(np.int8(0), array.shape)).shape
    return Entry(ours, theirs, array, turn, shape, kind in LOOSE)
