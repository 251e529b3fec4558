"""Layers made of layers: the backward pass of a whole network composes by itself.

`params`, `state` and the residuals of a combinator are tuples with one entry per layer.
"""

from collections.abc import Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from funcnn.arguments import check_array, check_in_shape, check_key, check_returned
from funcnn.arrays import Array, PyTree, namespace, sum_of
from funcnn.layer import Layer, constructor, stateless


def _identity_forward(params, x):
    """y = x, of any shape."""
    check_array("identity", "x", x, ("N", "..."))
    return x, x[:0]


def _identity_backward(empty, dy):
    """dx = dy."""
    check_array("identity", "dy", dy, ("N", *empty.shape[1:]))
    return (), dy


identity = stateless("identity", _identity_forward, _identity_backward)
"""y = x, of any shape."""


def out_shape(layer: Layer, params: PyTree, state: PyTree, in_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape per example that `layer` makes of `in_shape`: traced, never computed by hand."""
    x = jax.ShapeDtypeStruct((1, *in_shape), jnp.result_type(float))
    return jax.eval_shape(lambda *args: layer.apply(*args)[0], params, state, x).shape[1:]


@constructor
def serial(*layers: Layer) -> Layer:
    """The layers one after the other; a layer again.

    Args:
        layers: any number of layers; each gets the output of the one before it.

    Returns:
        A layer whose `params`, `state` and residuals are tuples in the order of `layers`. With a `key`, each layer gets
        its own, folded from its position.

    Raises:
        TypeError: an argument is no layer.
        ValueError: `params` or `state` has not one entry per layer; what a layer raises says in a note where it stands.
    """
    _check_layers("serial", layers)

    def init(key, in_shape):
        check_key("serial", key)
        check_in_shape("serial", in_shape, ("...",))
        params, states, shape = (), (), in_shape
        for i, layer in enumerate(layers):
            try:
                p, s = check_returned(layer.name, "init", layer.init(jax.random.fold_in(key, i), shape))
                shape = out_shape(layer, p, s, shape)
            except (TypeError, ValueError) as error:
                _say_where(error, "serial", i, layer)
                raise
            params, states = (*params, p), (*states, s)
        return params, states

    def forward(params, state, x, *, key=None, train=False):
        _check_entries("serial", layers, params=params, state=state)
        states, residuals = (), ()
        for i, (layer, p, s, k) in enumerate(zip(layers, params, state, keys_of("serial", key, len(layers)), strict=True)):
            try:
                x, s, r = check_returned(layer.name, "forward", layer.forward(p, s, x, key=k, train=train))
            except (TypeError, ValueError) as error:
                _say_where(error, "serial", i, layer)
                raise
            states, residuals = (*states, s), (*residuals, r)
        return x, states, residuals

    def backward(residuals, dy):
        """dx_i = J_i^T dx_(i+1), from the last layer to the first."""
        _check_entries("serial", layers, residuals=residuals)
        dparams = ()
        for layer, r in reversed(list(zip(layers, residuals, strict=True))):
            dp, dy = check_returned(layer.name, "backward", layer.backward(r, dy))
            dparams = (dp, *dparams)
        return dparams, dy

    return Layer("serial", init, forward, backward, layers, in_series=True)


@constructor
def parallel(*layers: Layer, merge: Literal["sum", "concatenate"] = "sum") -> Layer:
    """The layers side by side on one input, their outputs merged; a layer again.

    Args:
        layers: at least one layer; each gets the same input.
        merge: "sum" adds the outputs (all of one shape), "concatenate" joins them along the last axis (the channels).

    Returns:
        A layer whose `params` and `state` are tuples in the order of `layers`; its residuals add empty arrays that keep
        the outputs' shapes.

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
    _check_layers(name, layers)
    if not layers:
        raise ValueError(f"{name}: expected at least one layer, got none")
    if merge not in ("sum", "concatenate"):
        raise ValueError(f'{name}: expected merge "sum" or "concatenate", got {merge!r}')

    def init(key, in_shape):
        check_key(name, key)
        check_in_shape(name, in_shape, ("...",))
        inits = [check_returned(layer.name, "init", layer.init(jax.random.fold_in(key, i), in_shape)) for i, layer in enumerate(layers)]
        return tuple(p for p, _ in inits), tuple(s for _, s in inits)

    def forward(params, state, x, *, key=None, train=False):
        _check_entries(name, layers, params=params, state=state)
        outputs, states, residuals = (), (), ()
        for i, (layer, p, s, k) in enumerate(zip(layers, params, state, keys_of(name, key, len(layers)), strict=True)):
            try:
                y, s, r = check_returned(layer.name, "forward", layer.forward(p, s, x, key=k, train=train))
            except (TypeError, ValueError) as error:
                _say_where(error, name, i, layer)
                raise
            outputs, states, residuals = (*outputs, y), (*states, s), (*residuals, r)
        shapes = [y.shape if merge == "sum" else y.shape[:-1] for y in outputs]
        if len(set(shapes)) > 1:
            raise ValueError(f"{name}: expected outputs that fit together for merge={merge!r}, got shapes {[y.shape for y in outputs]}")
        y = sum_of(outputs) if merge == "sum" else namespace(*outputs).concatenate(outputs, axis=-1)
        return y, states, (residuals, tuple(y[:0] for y in outputs))

    def backward(residuals, dy):
        """sum: dx = sum_i J_i^T dy;  concatenate: dx = sum_i J_i^T dy_i, where dy_i are the channels of branch i."""
        inner, empties = residuals
        total = sum(e.shape[-1] for e in empties) if merge == "concatenate" else empties[0].shape[-1]
        check_array(name, "dy", dy, ("N", *empties[0].shape[1:-1], total))
        ends = accumulate((e.shape[-1] for e in empties), initial=0)
        dys = [dy] * len(layers) if merge == "sum" else [dy[..., a:b] for a, b in pairwise(ends)]
        pairs = [check_returned(layer.name, "backward", layer.backward(r, d)) for layer, r, d in zip(layers, inner, dys, strict=True)]
        return tuple(dp for dp, _ in pairs), sum_of(dx for _, dx in pairs)

    return Layer(name, init, forward, backward, layers)


class Call(NamedTuple):
    """What a layer inside another one is called with."""

    layer: Layer
    params: PyTree
    state: PyTree
    x: Array
    key: Array | None


def calls(layer: Layer, params: PyTree, state: PyTree, x: Array, *, key: Array | None = None, train: bool = False) -> list[Call]:
    """The calls of the layers that a combinator is made of, in their order; none for a plain layer."""
    if not layer.layers:
        return []
    params, state = layer.divide(params), layer.divide(state)
    _check_entries(layer.name, layer.layers, params=params, state=state)
    made = []
    for inner, p, s, k in zip(layer.layers, params, state, keys_of(layer.name, key, len(layer.layers)), strict=True):
        made.append(Call(inner, p, s, x, k))
        x = inner.apply(p, s, x, key=k, train=train)[0] if layer.in_series else x
    return made


def keys_of(name: str, key: Array | None, count: int) -> Sequence[Array | None]:
    """A key for each of `count` layers, folded from its position; or no key for any."""
    return [None] * count if key is None else _folded(check_key(name, key), count)


@partial(jax.jit, static_argnums=1)
def _folded(key: Array, count: int) -> list[Array]:
    return list(jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(count)))


def _say_where(error: Exception, name: str, i: int, layer: Layer) -> None:
    """Say in a note to an error in which layer it happened."""
    error.add_note(f"in layer {i} ({layer.name}) of {name}")


def _check_layers(name: str, layers: tuple[Layer, ...]) -> None:
    for i, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            ours = getattr(layer, "__module__", "").startswith("funcnn.") and hasattr(layer, "__name__")
            hint = f"; call it, {layer.__name__}(...)" if ours else ""
            hint = f"; unpack it, {name}(*layers)" if isinstance(layer, list | tuple) else hint
            raise TypeError(f"{name}: expected layers, got {type(layer).__name__} as argument {i}{hint}")


def _check_entries(name: str, layers: tuple[Layer, ...], **trees: PyTree) -> None:
    for what, tree in trees.items():
        if not isinstance(tree, tuple) or len(tree) != len(layers):
            got = f"{len(tree)} entries" if isinstance(tree, tuple) else type(tree).__name__
            raise ValueError(f"{name}: expected {what} to be a tuple of {len(layers)} entries, one per layer, got {got}")
