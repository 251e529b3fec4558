"""Weights of PyTorch, Flax and Equinox as params and state, and back.

What they call and lay out in another way is in the table of `conventions`; which of theirs is which of ours, `matching` finds. Nothing
that is given is changed. A batch norm's statistics are the same numbers everywhere; its options are set where a network is made:
PyTorch's momentum 0.1 is our and Flax's 0.9, and epsilon is 1e-5 here and in all three by default.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arguments import check_flag, describe
from funcnn.arrays import PyTree
from funcnn.interop.conventions import FLAX, FLAX_TRANSPOSED, TORCH, Convention, Entry, Unit, units_of
from funcnn.interop.matching import Names, Pairs, Theirs, matched, named
from funcnn.interop.trees import check_trees, exact, numpy_of, started
from funcnn.layer import Layer

TRACKED = "num_batches_tracked"
"""PyTorch counts the steps of a batch norm, which only its momentum None needs."""


def params_from_torch(
    net: Layer, state_dict: Mapping[str, Any], in_shape: tuple[int, ...], *, names: Names = None
) -> tuple[PyTree, PyTree]:
    """Params and state with the numbers of a PyTorch `state_dict`; torch need not be installed.

    Layers are matched by the names and shapes of their arrays: kernels (O, C / G, KH, KW), of transposed convolutions (C, O / G, KH,
    KW), rows of the dense layer behind a `flatten` in the order of channels first. A 1x1 convolution and a dense layer match. Those
    that have the same shapes are matched in order, theirs that of the `state_dict`, ours that in which they run (of a `residual` the
    shortcut last); an order by name, as of a safetensors file, counts only where numbers in names tell it.

    Args:
        net: the same network in funcnn.
        state_dict: by name, arrays or tensors on the CPU, of a floating-point dtype; `num_batches_tracked` is ignored.
        in_shape: of one example, channels last.
        names: what matching by order would not find: {theirs: ours} of layers ({"layer1.0.conv1": "2.0.0.0"}) or arrays ({"fc.weight":
            "12.w"}), the rest is matched by order; or a list of all names of their layers in our order.

    Returns:
        (params, state) as of `net.init`, each array with the dtype of theirs: JAX arrays, but NumPy's where JAX would round them.

    Raises:
        TypeError: no layer, no mapping of arrays, an array of whole numbers.
        ValueError: one or more arrays do not fit, each named with both names and both shapes; an order that is not known.
    """
    who = "params_from_torch"
    return read(who, TORCH, net, _torch_arrays(who, state_dict, _numpy), in_shape, names, ordered=_is_ordered(state_dict))


def params_to_torch(
    net: Layer, params: PyTree, state: PyTree, in_shape: tuple[int, ...], *, like: Mapping[str, Any] | None = None, names: Names = None
) -> dict[str, np.ndarray]:
    """A `state_dict` of NumPy arrays: `model.load_state_dict({n: torch.tensor(a) for n, a in weights.items()})`.

    Args:
        net, params, state, in_shape: a network of funcnn, and the shape of one example, channels last.
        like: a `state_dict` of the model, which gives names, order and shapes; it is matched as in `params_from_torch`. Without it the
            names are our paths, "0.weight", as of an equal `torch.nn.Sequential`.
        names: as in `params_from_torch`.

    Returns:
        Arrays in PyTorch's layout, of the dtypes of params and state (bfloat16 as of `ml_dtypes`); `num_batches_tracked` is 0.

    Raises:
        TypeError, ValueError: as in `params_from_torch`; params or state that are not those of the net.
    """
    who = "params_to_torch"
    units = ours(who, TORCH, net, params, state, in_shape)
    if like is not None:
        theirs = _torch_arrays(who, like, _shaped)
        written = {other.name: a for other, a in _written(matched(who, TORCH, units, theirs, names, _is_ordered(like)))}
        return OrderedDict((name, written.get(name, np.zeros((), "int64"))) for name in like)
    weights = OrderedDict()
    for entry, path in named(who, units, names):
        weights[".".join(path)] = turned(entry, entry.shape)
        if path[-1] == "running_var":
            weights[".".join((*path[:-1], TRACKED))] = np.zeros((), "int64")
    return weights


def params_from_flax(
    net: Layer, variables: Mapping[str, Any], in_shape: tuple[int, ...], *, names: Names = None, transpose_kernel: bool = False
) -> tuple[PyTree, PyTree]:
    """Params and state with the numbers of Flax's: a dict of `flax.linen` variables, or `flax.nnx.to_pure_dict(state)`.

    Args:
        net: the same network in funcnn.
        variables: {"params": ..., "batch_stats": ...}, or the nested dict of an nnx state, whose "rngs" are ignored.
        in_shape: of one example.
        names: as in `params_from_torch`, "." between the steps of a path: {"Conv_0": "0"}. JAX sorts dicts, so that after a training
            the order of differently named layers is not known; where shapes do not tell either, this must be given.
        transpose_kernel: that of their transposed convolutions.

    Returns, Raises: as `params_from_torch`.
    """
    who = "params_from_flax"
    theirs = _flax_arrays(who, variables, _numpy)
    return read(who, _flax(transpose_kernel), net, list(theirs.values()), in_shape, names, ordered=_is_ordered(variables))


def params_to_flax(
    net: Layer, params: PyTree, state: PyTree, in_shape: tuple[int, ...], *,
    like: Mapping[str, Any] | None = None, names: Names = None, transpose_kernel: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Flax's variables as nested dicts of NumPy arrays, for `model.apply` of linen or `flax.nnx.replace_by_pure_dict`.

    Args:
        net, params, state, in_shape: a network of funcnn, and the shape of one example.
        like: variables of the model, or the pure dict of an nnx state, of which a copy with the new numbers is made. Without it they
            are linen's, at our paths: {"params": {"0": {"kernel": ...}}}.
        names, transpose_kernel: as in `params_from_flax`.

    Returns:
        The variables, of the dtypes of params and state.

    Raises:
        TypeError, ValueError: as in `params_to_torch`.
    """
    who, convention = "params_to_flax", _flax(transpose_kernel)
    units = ours(who, convention, net, params, state, in_shape)
    if like is None:
        pairs = named(who, units, names)
        places = [("batch_stats" if path[-1] in ("mean", "var") else "params", *path) for _, path in pairs]
        return _nested({place: turned(entry, entry.shape) for place, (entry, _) in zip(places, pairs, strict=True)})
    theirs = _flax_arrays(who, like, _shaped)
    written = {other.path: a for other, a in _written(matched(who, convention, units, list(theirs.values()), names, _is_ordered(like)))}
    return _replaced(_pure(like), {place: written[other.path] for place, other in theirs.items()})


# What is common


def read(
    who: str, convention: Convention, net: Layer, theirs: list[Theirs], in_shape: tuple[int, ...], names: Names, ordered: bool
) -> tuple[PyTree, PyTree]:
    params, state = trees = jax.tree.map(lambda a: np.empty(a.shape, _wide(theirs)), started(who, net, in_shape))
    pairs = matched(who, convention, units_of(convention, net, params, state, in_shape), theirs, names, ordered)
    dtypes: dict[int, set] = {}
    for entry, other in pairs:
        if not isinstance(entry.array, np.ndarray):
            raise ValueError(f"{who}: expected {entry.ours} in a repeat to be an array, got single numbers; give them an axis of size 1")
        entry.array[...] = entry.turn.back(other.array.reshape(entry.shape))  # into the new trees, whose parts the entries are
        whole = entry.array if entry.array.base is None else entry.array.base
        dtypes.setdefault(id(whole), set()).add(other.array.dtype)
    return jax.tree.map(lambda a: exact(a.astype(*found) if len(found := dtypes[id(a)]) == 1 else a), trees)


def _wide(theirs: list[Theirs]) -> str:
    """What holds the numbers of all of them."""
    dtypes = {str(other.array.dtype) for other in theirs}
    return "complex128" if dtypes & {"complex64", "complex128"} else "float64" if "float64" in dtypes else "float32"


def ours(who: str, convention: Convention, net: Layer, params: PyTree, state: PyTree, in_shape: tuple[int, ...]) -> list[Unit]:
    params, state = check_trees(who, started(who, net, in_shape), (params, state))
    return units_of(convention, net, params, state, in_shape)


def _written(pairs: Pairs) -> list[tuple[Theirs, np.ndarray]]:
    return [(other, turned(entry, other.array.shape)) for entry, other in pairs]


def turned(entry: Entry, shape: tuple[int, ...]) -> np.ndarray:
    """In their layout, and of their own memory."""
    return np.array(entry.turn.there(np.asarray(entry.array)).reshape(shape), order="C")


# PyTorch's arrays


def _torch_arrays(who: str, state_dict: Mapping[str, Any], convert: Callable) -> list[Theirs]:
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"{who}: expected a state_dict, arrays by name, got {type(state_dict).__name__}; model.state_dict() is one")
    names = [name for name in state_dict if str(name).rpartition(".")[2] != TRACKED]
    return [Theirs(tuple(str(name).split(".")), str(name), convert(who, name, state_dict[name])) for name in names]


def _is_ordered(theirs: Any) -> bool:
    return isinstance(theirs, OrderedDict)


def _numpy(who: str, name: Any, a: Any) -> np.ndarray:
    """An array, or a tensor, of which it is the numbers."""
    if hasattr(a, "detach"):
        a = a.detach().cpu()
        bfloat16 = str(a.dtype) == "torch.bfloat16"  # which NumPy does not know by itself
        return a.float().numpy().astype(jnp.bfloat16) if bfloat16 else a.numpy()
    if isinstance(a, Mapping):
        raise TypeError(f"{who}: expected an array for {name!r}, got {describe(a)}; is that the state_dict?")
    return numpy_of(who, str(name), a)


def _shaped(who: str, name: Any, a: Any) -> Any:
    """What is to be known of an array that is only an example."""
    if not hasattr(a, "shape") or not hasattr(a, "dtype"):
        raise TypeError(f"{who}: expected an array for {name!r} in like, got {type(a).__name__}")
    return Shaped(tuple(a.shape), np.dtype(jnp.dtype(str(a.dtype).removeprefix("torch."))))


class Shaped(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype


# Flax's arrays


def _flax(transpose_kernel: bool) -> Convention:
    return FLAX_TRANSPOSED if check_flag("interop", "transpose_kernel", transpose_kernel) else FLAX


def _pure(variables: Any) -> Any:
    return variables.to_pure_dict() if hasattr(variables, "to_pure_dict") else variables


def _flax_arrays(who: str, variables: Any, convert: Callable) -> dict[tuple, Theirs]:
    """By their path among the variables; the path of a layer is the same in all collections."""
    variables = _pure(variables)
    if not isinstance(variables, Mapping):
        raise TypeError(f"{who}: expected nested dicts of arrays, got {type(variables).__name__}; flax.nnx.to_pure_dict(state) makes them")
    linen, found = isinstance(variables.get("params"), Mapping), {}
    parts = {name: variables[name] for name in ("params", "batch_stats") if name in variables} if linen else variables
    for place, a in _leaves(parts):
        path = place[1:] if linen else place
        if "rngs" not in path:
            name = ".".join(map(str, path))
            found[place] = Theirs(path, name, convert(who, name, a), place[0] if linen else "")
    return found


def _leaves(tree: Mapping, path: tuple = ()) -> Iterator[tuple[tuple, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def _replaced(tree: Any, new: Mapping[tuple, np.ndarray], path: tuple = ()) -> Any:
    """A copy of nested dicts with other arrays at some paths."""
    if not isinstance(tree, Mapping):
        return new.get(path, tree)
    return {key: _replaced(value, new, (*path, key)) for key, value in tree.items()}


def _nested(arrays: Mapping[tuple, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for path, a in arrays.items():
        inner = tree
        for step in path[:-1]:
            inner = inner.setdefault(step, {})
        inner[path[-1]] = a
    return tree
