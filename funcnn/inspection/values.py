"""Parameters and feature maps: what a network holds, and what its layers make of an input."""

import jax

from funcnn.arrays import Array, PyTree
from funcnn.combinators import calls
from funcnn.layer import Layer


def count_parameters(params: PyTree) -> int:
    """How many numbers there are to learn."""
    return sum(p.size for p in jax.tree.leaves(params))


def stages(net: Layer, params: PyTree, state: PyTree, x: Array) -> list[tuple[str, Array]]:
    """The feature maps of a network in evaluation: the name and the output (N, ...) of each of its layers, after the input.

    Args:
        net: a `serial`, whose layers are looked at one by one; any other layer is one stage.
        params, state: its own.
        x: (N, ...).
    """
    if not net.in_series:
        return [("input", x), (net.name, net.apply(params, state, x)[0])]
    inside = calls(net, params, state, x)
    outputs = [call.x for call in inside[1:]] + [inside[-1].layer.apply(*inside[-1][1:4])[0]] if inside else []
    return [("input", x), *((call.layer.name, y) for call, y in zip(inside, outputs, strict=True))]
