"""Convolutions and pools as ONNX has them, channels first. H W (or any other number of) spatial axes, C channels in, O out."""

from collections.abc import Sequence
from functools import reduce
from math import prod
from typing import Any

import numpy as np

from funcnn.convolution.geometry import Axis, window
from funcnn.convolution.layers import options_of
from funcnn.interop.onnx_file.graph import Graph, Value, ints
from funcnn.interop.onnx_file.kinds import At
from funcnn.pooling.adaptive import Bins
from funcnn.pooling.average import counts

MODES = {"reflect": "reflect", "edge": "edge", "circular": "wrap"}
"""What ONNX calls padding by rows of x itself."""


def _of(axes: Sequence[Axis]) -> dict[str, Any]:
    """What ONNX calls a geometry."""
    pads = [*(a.low for a in axes), *(a.high for a in axes)]
    return {
        "kernel_shape": [a.window for a in axes],
        "strides": [a.stride for a in axes],
        "dilations": [a.dilation for a in axes],
        "pads": pads,
    }


def conv(g: Graph, at: At, x: Value) -> Value:
    o = at.options
    options, mode, around = options_of(o["kernel_size"], o["stride"], o["padding"], o["dilation"])
    x = g.padded(x, around, MODES[mode]) if around else g.channels_first(x)
    axes = options.over(x.spatial).axes
    w = np.moveaxis(at.params["w"], (-1, -2), (0, 1))  # (O, C / G, KH, KW)
    y = g.add("Conv", x.name, w, *([at.params["b"]] if o["bias"] else []), group=o["groups"], **_of(axes))
    return Value(y, (*(a.out for a in axes), o["features"]), True)


def conv_transpose(g: Graph, at: At, x: Value) -> Value | None:
    o, x = at.options, g.channels_first(x)
    options = window("conv_transpose", o["kernel_size"], o["stride"], o["padding"], o["dilation"])
    more = o["output_padding"] if isinstance(o["output_padding"], tuple | list) else [o["output_padding"]] * len(options.sizes)
    axes, beyond = [], []
    for n, a, stride in zip(x.spatial, options.transposed(x.spatial, more).axes, options.strides, strict=True):
        cut = (n - 1) * stride + a.reach - a.low - a.size  # at the end; less than none: rows beyond the last window
        axes, beyond = [*axes, a._replace(stride=stride, high=max(cut, 0))], [*beyond, max(-cut, 0)]
    inside = (*(a.size - more for a, more in zip(axes, beyond, strict=True)), o["features"])
    if min(inside) < 1:  # what is left is nothing but such rows
        return None
    w = np.moveaxis(at.params["w"], (-1, -2), (0, 1))  # (C, F / G, KH, KW)
    y = Value(g.add("ConvTranspose", x.name, w, group=o["groups"], **_of(axes)), inside, True)
    y = g.padded(y, [(0, more) for more in beyond])
    return y.renamed(g.add("Add", y.name, g.beside(at.params["b"], y))) if o["bias"] else y


def _axes(name: str, at: At, x: Value) -> tuple[Axis, ...]:
    o = at.options
    stride = o["window_size"] if o["stride"] is None else o["stride"]
    return window(name, o["window_size"], stride, o["padding"], o["dilation"], o["ceil_mode"]).over(x.spatial).axes


def _pooled(g: Graph, op: str, x: Value, axes: Sequence[Axis], value: float = 0.0, **more: Any) -> Value:
    """A pool; what is padded by a whole window or more is padded before, as runtimes ask for."""
    if any(max(a.low, a.high) >= a.window for a in axes):
        x = g.padded(x, [(a.low, a.high) for a in axes], value=value)
        axes = [a._replace(size=a.low + a.size + a.high, low=0, high=0) for a in axes]
    x = g.channels_first(x)
    return Value(g.add(op, x.name, **_of(axes), **more), (*(a.out for a in axes), x.shape[-1]), True)


def max_pool(g: Graph, at: At, x: Value) -> Value:
    return _pooled(g, "MaxPool", x, _axes("max_pool", at, x), -np.inf)


def avg_pool(g: Graph, at: At, x: Value) -> Value:
    """Where windows count unlike numbers of entries, the mean over all of a window, and what that is of the mean wanted."""
    axes, include = _axes("avg_pool", at, x), at.options["count_include_pad"]
    if not any(a.beyond or max(a.low, a.high) >= a.window for a in axes):
        return _pooled(g, "AveragePool", x, axes, count_include_pad=int(include))
    x = g.padded(x, [(a.low, a.high) for a in axes])
    counted = reduce(np.multiply.outer, [np.asarray(counts(a, include)) for a in axes])  # (P, Q)
    y = _pooled(g, "AveragePool", x, [a._replace(size=a.low + a.size + a.high, low=0, high=0) for a in axes])
    share = prod(a.window for a in axes) / counted[..., None]
    return y.renamed(g.add("Mul", y.name, g.beside(share.astype("float32"), y)))


def lp_pool(g: Graph, at: At, x: Value) -> Value:
    axes, p = _axes("lp_pool", at, x), at.options["p"]
    if float(p).is_integer():
        return _pooled(g, "LpPool", x, axes, p=int(p))
    powers = g.padded(_power(g, x, p), [(a.low, a.high) for a in axes])
    mean = _pooled(g, "AveragePool", powers, [a._replace(size=a.low + a.size + a.high, low=0, high=0) for a in axes])
    total = g.add("Mul", mean.name, np.float32(prod(a.window for a in axes)))
    return mean.renamed(g.add("Pow", total, np.float32(1 / p)))


def _power(g: Graph, x: Value, p: float) -> Value:
    return x.renamed(g.add("Pow", g.add("Abs", x.name), np.float32(p)))


def _adaptive(g: Graph, op: str, at: At, x: Value) -> Value | None:
    """Where all bins are alike, a pool."""
    sizes = at.options["out_sizes"]
    sizes = sizes if isinstance(sizes, tuple | list) else (sizes,) * len(x.spatial)
    bins = [Bins(n, out or n) for n, out in zip(x.spatial, sizes, strict=True)]
    return _pooled(g, op, x, [Axis(b.size, b.most, b.most) for b in bins]) if all(b.even for b in bins) else None


def adaptive_avg_pool(g: Graph, at: At, x: Value) -> Value | None:
    return _adaptive(g, "AveragePool", at, x)


def adaptive_max_pool(g: Graph, at: At, x: Value) -> Value | None:
    return _adaptive(g, "MaxPool", at, x)


def _whole(g: Graph, op: str, x: Value, **more: Any) -> Value:
    return Value(g.add("Flatten", g.add(op, g.channels_first(x).name, **more), axis=1), x.shape[-1:])


def global_avg_pool(g: Graph, at: At, x: Value) -> Value:
    return _whole(g, "GlobalAveragePool", x)


def global_max_pool(g: Graph, at: At, x: Value) -> Value:
    return _whole(g, "GlobalMaxPool", x)


def global_lp_pool(g: Graph, at: At, x: Value) -> Value:
    p = at.options["p"]
    if float(p).is_integer():
        return _whole(g, "GlobalLpPool", x, p=int(p))
    x = g.channels_last(x)
    total = g.add("ReduceSum", _power(g, x, p).name, ints(*range(1, len(x.shape))), keepdims=0)
    return Value(g.add("Pow", total, np.float32(1 / p)), x.shape[-1:])
