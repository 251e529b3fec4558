"""Weights of Equinox modules as params and state, and back."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arrays import PyTree
from funcnn.interop.conventions import EQUINOX
from funcnn.interop.matching import Names, Theirs, matched
from funcnn.interop.trees import key_name, numpy_of
from funcnn.interop.weights import ours, read, turned
from funcnn.layer import Layer

STEPS = 1_000_000
"""After so many the correction 1 - momentum^steps of a young running mean is 1."""


def params_from_equinox(net: Layer, model: Any, in_shape: tuple[int, ...], *, names: Names = None) -> tuple[PyTree, PyTree]:
    """Params and state with the numbers of an Equinox module.

    Args:
        net: the same network in funcnn.
        model: the module; where it has batch norms, the pair (module, state) of `equinox.nn.make_with_state`.
        in_shape: of one example, channels last.
        names: as in `params_from_torch`: {"layers.0": "0"}; running statistics are "layers.1.mean" and "layers.1.var".

    Returns, Raises: as `params_from_torch`.
    """
    who = "params_from_equinox"
    theirs, ordered = _arrays(who, model)
    return read(who, EQUINOX, net, theirs, in_shape, names, ordered)


def params_to_equinox(net: Layer, params: PyTree, state: PyTree, in_shape: tuple[int, ...], *, like: Any, names: Names = None) -> Any:
    """A copy of an Equinox module (or of (module, state)) with the numbers of params and state.

    Args:
        net, params, state, in_shape: a network of funcnn, and the shape of one example, channels last.
        like: the module, or the pair.
        names: as in `params_from_equinox`.

    Returns:
        What `like` is, with JAX arrays of the dtypes of params and state. A batch norm counts as one that has seen many steps.

    Raises:
        TypeError, ValueError: as in `params_to_torch`.
    """
    import equinox as eqx

    who = "params_to_equinox"
    theirs, ordered = _arrays(who, like)
    pairs = matched(who, EQUINOX, ours(who, EQUINOX, net, params, state, in_shape), theirs, names, ordered)
    new = {other.path: jnp.asarray(turned(entry, other.array.shape)) for entry, other in pairs}
    module, statistics = _parts(like)
    statistics = jax.tree.map(lambda a: a, statistics)  # `State.set` makes the one that it is called on unusable
    leaves, structure = jax.tree_util.tree_flatten_with_path(module, is_leaf=_is_batch_norm)
    made = []
    for keys, leaf in leaves:
        path = tuple(key_name(key) for key in keys)
        if not _is_batch_norm(leaf):
            made.append(new.get(path, leaf))
            continue
        if leaf.channelwise_affine:
            leaf = eqx.tree_at(lambda norm: (norm.weight, norm.bias), leaf, (new[*path, "weight"], new[*path, "bias"]))
        made.append(leaf)
        index, seen, count = _indices(leaf)
        statistics = statistics.set(index, (new[*path, "mean"], new[*path, "var"])).set(seen, count)
    module = jax.tree.unflatten(structure, made)
    return module if statistics is None else (module, statistics)


def _parts(model: Any) -> tuple[Any, Any]:
    """The module, and the state or None."""
    import equinox as eqx

    pair = isinstance(model, tuple) and len(model) == 2 and isinstance(model[1], eqx.nn.State)
    return model if pair else (model, None)  # pyrefly: ignore


def _arrays(who: str, model: Any) -> tuple[list[Theirs], bool]:
    """By path; and whether their order is meant, as that of fields is, and that of a dict is not."""
    module, state = _parts(model)
    theirs, ordered = [], True
    for keys, leaf in jax.tree_util.tree_flatten_with_path(module, is_leaf=_is_batch_norm)[0]:
        ordered = ordered and not any(isinstance(key, jax.tree_util.DictKey) for key in keys)
        path = tuple(key_name(key) for key in keys)
        if _is_batch_norm(leaf):
            if state is None:
                raise ValueError(f"{who}: expected (module, state), as {'.'.join(map(str, path))} is a batch norm, got the module alone")
            mean, var = _running(leaf, state)
            arrays = {"weight": leaf.weight, "bias": leaf.bias, "mean": mean, "var": var}
            found = {(*path, name): a for name, a in arrays.items() if a is not None}
        else:
            found = {path: leaf}
        for place, a in found.items():
            if isinstance(a, np.ndarray | jax.Array) and not jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
                name = ".".join(map(str, place))
                theirs.append(Theirs(place, name, numpy_of(who, name, a)))
    return theirs, ordered


def _is_batch_norm(leaf: Any) -> bool:
    import equinox as eqx

    return isinstance(leaf, eqx.nn.BatchNorm)


def _indices(norm: Any) -> tuple[Any, Any, Any]:
    """Where the running statistics are, where what tells whether there are any, and what that is where there are."""
    if norm.mode == "ema":
        return norm.ema_state_index, norm.ema_first_time_index, jnp.array(False)
    return norm.batch_state_index, norm.batch_counter, jnp.array(STEPS)


def _running(norm: Any, state: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance as inference uses them: those of mode "batch" start at 0, for which it corrects."""
    index, seen, _ = _indices(norm)
    mean, var = (np.asarray(a) for a in state.get(index))
    steps = int(state.get(seen)) if norm.mode == "batch" else 0
    share = (1 - norm.momentum**steps) or 1.0
    return mean / mean.dtype.type(share), var / var.dtype.type(share)
