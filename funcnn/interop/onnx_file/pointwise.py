"""Activations, products and norms as ONNX has them. H W (or any other number of) spatial axes, C channels."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from funcnn.arrays import Array
from funcnn.interop.onnx_file.graph import Graph, Value, ints
from funcnn.interop.onnx_file.kinds import At


def unchanged(g: Graph, at: At, x: Value) -> Value:
    """In evaluation y = x."""
    return x


def one(op: str, **attributes: Any) -> Callable[[Graph, At, Value], Value]:
    """One node, of x alone."""
    return lambda g, at, x: x.renamed(g.add(op, x.name, **attributes))


def one_of(op: str, **names: str) -> Callable[[Graph, At, Value], Value]:
    """One node, whose attributes are options of the layer, by their names."""
    return lambda g, at, x: x.renamed(g.add(op, x.name, **{attribute: at.options[option] for attribute, option in names.items()}))


def between(low: float, high: float) -> Callable[[Graph, At, Value], Value]:
    return lambda g, at, x: x.renamed(g.add("Clip", x.name, np.float32(low), np.float32(high)))


def over_channels(op: str) -> Callable[[Graph, At, Value], Value]:
    return lambda g, at, x: x.renamed(g.add(op, x.name, axis=x.channel_axis))


def log_sigmoid(g: Graph, at: At, x: Value) -> Value:
    return x.renamed(g.add("Neg", g.add("Softplus", g.add("Neg", x.name))))


def silu(g: Graph, at: At, x: Value) -> Value:
    return x.renamed(g.add("Mul", x.name, g.add("Sigmoid", x.name)))


def prelu(g: Graph, at: At, x: Value) -> Value:
    return x.renamed(g.add("PRelu", x.name, g.beside(at.params["slope"], x)))


def dense(g: Graph, at: At, x: Value) -> Value:
    w, b = at.params["w"], at.params["b"]
    return Value(g.add("Gemm", x.name, w, b), b.shape)


def bias(g: Graph, at: At, x: Value) -> Value:
    return _with(g, "Add", x, at.params["b"])


def scale(g: Graph, at: At, x: Value) -> Value:
    return _with(g, "Mul", x, at.params["scale"])


def _with(g: Graph, op: str, x: Value, a: Array | None) -> Value:
    return x if a is None else x.renamed(g.add(op, x.name, g.beside(a, x)))


def batch_norm(g: Graph, at: At, x: Value) -> Value:
    x, (p, s) = g.channels_first(x), (at.params, at.state)
    y = g.add("BatchNormalization", x.name, p["scale"], p["shift"], s["mean"], s["var"], epsilon=at.options["epsilon"])
    return x.renamed(y)


def _learned(at: At) -> tuple[Array | None, Array | None]:
    """The scale and the shift of a norm, where it has them."""
    return (at.params.get("scale"), at.params.get("shift")) if at.params else (None, None)


def layer_norm(g: Graph, at: At, x: Value) -> Value:
    """The mean is taken off before: onnxruntime takes the variance as a mean of squares less the square of a mean."""
    x, axes = g.channels_last(x), at.options["axes"]
    factor, shift = _learned(at)
    factor = np.ones(x.shape[-axes:], "float32") if factor is None else factor
    above = g.add("Sub", x.name, g.add("ReduceMean", x.name, ints(*range(-axes, 0))))
    return x.renamed(
        g.add("LayerNormalization", above, factor, *([] if shift is None else [shift]), axis=-axes, epsilon=at.options["epsilon"])
    )


def rms_norm(g: Graph, at: At, x: Value) -> Value:
    x, axes = g.channels_last(x), at.options["axes"]
    mean = g.add("ReduceMean", g.add("Mul", x.name, x.name), ints(*range(-axes, 0)))
    root = g.add("Sqrt", g.add("Add", mean, np.float32(at.options["epsilon"])))
    return _with(g, "Mul", x.renamed(g.add("Div", x.name, root)), _learned(at)[0])


def group_norm(g: Graph, at: At, x: Value) -> Value:
    """Every group as one channel, whose positions are all that the group has."""
    x, groups = g.channels_first(x), at.options["groups"]
    return _normalized(g, at, x, groups)


def instance_norm(g: Graph, at: At, x: Value) -> Value:
    return _normalized(g, at, g.channels_first(x), x.shape[-1])


def _normalized(g: Graph, at: At, x: Value, groups: int) -> Value:
    grouped = g.add("Reshape", x.name, ints(0, groups, prod(x.shape) // groups))
    ones, zeros = np.ones(groups, "float32"), np.zeros(groups, "float32")
    y = g.add("InstanceNormalization", grouped, ones, zeros, epsilon=at.options["epsilon"])
    y = x.renamed(g.add("Reshape", y, ints(0, x.shape[-1], *x.spatial)))
    factor, shift = _learned(at)
    return _with(g, "Add", _with(g, "Mul", y, factor), shift)


def local_response_norm(g: Graph, at: At, x: Value) -> Value | None:
    """Over two axes and an odd number of channels, which runtimes ask for."""
    o = at.options
    if len(x.shape) != 3 or o["size"] % 2 == 0:
        return None
    x = g.channels_first(x)
    return x.renamed(g.add("LRN", x.name, size=o["size"], alpha=float(o["alpha"]), beta=float(o["beta"]), bias=float(o["k"])))
