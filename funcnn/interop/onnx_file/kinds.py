"""What kind of layer one is, and with which options it was made: read from the call that made it, never guessed from its name."""

import inspect
from collections.abc import Mapping
from types import FunctionType
from typing import Any, NamedTuple

from funcnn.arrays import PyTree
from funcnn.layer import Layer


class At(NamedTuple):
    """A layer of a known kind: its options, defaults too, and what it has learned, in float32 on NumPy."""

    layer: Layer
    options: Mapping[str, Any]
    params: PyTree
    state: PyTree


def kind_of(layer: Layer, known: Mapping[Any, Any]) -> tuple[Any, dict[str, Any]]:
    """(kind, options): the one of the `known` kinds that a layer is, or None.

    A layer without options is its own kind, told by its forward pass; another one is of the kind of the function that made it. A
    function that only calls another one, such as `networks.lenet5` a `serial`, is called again to see which. What makes a layer of a
    forward pass that is not the call's (`layer._replace(forward=...)`) is of no kind.
    """
    if layer.forward in known:
        return layer.forward, {}
    call = layer.call
    while call:
        bound = inspect.BoundArguments(inspect.signature(call.function), dict(call.arguments))  # pyrefly: ignore
        bound.apply_defaults()
        again = call.function(*bound.args, **bound.kwargs)
        if not _same(again.forward, layer.forward):
            break
        if call.function in known:
            return call.function, dict(bound.arguments)
        if again.forward in known:
            return again.forward, {}
        call = again.call
    return None, {}


def _same(f: Any, g: Any, deep: int = 1) -> bool:
    """Whether two functions are made by one text, and so are the functions that they keep."""
    if not isinstance(f, FunctionType) or not isinstance(g, FunctionType) or f.__code__ is not g.__code__:
        return f is g
    cells = zip(f.__closure__ or (), g.__closure__ or (), strict=True)
    pairs = [(a.cell_contents, b.cell_contents) for a, b in cells] if deep else []
    return all(_same(a, b, deep - 1) for a, b in pairs if isinstance(a, FunctionType) or isinstance(b, FunctionType))
