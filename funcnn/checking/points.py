"""What is drawn: the points at which a layer, a pair or a custom gradient is checked."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np

from funcnn.arrays import Array, PyTree, to_numpy
from funcnn.checking.pairs import QUICKLY, Backward, Forward, FunctionForward, LayerForward, Pulled, Traced, trace
from funcnn.checking.trees import inexact
from funcnn.combinators import calls
from funcnn.layer import Layer

IMAGE, KERNEL = ("example", "row", "column", "channel"), ("kernel row", "kernel column", "input channel", "output channel")
Names = Mapping[str, tuple[str, ...]]
"""The name of every leaf of a tree, in the order of `jax.tree.leaves`, with the names of its axes."""


class Variable(NamedTuple):
    """A leaf of the arguments to differentiate by.

    Attributes:
        place: which of all leaves it is; those of whole numbers are none to differentiate by.
        name: of the leaf.
        axes: their names.
        value: its entries.
    """

    place: int
    name: str
    axes: tuple[str, ...]
    value: np.ndarray


class Point(NamedTuple):
    """A pair `forward`, `backward`, where it is checked, and what is known about it.

    Attributes:
        forward: on NumPy and (for most oracles) JAX arrays.
        backward: the gradient that is checked.
        args: a tree of float64 NumPy arrays, and whole numbers, which stay as they are.
        context: what else `forward` gets, not to be differentiated by: state, keys.
        names: of all leaves of args.
        plain: the same function as `forward`, whose gradient JAX is asked for.
        why: JAX cannot be asked, as `plain` may hide the gradient that is checked; "" where it can.
        case, path: for the rows: "train, ties"; where the layer is inside the network.
        dtype: in which the two passes are jitted and compared with float64.
        ties: whether the point has ties and kinks on purpose: then they are checked against the policy that `plain` declares.
        jit: whether it is an error if `backward` does not run under jit.
        quick: whether what is inside is checked by itself too; then fewer directions and one step size do.
        wide: whether the pair holds NumPy arrays of 64 bits itself.
    """

    forward: Forward
    backward: Backward
    args: PyTree
    context: PyTree
    names: Names
    plain: Forward
    why: str = ""
    case: str = ""
    path: str = ""
    dtype: str = "float32"
    ties: bool = False
    jit: bool = False
    quick: bool = False
    wide: bool = False

    @property
    def variables(self) -> list[Variable]:
        """The leaves of args to differentiate by."""
        leaves = zip(self.names.items(), jax.tree.leaves(self.args), strict=True)
        return [Variable(i, name, axes, leaf) for i, ((name, axes), leaf) in enumerate(leaves) if inexact(leaf)]

    def by_variable(self, dargs: PyTree) -> list[np.ndarray]:
        """The leaves of a gradient that belong to the variables."""
        leaves = jax.tree.structure(self.args).flatten_up_to(dargs)
        return [np.asarray(leaves[variable.place]) for variable in self.variables]


# Of a layer


def points_of_layer(layer: Layer, at: Sequence[Any], train: bool, dtype: str, rng: np.random.Generator, path: str = "") -> Iterator[Point]:
    """Where a layer is checked in one mode: what is inside it, from the last to the first as `backward` goes, and itself.

    Args:
        layer: a plain layer or a network.
        at: (params, state, x, key).
        train, dtype, path: of the points.
        rng: for the entries of x, where several of them are equal.
    """
    params, state, x, key = at
    inside = calls(layer, params, state, x, key=key, train=train)
    for i, (inner, *there) in reversed(list(enumerate(inside))):
        yield from points_of_layer(inner, there, train, dtype, rng, " / ".join(filter(None, (path, f"{i} {inner.name}"))))
    modes, wide = _modes(layer, *_shapes(tuple(at)))
    if not train and modes == 1:
        return
    forward, names, case = LayerForward(layer, train), _names({"": params, "x": x}), ("train" if train else "eval") if modes == 2 else ""
    why = "backward is automatic, jax.vjp itself: comparing it with jax.vjp shows nothing" if layer.automatic else ""
    point = Point(forward, layer.backward, (params, x), (state, key), names, forward, why, case, path, dtype=dtype, jit=True, wide=wide)
    if inside:
        yield point._replace(quick=True)
        return
    yield point._replace(args=(params, distinct(x, rng)))
    # multiples of 1/8: sums and products of these are exact, so that what ties, ties in every order of summation
    tied = jax.tree.map(lambda a: np.round(8 * a) / 8, params), np.round(1.5 * (x - x.mean()) / (x.std() or 1.0))
    yield point._replace(args=tied, case=_joined(case, "ties"), ties=True)


def draw(layer: Layer, in_shape: tuple[int, ...], key: Array, batch_size: int, rng: np.random.Generator) -> tuple[PyTree, PyTree, Array]:
    """Params with noise, so that biases are not 0; x; and the state that a step of training leaves."""
    params, state = to_numpy(_init(layer, key, in_shape), "float64")
    params = jax.tree.map(lambda p: p + 0.3 * rng.standard_normal(p.shape), params)
    x = rng.standard_normal((batch_size, *in_shape))
    with jax.enable_x64(True):
        return params, layer.forward(params, state, x, key=key, train=True)[1], x


@partial(jax.jit, static_argnums=(0, 2), compiler_options=QUICKLY)
def _init(layer: Layer, key: Array, in_shape: tuple[int, ...]) -> tuple[PyTree, PyTree]:
    return layer.init(key, in_shape)


def _shapes(tree: PyTree) -> tuple[Any, Any]:
    leaves, structure = jax.tree.flatten(tree)
    return tuple((a.shape, a.dtype) for a in leaves), structure


@lru_cache(maxsize=1024)
def _modes(layer: Layer, shapes: Any, structure: Any) -> Traced:
    """Whether training and evaluation differ, and what they hold."""
    params, state, x, key = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(*s) for s in shapes])
    return trace([LayerForward(layer, train) for train in (True, False)], layer.backward, (params, x), (state, key))


# Of a pair, and of a custom gradient


def point_of_pair(function: Callable, backward: Backward, args: PyTree, dtype: str) -> Point:
    """Where a pair is checked: at its arguments."""
    forward = FunctionForward(function, has_residuals=True, check=object())
    return _point_at(args, dtype, forward, backward, plain=forward)


def point_of_vjp(function: Callable, args: PyTree, dtype: str) -> Point:
    """Where the gradient that JAX has of a function is checked: at its arguments."""
    check, wrapped, why = object(), function, ""
    if isinstance(function, jax.custom_vjp):
        wrapped = function.fun
    else:
        why = "expected a jax.custom_vjp itself, whose own function JAX can differentiate, got one that may hide a custom gradient inside"
    forward, plain = (FunctionForward(f, has_residuals=False, check=check) for f in (function, wrapped))
    return _point_at(args, dtype, forward, Pulled(function, check), plain, why)


def _point_at(args: PyTree, dtype: str, forward: Forward, backward: Backward, plain: Forward, why: str = "") -> Point:
    names, wide = _names({f"args[{i}]": a for i, a in enumerate(args)}), trace([forward] * 2, backward, args, ()).wide
    return Point(forward, backward, args, (), names, plain, why, dtype=dtype, wide=wide)


# Of all


def apart(point: Point, rng: np.random.Generator) -> Point:
    """The point with all entries apart from each other and from 0."""
    args = jax.tree.map(lambda a: distinct(a, rng) if inexact(a) else a, point.args)
    return point._replace(args=args, case=_joined(point.case, "apart"))


def distinct(x: Array, rng: np.random.Generator) -> np.ndarray:
    """x with its entries moved to multiples of (range / size), plus a half, in the order they have (equal ones: at random).

    No two of them tie and none is 0, so that nothing a layer does with them has a kink within a half of that spacing.
    """
    if not x.size:
        return x
    order = np.lexsort((rng.random(x.size), x.ravel()))
    low, spacing = x.min(), (np.ptp(x) or 1.0) / x.size
    values = (np.floor(low / spacing) + 0.5 + np.arange(x.size)) * spacing
    return values[np.argsort(order)].reshape(x.shape)


def _joined(*words: str) -> str:
    return ", ".join(filter(None, words))


def _names(trees: Mapping[str, PyTree]) -> Names:
    names = {}
    for prefix, tree in trees.items():
        for path, leaf in jax.tree.leaves_with_path(tree):
            inner = jax.tree_util.keystr(path, simple=True, separator=".")
            name = ".".join(filter(None, (prefix, inner)))
            conventional = IMAGE if name == "x" else KERNEL if name.split(".")[-1] == "w" else ()
            names[name] = conventional if len(conventional) == leaf.ndim else tuple(f"axis {i}" for i in range(leaf.ndim))
    return names
