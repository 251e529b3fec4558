"""Layers that move numbers, as ONNX has them. H W (or any other number of) spatial axes in, P Q out, C channels."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from funcnn.interop.onnx_file.graph import Graph, Value, ints
from funcnn.interop.onnx_file.kinds import At
from funcnn.interop.onnx_file.windows import MODES


def flatten(g: Graph, at: At, x: Value) -> Value:
    last = x if prod(x.spatial) == 1 else g.channels_last(x)
    return Value(g.add("Flatten", last.name, axis=1), (prod(x.shape),))


def reshape(g: Graph, at: At, x: Value) -> Value:
    sizes = at.options["shape"]
    rest = prod(x.shape) // prod(size for size in sizes if size != -1)
    sizes = tuple(rest if size == -1 else int(size) for size in sizes)
    return Value(g.add("Reshape", g.channels_last(x).name, ints(0, *sizes)), sizes)


def transpose(g: Graph, at: At, x: Value) -> Value:
    axes, x = at.options["axes"], g.channels_last(x)
    return Value(g.transposed(x.name, (0, *(int(a) + 1 for a in axes))), tuple(x.shape[a] for a in axes))


def _widths(value: Any, x: Value) -> list[tuple[int, int]]:
    """(low, high) for each spatial axis."""
    return (
        [(int(low), int(high)) for low, high in value] if isinstance(value, tuple | list) else [(int(value), int(value))] * len(x.spatial)
    )


def pad(g: Graph, at: At, x: Value) -> Value | None:
    mode = MODES.get(at.options["mode"], at.options["mode"])
    return None if mode == "symmetric" else g.padded(x, _widths(at.options["padding"], x), mode, at.options["value"])


def crop(g: Graph, at: At, x: Value) -> Value:
    x = g.channels_first(x)
    kept = [(low, n - high) for n, (low, high) in zip(x.spatial, _widths(at.options["cropping"], x), strict=True)]
    starts, ends = zip(*kept, strict=True)
    name = g.add("Slice", x.name, ints(*starts), ints(*ends), ints(*range(2, 2 + len(kept))))
    return Value(name, (*(end - start for start, end in kept), x.shape[-1]), True)


def upsample(g: Graph, at: At, x: Value) -> Value | None:
    """Where ONNX puts the rows at the very same places: every row as often as any other, or a size that is given or a whole factor."""
    factor, size, method = (at.options[name] for name in ("factor", "size", "method"))
    given = size if factor is None else factor
    values = given if isinstance(given, tuple | list) else (given,) * len(x.spatial)
    if factor is not None and not all(float(v).is_integer() for v in values):
        return None
    outs = [int(v) if factor is None else int(n * v) for n, v in zip(x.spatial, values, strict=True)]
    nearest = method == "nearest"
    if any(out % n for n, out in zip(x.spatial, outs, strict=True)) if nearest else len(outs) != 2:
        return None
    how = "asymmetric" if nearest else "align_corners" if at.options["align_corners"] else "half_pixel"
    x = g.channels_first(x)
    if all(out % n == 0 for n, out in zip(x.spatial, outs, strict=True)):
        amount = [np.asarray([1, 1, *(out // n for n, out in zip(x.spatial, outs, strict=True))], "float32")]
    else:  # a factor that is no whole number is rounded, and so may be the size; `axes` onnxruntime turns around with the layout
        amount = ["", g.add("Concat", g.add("Shape", x.name, start=0, end=1), ints(x.shape[-1], *outs), axis=0)]
    name = g.add(
        "Resize", x.name, "", *amount, coordinate_transformation_mode=how, mode="nearest" if nearest else "linear", nearest_mode="floor"
    )
    return Value(name, (*outs, x.shape[-1]), True)


def pixel_shuffle(g: Graph, at: At, x: Value) -> Value | None:
    if len(x.shape) != 3:
        return None
    (h, w, c), f, x = x.shape, at.options["factor"], g.channels_first(x)
    return Value(g.add("DepthToSpace", x.name, blocksize=f, mode=at.options["order"]), (h * f, w * f, c // f**2), True)


def pixel_unshuffle(g: Graph, at: At, x: Value) -> Value | None:
    if len(x.shape) != 3 or at.options["order"] != "DCR":
        return None
    (h, w, c), f, x = x.shape, at.options["factor"], g.channels_first(x)
    return Value(g.add("SpaceToDepth", x.name, blocksize=f), (h // f, w // f, c * f**2), True)


Emit = Callable[[Graph, At, Value], Value | None]
"""A layer's nodes; None where ONNX has none for such options."""
