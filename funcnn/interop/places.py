"""Where a network's parameters stand, and in which order another library has the entries of what goes in and out there.

A library with channels first makes another vector of the same image than we do, so the rows of a dense layer behind a `flatten` stand in
another order there, and the columns of one before a `reshape` to an image. An `Order` says for every entry of an activation which one
of theirs it is; `flatten`, `reshape` and `transpose` move it like numbers. Which order a dense layer's outputs have is open until
something behind it settles that. It is supposed that their network has none of our layers that only move entries to their order.
"""

from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arrays import PyTree
from funcnn.combinators.inside import divided, out_shape
from funcnn.layer import Layer

MOVES = ("flatten", "reshape", "transpose")
BY_ENTRY = ("batch_norm", "layer_norm", "rms_norm", "prelu", "bias", "scale")
"""What treats all entries of a vector alike, so that any order of them will do."""
SHUFFLES = ("pixel_shuffle", "pixel_unshuffle")
"""What moves entries in both libraries in the same way."""


class Order(NamedTuple):
    """Which entry of theirs each of ours is; or which output of the dense layer `source`, whose own order is open."""

    index: np.ndarray
    source: int | None = None


class Activation(NamedTuple):
    """What goes from layer to layer: the shape of one example, and the order where it is not that of the same array, channels first."""

    shape: tuple[int, ...]
    order: Order | None = None


class Place(NamedTuple):
    """A layer that is made of no others, where it stands in a network."""

    path: str
    layer: Layer
    params: PyTree
    state: PyTree
    x: Activation
    y: Activation


class _Walk(NamedTuple):
    """What is found on the way: the places, what the open orders have turned out to be, and the shapes behind layers."""

    channels_first: bool
    places: list[Place]
    settled: dict[int, Order]
    shapes: dict[Any, tuple[int, ...]]


def places_of(net: Layer, params: PyTree, state: PyTree, in_shape: tuple[int, ...], channels_first: bool) -> list[Place]:
    """The layers with parameters or state, in the order in which they run; each copy in a `repeat` is a place."""
    walk = _Walk(channels_first, [], {}, {})
    _settle(walk, _visit(walk, net, params, state, Activation(tuple(in_shape)), ""))
    return [place._replace(x=_final(walk, place.x), y=_final(walk, place.y)) for place in walk.places]


def channels_first(shape: tuple[int, ...]) -> np.ndarray:
    """Of every entry of an example (..., C) its number in (C, ...)."""
    return np.moveaxis(np.arange(prod(shape)).reshape(shape[-1:] + shape[:-1]), 0, -1)


def _visit(walk: _Walk, layer: Layer, params: PyTree, state: PyTree, x: Activation, path: str) -> Activation:
    """What comes out of a layer; its places are added to the walk's."""
    if layer.name == "when_training" and layer.call:
        return _visit(walk, layer.call.arguments["layer"], params, state, x, path)
    if not layer.layers:
        return _visit_leaf(walk, layer, params, state, x, path)
    names = layer.divide({name: name for name in params}) if layer.name == "named" and layer.divide else range(len(layer.layers))
    outputs = []
    for name, inner, p, s in zip(names, layer.layers, *divided(layer, params=params, state=state), strict=True):
        before = outputs[-1] if outputs and layer.in_series else x
        outputs.append(_visit(walk, inner, p, s, before, f"{path}.{name}" if path else str(name)))
    return outputs[-1] if layer.in_series else _merged(walk, layer, outputs, _shape_behind(walk, layer, params, state, x))


def _visit_leaf(walk: _Walk, layer: Layer, params: PyTree, state: PyTree, x: Activation, path: str) -> Activation:
    y, full = Activation(_shape_behind(walk, layer, params, state, x)), bool(jax.tree.leaves((params, state)))
    if walk.channels_first:
        y = _ordered(walk, layer, full, x, y, path)
    if full:
        walk.places.append(Place(path, layer, params, state, x, y))
    return y


def _ordered(walk: _Walk, layer: Layer, full: bool, x: Activation, y: Activation, path: str) -> Activation:
    """y with its order."""
    same = x.shape == y.shape
    if layer.name == "dense":
        return y._replace(order=Order(np.arange(*y.shape), len(walk.places)))
    if layer.name in MOVES or (not full and not same and prod(x.shape) == prod(y.shape) and layer.name not in SHUFFLES):
        return _moved(layer, x, y)
    if same and (layer.name in BY_ENTRY or not full) and layer.name != "local_response_norm":
        return x
    _settle(walk, x)
    if len(x.shape) == 1 and _final(walk, x).order is not None:
        raise ValueError(
            f"{layer.name}: expected at {path!r} a layer that treats all entries of a vector alike, or dense, as theirs come in another "
            f"order behind a flatten of channels first; fn.transpose(2, 0, 1) before fn.flatten gives ours that order"
        )
    return y


def _moved(layer: Layer, x: Activation, y: Activation) -> Activation:
    """The layer only moves entries, or else its output has no order of its own: what it does to their numbers shows that."""
    order = x.order or Order(channels_first(x.shape))
    numbers = np.asarray(layer.apply((), (), np.arange(prod(x.shape), dtype="float64").reshape(1, *x.shape))[0][0]).astype(int)
    if not np.array_equal(np.sort(numbers, None), np.arange(numbers.size)):
        return y
    return y._replace(order=order._replace(index=order.index.reshape(-1)[numbers]))


def _merged(walk: _Walk, layer: Layer, outputs: list[Activation], shape: tuple[int, ...]) -> Activation:
    """What comes out of layers side by side."""
    if walk.channels_first and len(shape) == 1 and all(y.shape == shape for y in outputs):
        for y in outputs[1:]:
            _unify(walk, layer, outputs[0], y)
        return outputs[0]
    for y in outputs:
        _settle(walk, y)
    if len(shape) > 1 or sum(y.shape[-1] for y in outputs) != shape[-1] or all(_final(walk, y).order is None for y in outputs):
        return Activation(shape)
    starts = np.cumsum([0, *(y.shape[0] for y in outputs)])
    return Activation(shape, Order(np.concatenate([start + _index(walk, y) for start, y in zip(starts, outputs, strict=False)])))


def _settle(walk: _Walk, x: Activation) -> None:
    """Where its order is open: it is that of the same array, channels first."""
    order = _known(walk, x.order)
    if order is not None and order.source is not None:
        walk.settled[order.source] = Order(channels_first(x.shape).reshape(-1)[np.argsort(order.index, None)])


def _unify(walk: _Walk, layer: Layer, a: Activation, b: Activation) -> None:
    """Both have one order, as they are added or multiplied."""
    first, second = (_known(walk, x.order) or Order(np.arange(*x.shape)) for x in (a, b))
    first, second = (second, first) if second.source is None else (first, second)
    if second.source is not None and second.source != first.source:
        walk.settled[second.source] = Order(first.index[np.argsort(second.index)], first.source)
    elif not np.array_equal(first.index, second.index):
        raise ValueError(f"{layer.name}: expected outputs whose entries stand in one order in theirs too, got vectors in two orders")


def _known(walk: _Walk, order: Order | None) -> Order | None:
    while order is not None and order.source in walk.settled:
        behind = walk.settled[order.source]
        order = Order(behind.index[order.index], behind.source)
    return order


def _index(walk: _Walk, x: Activation) -> np.ndarray:
    order = _known(walk, x.order)
    return channels_first(x.shape) if order is None else order.index


def _final(walk: _Walk, x: Activation) -> Activation:
    """The activation with an order only where it is another one; one that nothing has settled is ours."""
    index = _index(walk, x) if x.order else None
    return x._replace(order=None if index is None or np.array_equal(index, channels_first(x.shape)) else Order(index))


def _shape_behind(walk: _Walk, layer: Layer, params: PyTree, state: PyTree, x: Activation) -> tuple[int, ...]:
    """Traced once for all copies of a layer, with one dtype, as theirs may have several."""
    leaves, structure = jax.tree.flatten((params, state))
    key = layer, structure, x.shape, *(a.shape for a in leaves)
    if key not in walk.shapes:
        shaped = [jax.ShapeDtypeStruct(a.shape, jnp.result_type(float)) for a in leaves]
        params, state = jax.tree.unflatten(structure, shaped)
        walk.shapes[key] = out_shape(layer, params, state, x.shape)
    return walk.shapes[key]
