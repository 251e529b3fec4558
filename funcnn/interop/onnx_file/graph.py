"""An ONNX graph while it is made. N examples, H W (or any other number of) spatial axes, C channels."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from funcnn.arrays import Array

OPSET, IR_VERSION = 20, 9
"""Of January 2024: what onnxruntime reads from 1.17 on."""
LOWEST = -(2**63) + 1
"""Before the first entry of an axis, for a slice that goes backwards."""


class Value(NamedTuple):
    """What a layer makes: its name in the graph, the shape (H, W, C) of one example, and whether the channels stand first there."""

    name: str
    shape: tuple[int, ...]
    first: bool = False

    def renamed(self, name: str) -> "Value":
        return self._replace(name=name)

    @property
    def spatial(self) -> tuple[int, ...]:
        return self.shape[:-1]

    @property
    def channel_axis(self) -> int:
        return 1 if self.first else len(self.shape)


@dataclass
class Graph:
    """Nodes in their order, and constants by name; `batch` is the name of the number of examples, once it is asked for."""

    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    known: dict[Any, str] = field(default_factory=dict)  # what is there already: constants by their bytes, the other layout of a value

    def add(self, op: str, *inputs: str | Array, outputs: int = 1, **attributes: Any) -> Any:
        """A node of the kind `op`: the name of its output. Arrays among its inputs become constants, "" is an input left out."""
        from onnx import helper

        names = [a if isinstance(a, str) else self.constant(a) for a in inputs]
        made = [f"{op.lower()}_{len(self.nodes)}" + f"_{i}" * (i > 0) for i in range(outputs)]
        self.nodes.append(helper.make_node(op, names, made, name=made[0], **{k: v for k, v in attributes.items() if v is not None}))
        return made[0] if outputs == 1 else made

    def constant(self, array: Array) -> str:
        array = np.asarray(array)
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self.known:
            self.known[key] = f"constant_{len(self.constants)}"
            self.constants[self.known[key]] = array
        return self.known[key]

    def transposed(self, name: str, order: Sequence[int]) -> str:
        """With its axes in another order; what goes there and back is left out."""
        order = tuple(order)
        if order == tuple(range(len(order))):
            return name
        if (name, order) not in self.known:
            self.known[name, order] = self.add("Transpose", name, perm=order)
            self.known[self.known[name, order], tuple(np.argsort(order).tolist())] = name
        return self.known[name, order]

    def channels_first(self, x: Value) -> Value:
        """(N, C, H, W), the layout of ONNX."""
        rank = len(x.shape)
        return x if x.first or rank == 1 else Value(self.transposed(x.name, (0, rank, *range(1, rank))), x.shape, True)

    def channels_last(self, x: Value) -> Value:
        """(N, H, W, C), that of funcnn."""
        rank = len(x.shape)
        return Value(self.transposed(x.name, (0, *range(2, rank + 1), 1)), x.shape) if x.first else x

    def padded(self, x: Value, widths: Sequence[tuple[int, int]], mode: str = "constant", value: float = 0.0) -> Value:
        """With rows around the spatial axes."""
        x = self.channels_first(x)
        if not any(map(any, widths)):
            return x
        pads = ints(0, 0, *(low for low, _ in widths), 0, 0, *(high for _, high in widths))
        name = self.add("Pad", x.name, pads, *([np.float32(value)] if mode == "constant" else []), mode=mode)
        return Value(name, (*(n + low + high for n, (low, high) in zip(x.spatial, widths, strict=True)), x.shape[-1]), True)

    def beside(self, a: Array, x: Value) -> Array:
        """An array whose axes are the last of an example's, in the layout of x: (1, ..., C, 1, 1) or (1, ..., C)."""
        a = np.asarray(a).reshape((1,) * (len(x.shape) + 1 - np.ndim(a)) + np.shape(a))
        return np.moveaxis(a, -1, 1) if x.first else a


def ints(*values: int) -> np.ndarray:
    return np.asarray(values, "int64")
