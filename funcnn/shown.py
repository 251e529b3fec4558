"""What a user sees of a layer: the call that made it, as Python, and what it does; never the address of a function."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from textwrap import indent
from types import CellType, FunctionType, ModuleType
from typing import Any, ParamSpec, TypeVar

import numpy as np
from jax.nn import initializers

P = ParamSpec("P")
L = TypeVar("L")
WIDTH = 100
"""Characters from which a call is broken over lines."""


@dataclass(frozen=True, eq=False)
class Call:
    """A call that made something. Equal to itself only, so that comparing and hashing costs nothing, whatever the arguments."""

    function: Callable
    arguments: Mapping[str, Any]

    def __str__(self) -> str:
        return call_text(self.function.__name__, inspect.signature(self.function), self.arguments)


def constructor(make: Callable[P, L]) -> Callable[P, L]:
    """`make`, a function that makes a layer, which then shows as this call in its `repr`; `help` shows no addresses of defaults."""
    signature = inspect.signature(make)

    @wraps(make)
    def made(*args: P.args, **options: P.kwargs) -> L:
        layer: Any = make(*args, **options)
        return layer._replace(call=Call(make, signature.bind(*args, **options).arguments))

    vars(made)["__signature__"] = readable(signature)
    return made


def readable(signature: inspect.Signature) -> inspect.Signature:
    """The signature with functions that are defaults shown by their names."""
    parameters = signature.parameters.values()
    return signature.replace(
        parameters=[p.replace(default=Shown(p.default)) if isinstance(p.default, FunctionType) else p for p in parameters]
    )


class Doc:
    """The documentation of a class whose values have their own: that of the function that made them, or of their two passes."""

    def __init__(self, of_kind: str) -> None:
        self.of_kind = of_kind

    def __get__(self, layer: Any, kind: type | None = None) -> str:
        if layer is None:
            return self.of_kind
        if layer.call:
            return layer.call.function.__doc__ or self.of_kind
        return "\n".join(filter(None, (layer.forward.__doc__, layer.backward.__doc__))) or self.of_kind


class Shown(partial):
    """A function, such as an initialiser, that shows as its name."""

    def __repr__(self) -> str:
        return text(self.func)


def call_text(name: str, signature: inspect.Signature, arguments: Mapping[str, Any]) -> str:
    """The call in Python: of the options those that are not at their defaults."""
    parts = []
    for parameter, value in arguments.items():
        kind, default = signature.parameters[parameter].kind, signature.parameters[parameter].default
        if kind is inspect.Parameter.VAR_POSITIONAL:
            parts += map(text, value)
        elif kind is inspect.Parameter.VAR_KEYWORD:
            parts += (f"{option}={text(v)}" for option, v in value.items())
        elif default is inspect.Parameter.empty and kind is not inspect.Parameter.KEYWORD_ONLY:
            parts.append(text(value))
        elif default is inspect.Parameter.empty or text(value) != text(default):
            parts.append(f"{parameter}={text(value)}")
    return _enclosed(f"{name}(", parts, ")")


def _enclosed(opening: str, parts: Sequence[str], closing: str) -> str:
    """The parts in one line; or, where that is too long, each in a line of its own, those that repeat only once."""
    line = opening + ", ".join(parts) + closing
    if len(line) <= WIDTH and "\n" not in line:
        return line
    lines, i = [], 0
    while i < len(parts):
        period, count = max(repeats(parts[i:]), key=lambda found: (found[1] - 1) * found[0])
        part = parts[i] if count == 1 else _enclosed(f"*{count} * [", parts[i : i + period], "]")
        lines.append(indent(part, "    ") + ",\n")
        i += period * count
    return f"{opening}\n{''.join(lines)}{closing}"


def repeats(parts: Sequence) -> list[tuple[int, int]]:
    """How many parts, and how many times they are there one after the other; one part once where none is twice."""
    found = [(1, 1)]
    for period in range(1, len(parts) // 2 + 1):
        count = 1
        while parts[count * period : (count + 1) * period] == parts[:period]:
            count += 1
        found += [(period, count)] if count > 1 else []
    return found


def text(value: Any) -> str:
    """A value in Python, a function by its name or by the call that made it."""
    if isinstance(value, FunctionType):
        return SHORT.get(_function(value), _function(value))
    if type(value) in (tuple, list):
        opening, closing = ("(", ",)" if len(value) == 1 else ")") if isinstance(value, tuple) else "[]"
        return opening + ", ".join(map(text, value)) + closing
    if isinstance(value, np.generic):
        return repr(value.item())
    if hasattr(value, "shape"):
        return f"<{value.dtype} of shape {value.shape}>"
    return re.sub(r" at 0x\w+", "", repr(value))


def _function(function: Any) -> str:
    """Its name; or, where another one has made it, as initialisers are made, the call of that, as far as it is remembered."""
    *outer, name = function.__qualname__.split(".<locals>.")
    maker = function.__globals__.get(outer[0]) if len(outer) == 1 else None
    if not isinstance(maker, FunctionType):
        return f"{outer[0]}(...)" if outer else name
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    kept = {variable: cell.cell_contents for variable, cell in cells if cell != CellType()}  # not those that are empty
    signature = inspect.signature(maker)
    return call_text(outer[0], signature, {name: kept[name] for name in signature.parameters if name in kept})


def overview(names: Mapping[str, Any]) -> str:
    """What there is in a module, a line each: the name, and the first line of its documentation."""
    public = {n: v for n, v in names.items() if not n.startswith("_") and not isinstance(v, ModuleType)}
    return "\n".join(f"    {n:<22}{(inspect.getdoc(v) or '').partition(chr(10))[0]}" for n, v in public.items())


SHORT = {
    _function(make()): f"{make.__name__}()"
    for make in (
        initializers.he_normal, initializers.he_uniform, initializers.lecun_normal, initializers.lecun_uniform,
        initializers.glorot_normal, initializers.glorot_uniform,
    )
}  # fmt: skip
"""What JAX names: its variance scaling with usual options."""
