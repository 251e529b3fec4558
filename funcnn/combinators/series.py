"""Layers one after the other."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax

from funcnn.arguments import check_array, check_in_shape, check_key, check_returned, describe
from funcnn.arrays import PyTree
from funcnn.combinators.inside import check_entries, check_layers, forward_of, keys_of, out_shape, say_where
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
    return _series("serial", layers, None, tuple)


@constructor
def named(layers: Mapping[str, Layer] | Iterable[tuple[str, Layer]] = (), /, **more: Layer) -> Layer:
    """`serial` whose `params` and `state` are dicts by name: `named(conv1=fn.conv(16, (3, 3)), relu=fn.relu)`, `params["conv1"]["w"]`.

    Args:
        layers, more: names and layers in their order, as `dict` takes them; each name once.

    Returns:
        A layer that computes what the `serial` of the same layers does, from the same numbers for the same key.

    Raises:
        TypeError: a value is no layer, a name no text.
        ValueError: a name that comes twice; `params` or `state` is no dict with these names.
    """
    if isinstance(layers, Layer):
        raise TypeError(f"named: expected a name for every layer, got the layer {layers.name} without; named(name=layer)")
    pairs = [*(layers.items() if isinstance(layers, Mapping) else layers), *more.items()]
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(f"named: expected pairs of a name and a layer, got {pair!r}")
    names = tuple(name for name, _ in pairs)
    if not all(isinstance(name, str) for name in names):
        raise TypeError(f"named: expected names to be text, got {names}")
    if len(set(names)) < len(names):
        raise ValueError(f"named: expected a name of its own for every layer, got {names}")

    def divide(tree: PyTree, what: str = "params") -> tuple[PyTree, ...]:
        if not isinstance(tree, Mapping) or set(tree) != set(names):
            raise ValueError(f"named: expected {what} to be a dict with {list(names)}, got {describe(tree)}")
        return tuple(tree[name] for name in names)

    return _series("named", tuple(layer for _, layer in pairs), divide, lambda entries: dict(zip(names, entries, strict=True)))


def _series(name: str, layers: tuple[Layer, ...], divide: Callable[..., tuple] | None, join: Callable[[tuple], Any]) -> Layer:
    """The layers in series; `divide` and `join` turn params and state into tuples and back."""
    check_layers(name, layers)

    def init(key, in_shape):
        check_key(name, key)
        check_in_shape(name, in_shape, ("...",))
        params, states, shape = (), (), in_shape
        for i, layer in enumerate(layers):
            try:
                p, s = check_returned(layer.name, "init", layer.init(jax.random.fold_in(key, i), shape))
                shape = out_shape(layer, p, s, shape)
            except Exception as error:
                say_where(error, name, i, layer)
                raise
            params, states = (*params, p), (*states, s)
        return join(params), join(states)

    def forward(params, state, x, *, key=None, train=False):
        if divide:
            params, state = divide(params, "params"), divide(state, "state")
        else:
            check_entries(name, layers, params=params, state=state)
        states, residuals = (), ()
        for i, (layer, p, s, k) in enumerate(zip(layers, params, state, keys_of(name, key, len(layers)), strict=True)):
            x, s, r = forward_of(name, i, layer, p, s, x, k, train)
            states, residuals = (*states, s), (*residuals, r)
        return x, join(states), residuals

    def backward(residuals, dy):
        """dx_i = J_i^T dx_(i+1), from the last layer to the first."""
        check_entries(name, layers, residuals=residuals)
        dparams = ()
        for layer, r in reversed(list(zip(layers, residuals, strict=True))):
            dp, dy = check_returned(layer.name, "backward", layer.backward(r, dy))
            dparams = (dp, *dparams)
        return join(dparams), dy

    return Layer(name, init, forward, backward, layers, in_series=True, divide=divide)
