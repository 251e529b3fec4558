"""JAX's reductions, products and windows, in those of ONNX."""

from math import prod
from typing import Any

import numpy as np

from funcnn.interop.onnx_file.graph import ints
from funcnn.interop.onnx_file.moves import padded
from funcnn.interop.onnx_file.terms import Make, Run, Term, full, shape_of


def _reduced(op: str, whole_numbers: bool = False) -> Make:
    """A reduction over axes; of truth values as whole numbers."""

    def made(run: Run, equation: Any, inputs: list[Term]) -> Term:
        from onnx import TensorProto

        x = full(run, equation, inputs)
        x = run.add("Cast", x, to=TensorProto.INT32) if whole_numbers else x
        y = run.add(op, x, ints(*equation.params["axes"]), keepdims=0)
        return Term(run.add("Cast", y, to=TensorProto.BOOL) if whole_numbers else y, shape_of(equation))

    return made


def _arg(op: str) -> Make:
    def made(run: Run, equation: Any, inputs: list[Term]) -> Term:
        from onnx import TensorProto

        (axis,) = equation.params["axes"]
        y = run.add(op, full(run, equation, inputs), axis=axis, keepdims=0)
        return Term(run.add("Cast", y, to=TensorProto.INT32), shape_of(equation))

    return made


def _cumsum(run: Run, equation: Any, inputs: list[Term]) -> Term:
    axis, reverse = np.int64(equation.params["axis"]), int(equation.params["reverse"])
    return Term(run.add("CumSum", full(run, equation, inputs), axis, reverse=reverse), shape_of(equation))


def _dot(run: Run, equation: Any, inputs: list[Term]) -> Term:
    """A matrix product where one factor is a matrix, else the sum that the letters say."""
    (left, right), (left_batch, right_batch) = equation.params["dimension_numbers"]
    a, b = (full(run, equation, inputs, i) for i in (0, 1))
    ranks = [len(v.aval.shape) for v in equation.invars]
    if not left_batch and ranks[0] > 1 and ranks[1] == 2 and tuple(left) == (ranks[0] - 1,):
        return Term(run.add("MatMul", a, b if tuple(right) == (0,) else run.graph.transposed(b, (1, 0))), shape_of(equation))
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    first = [next(letters) for _ in range(ranks[0])]
    shared = dict(zip((*right_batch, *right), (first[i] for i in (*left_batch, *left)), strict=True))
    second = [shared.get(i) or next(letters) for i in range(ranks[1])]
    batch = [first[i] for i in left_batch]
    rest = [c for i, c in enumerate(first) if i not in (*left_batch, *left)] + [c for i, c in enumerate(second) if i not in shared]
    text = f"{''.join(first)},{''.join(second)}->{''.join(batch + rest)}"
    return Term(run.add("Einsum", a, b, equation=text), shape_of(equation))


def _convolution(run: Run, equation: Any, inputs: list[Term]) -> Term:
    o = equation.params
    numbers, ranks = o["dimension_numbers"], len(o["window_strides"])
    if o["batch_group_count"] != 1:
        raise run.error("a convolution with groups of examples")
    x, w = (run.graph.transposed(full(run, equation, inputs, i), order) for i, order in enumerate((numbers.lhs_spec, numbers.rhs_spec)))
    config = [(low, high, dilation - 1) for (low, high), dilation in zip(o["padding"], o["lhs_dilation"], strict=True)]
    pads = [*(low for low, _ in o["padding"]), *(high for _, high in o["padding"])]
    if any(dilation > 1 for dilation in o["lhs_dilation"]) or min(pads, default=0) < 0:
        seen = Term(x, tuple(equation.invars[0].aval.shape[i] for i in numbers.lhs_spec))
        x, pads = run.name(padded(run, seen, [(0, 0, 0), (0, 0, 0), *config], np.float32(0))), [0] * len(pads)
    kernel = [equation.invars[1].aval.shape[i] for i in numbers.rhs_spec[2:]]
    y = run.add(
        "Conv", x, w, kernel_shape=kernel, strides=list(o["window_strides"]), dilations=list(o["rhs_dilation"]), pads=pads,
        group=o["feature_group_count"],
    )  # fmt: skip
    back = [numbers.out_spec.index(i) for i in range(ranks + 2)]
    return Term(run.graph.transposed(y, back), shape_of(equation))


def _window(op: str, fill: float) -> Make:
    """A pool over all axes but two, which come first."""

    def made(run: Run, equation: Any, inputs: list[Term]) -> Term:
        o = equation.params
        sizes = o["window_dimensions"]
        each = list(zip(sizes, o["window_strides"], o["padding"], o["window_dilation"], strict=True))
        alone = [i for i, (k, s, pad, d) in enumerate(each) if k == s == d == 1 and tuple(pad) == (0, 0)][:1]
        alone += [i for i, (k, s, pad, d) in enumerate(each) if k == s == d == 1 and tuple(pad) == (0, 0)][-1:]
        if len(set(alone)) < 2 or any(d != 1 for d in o["base_dilation"]):
            raise run.error("a window over examples or channels too")
        order = [*alone, *(i for i in range(len(sizes)) if i not in alone)]
        pads = [each[i][2] for i in order]
        x = run.graph.transposed(full(run, equation, inputs), order)
        around = ints(*(int(low) for low, _ in pads), *(int(high) for _, high in pads))
        x = run.add("Pad", x, around, np.float32(fill)) if any(map(any, pads)) else x
        inner = [each[i] for i in order[2:]]
        how = {"kernel_shape": [e[0] for e in inner], "strides": [e[1] for e in inner], "dilations": [e[3] for e in inner]}
        y = run.add(op, x, **how)
        y = run.add("Mul", y, np.float32(prod(sizes))) if op == "AveragePool" else y
        return Term(run.graph.transposed(y, np.argsort(order).tolist()), shape_of(equation))

    return made


SUMS: dict[str, Make] = {
    "reduce_sum": _reduced("ReduceSum"),
    "reduce_max": _reduced("ReduceMax"),
    "reduce_min": _reduced("ReduceMin"),
    "reduce_prod": _reduced("ReduceProd"),
    "reduce_and": _reduced("ReduceMin", whole_numbers=True),
    "reduce_or": _reduced("ReduceMax", whole_numbers=True),
    "argmax": _arg("ArgMax"),
    "argmin": _arg("ArgMin"),
    "cumsum": _cumsum,
    "dot_general": _dot,
    "conv_general_dilated": _convolution,
    "reduce_window_max": _window("MaxPool", -np.inf),
    "reduce_window_sum": _window("AveragePool", 0.0),
}
"""By the names that JAX has for them."""
