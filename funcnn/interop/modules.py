"""Layers as modules of Flax and Equinox."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import jax

from funcnn.arguments import check_array
from funcnn.arrays import Array, PyTree
from funcnn.combinators.inside import check_layers
from funcnn.extras import needs_extra
from funcnn.layer import Layer, with_manual_vjp

Gradients = Literal["manual", "auto"]
COLLECTIONS = ("params", "batch_stats")
"""What Flax calls params and state."""


def to_flax(layer: Layer, *, gradients: Gradients = "manual", name: str | None = None) -> Any:
    """A layer as a `flax.linen` module: `module.apply(variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": key})`.

    Params are the collection "params", the state is "batch_stats", which moves in training; where a layer has tuples, these are
    dicts by position, {"0": {"w": ..., "b": ...}, "2": ...}, without what holds no array (`fn.named` gives names). In training
    the key is that of the collection "dropout". As a module of nnx: `nnx.bridge.ToNNX(to_flax(layer), rngs=nnx.Rngs(0)).lazy_init(x)`,
    called with `train=True, mutable=["batch_stats"]` in training.

    Args:
        layer: any layer.
        gradients: what `jax.grad` runs: "manual", the hand-written backward pass, which is fast; or "auto", the plain forward pass
            differentiated, which has forward mode and gradients of gradients too.
        name: of the module inside another one; by default Flax gives one.

    Returns:
        A module, called with x (N, ...) and `train=False`; its parameters are drawn as `layer.init` draws them, by its own key.

    Raises:
        ModuleNotFoundError: Flax is not installed.
        TypeError, ValueError: no layer, another `gradients`; variables that are not those of this layer.
    """
    layer = _differentiated("to_flax", layer, gradients)
    return _flax_module()(layer=layer, name=name)


def to_equinox(layer: Layer, params: PyTree, *, gradients: Gradients = "manual") -> Any:
    """A layer as an `equinox.Module` that holds its params: `y, state = module(x, state, key=key)`.

    It takes a batch, x (N, ...), and not one example as Equinox's own layers do: without `jax.vmap` around it, batch norm sees
    the batch, and no axis needs a name. The state is not in the module, as in Equinox, and comes back with the output, `()` where
    there is none. `equinox.nn.inference_mode(module)` evaluates, and so does `module(x, state, inference=True)`.

    Args:
        layer: any layer.
        params: its own, `params, state = layer.init(key, in_shape)`.
        gradients: as in `to_flax`.

    Returns:
        A module whose arrays are `params`.

    Raises:
        ModuleNotFoundError: Equinox is not installed.
        TypeError, ValueError: no layer, another `gradients`.
    """
    return _equinox_module()(params, False, _differentiated("to_equinox", layer, gradients))


def _differentiated(name: str, layer: Layer, gradients: Gradients) -> Layer:
    check_layers(name, (layer,))
    if gradients not in ("manual", "auto"):
        raise ValueError(f'{name}: expected gradients to be "manual" or "auto", got {gradients!r}')
    return with_manual_vjp(layer) if gradients == "manual" else layer


@lru_cache
def _flax_module() -> Callable:
    with needs_extra("funcnn.interop.to_flax", "flax"):
        from flax import linen

    class FuncnnLayer(linen.Module):
        layer: Layer

        @linen.compact
        def __call__(self, x: Array, train: bool = False) -> Array:
            check_array(self.layer.name, "x", x, ("N", "..."))
            in_shape = tuple(x.shape[1:])
            trees = self.layer.init(self.make_rng("params"), in_shape) if self.is_initializing() else structure(self.layer, in_shape)
            held = [
                {name: self.variable(kind, name, lambda a=a: a) for name, a in to_dicts(tree).items()}
                for kind, tree in zip(COLLECTIONS, trees, strict=True)
            ]
            params, state = (
                from_dicts({name: variable.value for name, variable in variables.items()}, tree, kind)
                for kind, variables, tree in zip(COLLECTIONS, held, trees, strict=True)
            )
            key = self.make_rng("dropout") if self.has_rng("dropout") else None
            y, state = self.layer.apply(params, state, x, key=key, train=train)
            if train and not self.is_initializing():
                for name, moved in to_dicts(state).items():
                    held[1][name].value = moved
            return y

    return FuncnnLayer


@lru_cache(maxsize=1024)
def structure(layer: Layer, in_shape: tuple[int, ...]) -> tuple[PyTree, PyTree]:
    """Shapes and dtypes of a layer's params and state."""
    return jax.eval_shape(lambda: layer.init(jax.random.key(0), in_shape))


def to_dicts(tree: PyTree) -> dict[str, Any]:
    """A tree as dicts of dicts, tuples by position; what holds no array is left out."""
    made: dict[str, Any] = {}
    for path, leaf in jax.tree.leaves_with_path(tree):
        *outer, last = _names(path)
        inner = made
        for name in outer:
            inner = inner.setdefault(name, {})
        inner[last] = leaf
    return made


def from_dicts(dicts: Mapping[str, Any], like: PyTree, what: str) -> PyTree:
    """The tree with the structure of `like` of which `to_dicts` made `dicts`, or raise."""
    paths, tree = jax.tree.flatten_with_path(like)
    expected = ["/".join(_names(path)) for path, _ in paths]
    found = {"/".join(_names(path)): leaf for path, leaf in jax.tree.leaves_with_path(dicts)}
    if set(found) != set(expected):
        raise ValueError(f"to_flax: expected the collection {what!r} to hold {expected}, got {list(found)}")
    return tree.unflatten([found[name] for name in expected])


def _names(path: Sequence[Any]) -> list[str]:
    return [jax.tree_util.keystr((key,), simple=True) for key in path] or ["value"]


@lru_cache
def _equinox_module() -> Callable:
    with needs_extra("funcnn.interop.to_equinox", "equinox"):
        import equinox as eqx

    class FuncnnLayer(eqx.Module):
        params: PyTree
        inference: bool  # no static field, as in Equinox's own layers: `inference_mode` changes it
        layer: Layer = eqx.field(static=True)

        def __call__(
            self, x: Array, state: PyTree = (), *, key: Array | None = None, inference: bool | None = None
        ) -> tuple[Array, PyTree]:
            train = not (self.inference if inference is None else inference)
            return self.layer.apply(self.params, state, x, key=key, train=train)

    return FuncnnLayer
