"""Layer by layer: the hand-written gradient, `jax.grad` and finite differences beside each other."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from funcnn.arrays import Array, PyTree, to_numpy
from funcnn.checking.oracles import by_vjp, distinct, slope
from funcnn.layer import Layer


class Agreement(NamedTuple):
    """How far the gradient of one leaf, computed by `backward`, is from two others.

    Attributes:
        layer: position and name, "3 conv".
        leaf: an entry of the params, or "x", the layer's input.
        entries: how many numbers the gradient has.
        error: the largest difference from `jax.grad`, relative to that gradient's largest entry.
        ulps: the same difference in float64 units in the last place of the largest entry.
        difference_error: the largest difference from five-point differences along random directions, relative to the
            largest slope among these.
    """

    layer: str
    leaf: str
    entries: int
    error: float
    ulps: float
    difference_error: float


def agreement(
    layers: Sequence[Layer], params: PyTree, state: PyTree, x: Array, *, key: Array, train: bool = True, directions: int = 8
) -> list[Agreement]:
    """Compare the gradients of every layer of `serial(*layers)`, each at the input that it really gets, in float64.

    That input's entries are first moved apart, keeping their order, so that no two tie and none is at a kink, where a
    derivative is a matter of policy and differences mean nothing. The cotangents are random.

    Args:
        layers: the layers in order.
        params, state: those of the network, one entry per layer.
        x: (N, ...), what the network gets.
        key: for the layers that draw random numbers, and for the checks.
        train: the mode.
        directions: along how many random directions per leaf finite differences are taken.
    """
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    params, state, h = to_numpy((params, state, x), "float64")
    rows = []
    for i, (layer, p, s) in enumerate(zip(layers, params, state, strict=True)):
        layer_key = jax.random.fold_in(key, i)
        rows += _compare(f"{i} {layer.name}", layer, (p, distinct(h, rng)), s, layer_key, train, directions, rng)
        h = layer.apply(p, s, h, key=layer_key, train=train)[0]
    return rows


def _compare(label, layer, argument, state, key, train, directions, rng) -> list[Agreement]:
    """The rows of one layer; `argument` is (params, x)."""

    def run(argument):
        return layer.forward(argument[0], state, argument[1], key=key, train=train)

    y, _, residuals = run(argument)
    dy = rng.standard_normal(y.shape)
    manual, tree = jax.tree.flatten_with_path(layer.backward(residuals, dy))
    automatic, values = jax.tree.leaves(by_vjp(lambda a: run(a)[0], argument, dy)), jax.tree.leaves(argument)
    rows = []
    for i, (path, gradient) in enumerate(manual):

        def at(value, i=i):
            return run(jax.tree.unflatten(tree, [*values[:i], value, *values[i + 1 :]]))[0]

        leaf = "x" if path[0].idx else jax.tree_util.keystr(path[1:], simple=True, separator=".")
        largest = np.abs(automatic[i]).max() or 1.0
        error = np.abs(gradient - automatic[i]).max()
        vs = rng.choice([-1.0, 1.0], (directions, *gradient.shape))
        along = np.tensordot(vs, gradient, gradient.ndim)
        slopes = np.asarray([slope(at, values[i], v, dy, step=1e-6) for v in vs])
        difference = np.abs(slopes - along).max() / (np.abs(slopes).max() or 1.0)
        rows.append(Agreement(label, leaf, gradient.size, error / largest, error / np.spacing(largest), difference))
    return rows
