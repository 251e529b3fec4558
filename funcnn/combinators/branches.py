"""Layers side by side."""

from functools import reduce
from itertools import accumulate, pairwise
from operator import mul
from typing import Literal

import jax

from funcnn.arguments import check_array, check_in_shape, check_key, check_returned
from funcnn.arrays import Array, namespace, rounded, sum_of, widened
from funcnn.combinators.inside import check_entries, check_layers, forward_of, keys_of
from funcnn.combinators.series import identity, serial
from funcnn.layer import Layer, constructor

MERGES = ("sum", "concatenate", "multiply")


@constructor
def parallel(*layers: Layer, merge: Literal["sum", "concatenate", "multiply"] = "sum") -> Layer:
    """The layers side by side on one input, their outputs merged; a layer again.

    Args:
        layers: at least one layer; each gets the same input.
        merge: "sum" adds the outputs (all of one shape), "concatenate" joins them along the last axis (the channels), "multiply"
            multiplies them; there an axis of size 1 stands for any size, as a gate (N, 1, 1, C) for all positions.

    Returns:
        A layer whose `params` and `state` are tuples in the order of `layers`; its residuals add empty arrays that keep
        the outputs' shapes, and for "multiply" the outputs.

    Raises:
        TypeError: an argument is no layer.
        ValueError: no layer; an unknown `merge`; outputs whose shapes do not fit together.
    """
    return _branches("parallel", layers, merge)


@constructor
def residual(*layers: Layer, shortcut: Layer = identity) -> Layer:
    """y = f(x) + shortcut(x), where f is `serial(*layers)` (He et al. 2016, arXiv:1512.03385).

    Args:
        layers: the layers of f; its output has the shape of the shortcut's.
        shortcut: what x goes through on the other branch, for instance a strided 1x1 convolution.

    Returns:
        A layer whose `params` and `state` are pairs: (those of f, those of the shortcut).
    """
    return _branches("residual", (serial(*layers), shortcut), "sum")


def _branches(name: str, layers: tuple[Layer, ...], merge: str) -> Layer:
    check_layers(name, layers)
    if not layers:
        raise ValueError(f"{name}: expected at least one layer, got none")
    if merge not in MERGES:
        raise ValueError(f'{name}: expected merge "sum", "concatenate" or "multiply", got {merge!r}')

    def init(key, in_shape):
        check_key(name, key)
        check_in_shape(name, in_shape, ("...",))
        inits = [check_returned(layer.name, "init", layer.init(jax.random.fold_in(key, i), in_shape)) for i, layer in enumerate(layers)]
        return tuple(p for p, _ in inits), tuple(s for _, s in inits)

    def forward(params, state, x, *, key=None, train=False):
        check_entries(name, layers, params=params, state=state)
        outputs, states, residuals = (), (), ()
        for i, (layer, p, s, k) in enumerate(zip(layers, params, state, keys_of(name, key, len(layers)), strict=True)):
            y, s, r = forward_of(name, i, layer, p, s, x, k, train)
            outputs, states, residuals = (*outputs, y), (*states, s), (*residuals, r)
        if not _fit(merge, outputs):
            raise ValueError(f"{name}: expected outputs that fit together for merge={merge!r}, got shapes {[y.shape for y in outputs]}")
        y = _merged(merge, outputs)
        return y, states, (residuals, outputs if merge == "multiply" else tuple(y[:0] for y in outputs))

    def backward(residuals, dy):
        """sum: dx = sum_i J_i^T dy;  concatenate: dx = sum_i J_i^T dy_i, where dy_i are the channels of branch i;
        multiply: dx = sum_i J_i^T (dy prod_{j != i} y_j), summed where y_i stands for more than one entry.
        """
        inner, kept = residuals
        check_array(name, "dy", dy, _merged_shape(merge, kept))
        dys = _cotangents(merge, kept, dy)
        pairs = [check_returned(layer.name, "backward", layer.backward(r, d)) for layer, r, d in zip(layers, inner, dys, strict=True)]
        return tuple(dp for dp, _ in pairs), sum_of(dx for _, dx in pairs)

    return Layer(name, init, forward, backward, layers)


def _fit(merge: str, outputs: tuple[Array, ...]) -> bool:
    shapes = [y.shape[:-1] if merge == "concatenate" else y.shape for y in outputs]
    if merge != "multiply":
        return len(set(shapes)) == 1
    ranks, batches = {len(s) for s in shapes}, {s[:1] for s in shapes}
    return len(ranks) == len(batches) == 1 and all(len({size for size in sizes if size != 1}) <= 1 for sizes in zip(*shapes, strict=True))


def _merged(merge: str, outputs: tuple[Array, ...]) -> Array:
    if merge == "sum":
        return sum_of(outputs)
    if merge == "concatenate":
        return namespace(*outputs).concatenate(outputs, axis=-1)
    return rounded(_product(outputs), *outputs)


def _product(arrays: tuple[Array, ...]) -> Array:
    """The product, axes of size 1 repeated, of halves in float32."""
    shape = [max(sizes) for sizes in zip(*(a.shape for a in arrays), strict=True)]
    return reduce(mul, (namespace(*arrays).broadcast_to(widened(a), shape) for a in arrays))


def _merged_shape(merge: str, kept: tuple[Array, ...]) -> tuple[int | str, ...]:
    """That of dy."""
    if merge == "multiply":
        return tuple(max(sizes) for sizes in zip(*(y.shape for y in kept), strict=True))
    channels = sum(e.shape[-1] for e in kept) if merge == "concatenate" else kept[0].shape[-1]
    return ("N", *kept[0].shape[1:-1], channels)


def _cotangents(merge: str, kept: tuple[Array, ...], dy: Array) -> list[Array]:
    """What each branch gets of dy."""
    if merge == "sum":
        return [dy] * len(kept)
    if merge == "concatenate":
        return [dy[..., a:b] for a, b in pairwise(accumulate((e.shape[-1] for e in kept), initial=0))]
    return [_summed(_product((dy, *kept[:i], *kept[i + 1 :])), y) for i, y in enumerate(kept)]


def _summed(a: Array, like: Array) -> Array:
    """The sum over the axes along which `like` has size 1, in its shape and dtype."""
    axes = tuple(i for i, (wide, size) in enumerate(zip(a.shape, like.shape, strict=True)) if size < wide)
    return rounded(a.sum(axes, keepdims=True) if axes else a, like)
