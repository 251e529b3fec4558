"""What all combinators share: the layers inside them, their keys, and where an error happened."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from funcnn.arguments import check_key, check_returned
from funcnn.arrays import Array, PyTree
from funcnn.cpu import cpu_tuning
from funcnn.layer import Layer


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
    made, (params, state) = [], divided(layer, params=params, state=state)
    for inner, p, s, k in zip(layer.layers, params, state, keys_of(layer.name, key, len(layer.layers)), strict=True):
        made.append(Call(inner, p, s, x, k))
        x = inner.apply(p, s, x, key=k, train=train)[0] if layer.in_series else x
    return made


def divided(layer: Layer, **trees: PyTree) -> list[tuple[PyTree, ...]]:
    """Each of the trees as a tuple of one entry per layer inside."""
    if layer.divide:
        return [layer.divide(tree, what) for what, tree in trees.items()]
    check_entries(layer.name, layer.layers, **trees)
    return list(trees.values())


def keys_of(name: str, key: Array | None, count: int) -> Sequence[Array | None]:
    """A key for each of `count` layers, folded from its position; or no key for any."""
    return [None] * count if key is None else folded(check_key(name, key), count)


@partial(jax.jit, static_argnums=1)
def folded(key: Array, count: int) -> list[Array]:
    return list(jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(count)))


def out_shape(layer: Layer, params: PyTree, state: PyTree, in_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape per example that `layer` makes of `in_shape`: traced, never computed by hand; untuned, which is traced quickest."""
    x = jax.ShapeDtypeStruct((1, *in_shape), jnp.result_type(float))
    with cpu_tuning(False):
        return jax.eval_shape(lambda *args: layer.apply(*args)[0], params, state, x).shape[1:]


def say_where(error: Exception, name: str, i: int | str, layer: Layer) -> None:
    """Say in a note to an error in which layer it happened."""
    error.add_note(f"in layer {i} ({layer.name}) of {name}")


def forward_of(name: str, i: int, layer: Layer, params: PyTree, state: PyTree, x: Array, key: Array | None, train: bool) -> tuple:
    """`layer.forward`, of layer i of the combinator `name`, which an error says."""
    try:
        return check_returned(layer.name, "forward", layer.forward(params, state, x, key=key, train=train))
    except Exception as error:
        say_where(error, name, i, layer)
        raise


def check_layers(name: str, layers: Sequence[Layer]) -> None:
    for i, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            ours = getattr(layer, "__module__", "").startswith("funcnn.") and hasattr(layer, "__name__")
            hint = f"; call it, {layer.__name__}(...)" if ours else ""
            hint = f"; unpack it, {name}(*layers)" if isinstance(layer, list | tuple) else hint
            raise TypeError(f"{name}: expected layers, got {type(layer).__name__} as argument {i}{hint}")


def check_entries(name: str, layers: Sequence[Layer], **trees: PyTree) -> None:
    for what, tree in trees.items():
        if not isinstance(tree, tuple) or len(tree) != len(layers):
            got = f"{len(tree)} entries" if isinstance(tree, tuple) else type(tree).__name__
            raise ValueError(f"{name}: expected {what} to be a tuple of {len(layers)} entries, one per layer, got {got}")
