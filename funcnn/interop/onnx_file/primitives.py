"""JAX's operations in those of ONNX, one by one."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from jax.lax import GatherScatterMode, RoundingMethod

from funcnn.arrays import Array
from funcnn.interop.onnx_file.graph import LOWEST, Graph, ints


class Term(NamedTuple):
    """What an operation gets: a name in the graph, or a constant; its shape there, in which an axis of size 1 stands for any size."""

    name: str
    shape: tuple[Any, ...]
    value: np.ndarray | None = None

    @classmethod
    def constant(cls, a: Array) -> "Term":
        return cls("", np.shape(a), np.asarray(a))


class Run(NamedTuple):
    """What is the same for a layer: the graph, the layer's name, and N, the symbol."""

    graph: Graph
    layer: str
    n: Any

    def error(self, what: str) -> ValueError:
        return ValueError(f"to_onnx: expected operations that ONNX has, got {what} in the layer {self.layer}; write it by other ones")

    def add(self, op: str, *inputs: Any, **attributes: Any) -> str:
        """A node; terms among its inputs as they are."""
        return self.graph.add(op, *(self.name(a) if isinstance(a, Term) else a for a in inputs), **attributes)

    def name(self, t: Term) -> str:
        return t.name if t.value is None else self.graph.constant(t.value.astype(onnx_dtype(self, "a constant", t.value.dtype)))


DTYPES = {
    **dict.fromkeys(("float32", "bool", "int64"), None),
    **dict.fromkeys(("int8", "int16", "int32", "uint8", "uint16"), "int32"),
}  # fmt: skip
"""Those that runtimes have all operations for, and what stands for the others."""


def onnx_dtype(run: Run, what: str, dtype: Any) -> str:
    if str(dtype) not in DTYPES:
        raise run.error(f"{what} of {dtype}")
    return DTYPES[str(dtype)] or str(dtype)


def sizes_of(run: Run, shape: Sequence[Any]) -> Array | str:
    """A shape as an input: its sizes, of which some are computed from N where they depend on it."""
    if all(isinstance(size, int) for size in shape):
        return ints(*shape)
    parts = []
    for size in shape:
        if isinstance(size, int):
            parts.append(ints(size))
            continue
        slope, start = _linear(run, size)
        n = run.add("Shape", "x", start=0, end=1)
        n = n if slope == 1 else run.add("Mul", n, ints(slope))
        parts.append(n if start == 0 else run.add("Add", n, ints(start)))
    return run.add("Concat", *parts, axis=0)


def _linear(run: Run, size: Any) -> tuple[int, int]:
    """(a, b) of a size a N + b."""
    for slope in range(1, 4097):
        rest = size - slope * run.n
        if isinstance(rest, int):
            return slope, rest
    raise run.error(f"the size {size}")


def whole(run: Run, t: Term, shape: Sequence[Any], dtype: Any) -> str:
    """The name of a term in its full shape."""
    if tuple(t.shape) == tuple(shape):
        return run.name(t)
    if t.value is not None and all(isinstance(size, int) for size in shape):
        return run.name(Term.constant(np.broadcast_to(t.value, shape)))
    return run.add("Expand", t, sizes_of(run, shape))


def _full(run: Run, equation: Any, inputs: Sequence[Term], i: int = 0) -> str:
    aval = equation.invars[i].aval
    return whole(run, inputs[i], aval.shape, aval.dtype)


def _shape(equation: Any) -> tuple[Any, ...]:
    return tuple(equation.outvars[0].aval.shape)


# Number by number

UNARY = {
    "neg": "Neg", "exp": "Exp", "log": "Log", "tanh": "Tanh", "sqrt": "Sqrt", "abs": "Abs", "sign": "Sign", "floor": "Floor", "ceil": "Ceil",
    "logistic": "Sigmoid", "erf": "Erf", "not": "Not", "sin": "Sin", "cos": "Cos", "tan": "Tan", "asin": "Asin", "acos": "Acos",
    "atan": "Atan", "sinh": "Sinh", "cosh": "Cosh", "asinh": "Asinh", "acosh": "Acosh", "atanh": "Atanh", "copy": "Identity",
    "copy_p": "Identity", "stop_gradient": "Identity",
}  # fmt: skip
BINARY = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "max": "Max", "min": "Min", "pow": "Pow", "and": "And", "or": "Or", "xor": "Xor",
    "gt": "Greater", "ge": "GreaterOrEqual", "lt": "Less", "le": "LessOrEqual", "eq": "Equal", "add_any": "Add",
}  # fmt: skip


def joint(inputs: Sequence[Term]) -> tuple[Any, ...]:
    """The shape of what is made of the inputs number by number: of each axis a size that is not 1."""
    rank = max(len(t.shape) for t in inputs)
    shapes = [(1,) * (rank - len(t.shape)) + tuple(t.shape) for t in inputs]
    return tuple(next((s for s in sizes if not (isinstance(s, int) and s == 1)), 1) for sizes in zip(*shapes, strict=True))


def _elementwise(compute: Callable[..., str]) -> Callable[[Run, Any, list[Term]], Term]:
    """An operation of single numbers: `compute(run, equation, *inputs)` is the name of its output."""
    return lambda run, equation, inputs: Term(compute(run, equation, *inputs), joint(inputs))


def _op(op: str) -> Callable[[Run, Any, list[Term]], Term]:
    return _elementwise(lambda run, equation, *inputs: run.add(op, *inputs))


def _not_equal(run: Run, equation: Any, a: Term, b: Term) -> str:
    return run.add("Not", run.add("Equal", a, b))


def _cast(run: Run, equation: Any, a: Term) -> str:
    from onnx import TensorProto

    kind = onnx_dtype(run, "numbers", equation.params["new_dtype"])
    return run.add("Cast", a, to={"float32": TensorProto.FLOAT, "bool": TensorProto.BOOL, "int32": TensorProto.INT32}.get(kind, TensorProto.INT64))


def _select(run: Run, equation: Any, which: Term, *cases: Term) -> str:
    if len(cases) != 2:
        raise run.error(f"a choice among {len(cases)}")
    return run.add("Where", which, cases[1], cases[0])


def _expm1(run: Run, equation: Any, x: Term) -> str:
    """e^x - 1 = tanh(x / 2) (e^x + 1), with all digits where x is small."""
    half = run.add("Tanh", run.add("Mul", x, np.float32(0.5)))
    return run.add("Mul", half, run.add("Add", run.add("Exp", x), np.float32(1)))


def _log1p(run: Run, equation: Any, x: Term) -> str:
    """log(1 + x) = 2 atanh(x / (2 + x)), with all digits where x is small; else the logarithm."""
    small = run.add("Less", run.add("Abs", x), np.float32(0.5))
    near = run.add("Atanh", run.add("Div", x, run.add("Add", x, np.float32(2))))
    return run.add("Where", small, run.add("Mul", near, np.float32(2)), run.add("Log", run.add("Add", x, np.float32(1))))


def _integer_pow(run: Run, equation: Any, x: Term) -> str:
    y = equation.params["y"]
    return run.add("Mul", x, x) if y == 2 else run.add("Pow", x, np.float32(y))


def _round(run: Run, equation: Any, x: Term) -> str:
    if equation.params["rounding_method"] == RoundingMethod.TO_NEAREST_EVEN:
        return run.add("Round", x)
    return run.add("Mul", run.add("Sign", x), run.add("Floor", run.add("Add", run.add("Abs", x), np.float32(0.5))))


# Other shapes


def _broadcast(run: Run, equation: Any, inputs: list[Term]) -> Term:
    """With axes of size 1 where there are new ones; what stands for more of them is not repeated before it must be."""
    t, at = inputs[0], equation.params["broadcast_dimensions"]
    shape = [1] * len(equation.params["shape"])
    for axis, size in zip(at, t.shape, strict=True):
        shape[axis] = size
    return _reshaped(run, t, shape)


def _reshaped(run: Run, t: Term, shape: Sequence[Any]) -> Term:
    """The same numbers in another shape, of which one size may depend on N."""
    shape = tuple(shape)
    if tuple(t.shape) == shape:
        return t
    if t.value is not None:
        return Term.constant(t.value.reshape(shape))
    symbols = [size for size in shape if not isinstance(size, int)]
    sizes = ints(*(size if isinstance(size, int) else -1 for size in shape)) if len(symbols) < 2 else sizes_of(run, shape)
    return Term(run.add("Reshape", t, sizes), shape)


def _reshape(run: Run, equation: Any, inputs: list[Term]) -> Term:
    if equation.params.get("dimensions") is not None:
        raise run.error("a reshape in another order")
    shape = equation.invars[0].aval.shape
    return _reshaped(run, Term(_full(run, equation, inputs), tuple(shape)), _shape(equation))


def _squeeze(run: Run, equation: Any, inputs: list[Term]) -> Term:
    t, gone = inputs[0], equation.params["dimensions"]
    return _reshaped(run, t, [size for axis, size in enumerate(t.shape) if axis not in gone])


def _transpose(run: Run, equation: Any, inputs: list[Term]) -> Term:
    t, order = inputs[0], equation.params["permutation"]
    return Term(run.graph.transposed(run.name(t), order), tuple(t.shape[i] for i in order))


def _concatenate(run: Run, equation: Any, inputs: list[Term]) -> Term:
    parts = [_full(run, equation, inputs, i) for i in range(len(inputs))]
    return Term(run.add("Concat", *parts, axis=equation.params["dimension"]), _shape(equation))


def _pad(run: Run, equation: Any, inputs: list[Term]) -> Term:
    """Rows between the others first, as an axis of their own; then those around, and what is cut."""
    x, config = Term(_full(run, equation, inputs), tuple(equation.invars[0].aval.shape)), equation.params["padding_config"]
    fill = inputs[1]
    for axis, (_, _, between) in enumerate(config):
        if between:
            before, n, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
            apart = _reshaped(run, x, (*before, n, 1, *after))
            pads = ints(*[0] * (len(x.shape) + 1), *(between if i == axis + 1 else 0 for i in range(len(x.shape) + 1)))
            joined = _reshaped(run, Term(run.add("Pad", apart, pads, fill), (*before, n, between + 1, *after)), (*before, n * (between + 1), *after))
            x = _sliced(run, joined, {axis: (0, joined.shape[axis] - between, 1)})
    cut = {
        axis: (max(-low, 0), x.shape[axis] - max(-high, 0), 1) for axis, (low, high, _) in enumerate(config) if low < 0 or high < 0
    }
    x = _sliced(run, x, cut)
    around = [max(int(low), 0) for low, _, _ in config] + [max(int(high), 0) for _, high, _ in config]
    return Term(run.add("Pad", x, ints(*around), fill) if any(around) else x.name, _shape(equation))


def _sliced(run: Run, x: Term, at: dict[int, tuple[Any, Any, int]]) -> Term:
    """(start, end, step) along some axes."""
    if not at:
        return x
    starts, ends, steps = zip(*at.values(), strict=True)
    name = run.add("Slice", x, sizes_of(run, starts), sizes_of(run, ends), ints(*at), ints(*steps))
    shape = tuple(-((at[i][0] - at[i][1]) // at[i][2]) if i in at else size for i, size in enumerate(x.shape))
    return Term(name, shape)


def _slice(run: Run, equation: Any, inputs: list[Term]) -> Term:
    o, shape = equation.params, equation.invars[0].aval.shape
    steps = o["strides"] or (1,) * len(shape)
    each = enumerate(zip(o["start_indices"], o["limit_indices"], steps, strict=True))
    at = {axis: part for axis, part in each if part != (0, shape[axis], 1)}
    x = Term(_full(run, equation, inputs), tuple(shape))
    return Term(_sliced(run, x, at).name, _shape(equation))


def _split(run: Run, equation: Any, inputs: list[Term]) -> list[Term]:
    sizes, axis = equation.params["sizes"], equation.params["axis"]
    made = run.add("Split", _full(run, equation, inputs), ints(*sizes), axis=axis, outputs=len(sizes))
    names = [made] if len(sizes) == 1 else made
    return [Term(name, tuple(v.aval.shape)) for name, v in zip(names, equation.outvars, strict=True)]


def _rev(run: Run, equation: Any, inputs: list[Term]) -> Term:
    axes, x = equation.params["dimensions"], _full(run, equation, inputs)
    count = len(axes)
    return Term(run.add("Slice", x, ints(*[-1] * count), ints(*[LOWEST] * count), ints(*axes), ints(*[-1] * count)), _shape(equation))


def _gather(run: Run, equation: Any, inputs: list[Term]) -> Term:
    """Rows at known places along one axis (`jnp.take`), or one block of known size at a known place."""
    numbers, sizes, shape = equation.params["dimension_numbers"], equation.params["slice_sizes"], equation.invars[0].aval.shape
    x, index = _full(run, equation, inputs), inputs[1].value
    if index is None or numbers.operand_batching_dims or equation.params["mode"] == GatherScatterMode.FILL_OR_DROP:
        raise run.error("an index that it computes, or one beyond an array")
    starts, rows = numbers.start_index_map, np.ndim(index) - 1
    if rows == 0:
        most = [shape[axis] - sizes[axis] for axis in starts]
        first = [int(i) if not isinstance(m, int) else int(np.clip(i, 0, m)) for i, m in zip(index, most, strict=True)]
        block = _sliced(run, Term(x, tuple(shape)), {a: (i, i + sizes[a], 1) for a, i in zip(starts, first, strict=True)})
        return _reshaped(run, block, _shape(equation))
    (axis,) = starts if len(starts) == 1 else (None,)
    others = [a for a in range(len(shape)) if a != axis]
    placed = [a for a in range(len(shape) - 1 + rows) if axis is not None and not axis <= a < axis + rows]
    if numbers.collapsed_slice_dims != (axis,) or list(numbers.offset_dims) != placed or any(sizes[a] != shape[a] for a in others):
        raise run.error("an index along several axes")
    index = np.clip(index[..., 0], 0, shape[axis] - 1).astype("int64")
    return Term(run.add("Gather", x, index, axis=axis), _shape(equation))


# Sums


def _reduced(op: str, whole_numbers: bool = False) -> Callable[[Run, Any, list[Term]], Term]:
    """A reduction over axes; of truth values as whole numbers."""

    def made(run: Run, equation: Any, inputs: list[Term]) -> Term:
        from onnx import TensorProto

        x = _full(run, equation, inputs)
        x = run.add("Cast", x, to=TensorProto.INT32) if whole_numbers else x
        y = run.add(op, x, ints(*equation.params["axes"]), keepdims=0)
        return Term(run.add("Cast", y, to=TensorProto.BOOL) if whole_numbers else y, _shape(equation))

    return made


def _arg(op: str) -> Callable[[Run, Any, list[Term]], Term]:
    def made(run: Run, equation: Any, inputs: list[Term]) -> Term:
        from onnx import TensorProto

        (axis,) = equation.params["axes"]
        y = run.add(op, _full(run, equation, inputs), axis=axis, keepdims=0)
        return Term(run.add("Cast", y, to=TensorProto.INT32), _shape(equation))

    return made


def _cumsum(run: Run, equation: Any, inputs: list[Term]) -> Term:
    axis, reverse = np.int64(equation.params["axis"]), int(equation.params["reverse"])
    return Term(run.add("CumSum", _full(run, equation, inputs), axis, reverse=reverse), _shape(equation))


def _dot(run: Run, equation: Any, inputs: list[Term]) -> Term:
    """A matrix product where one factor is a matrix, else the sum that the letters say."""
    (left, right), (left_batch, right_batch) = equation.params["dimension_numbers"]
    a, b = (_full(run, equation, inputs, i) for i in (0, 1))
    ranks = [len(v.aval.shape) for v in equation.invars]
    if not left_batch and ranks[0] > 1 and ranks[1] == 2 and tuple(left) == (ranks[0] - 1,):
        return Term(run.add("MatMul", a, b if tuple(right) == (0,) else run.graph.transposed(b, (1, 0))), _shape(equation))
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    first = [next(letters) for _ in range(ranks[0])]
    shared = dict(zip((*right_batch, *right), (first[i] for i in (*left_batch, *left)), strict=True))
    second = [shared.get(i) or next(letters) for i in range(ranks[1])]
    batch = [first[i] for i in left_batch]
    rest = [c for i, c in enumerate(first) if i not in (*left_batch, *left)] + [c for i, c in enumerate(second) if i not in shared]
    text = f"{''.join(first)},{''.join(second)}->{''.join(batch + rest)}"
    return Term(run.add("Einsum", a, b, equation=text), _shape(equation))


# Windows


def _convolution(run: Run, equation: Any, inputs: list[Term]) -> Term:
    o = equation.params
    numbers, ranks = o["dimension_numbers"], len(o["window_strides"])
    if o["batch_group_count"] != 1 or any(d != 1 for d in o["lhs_dilation"]):
        raise run.error("a convolution with groups of examples, or with rows between those of its input")
    x, w = (run.graph.transposed(_full(run, equation, inputs, i), order) for i, order in enumerate((numbers.lhs_spec, numbers.rhs_spec)))
    pads = [*(low for low, _ in o["padding"]), *(high for _, high in o["padding"])]
    if min(pads, default=0) < 0:
        raise run.error("a convolution that cuts its input")
    kernel = [equation.invars[1].aval.shape[i] for i in numbers.rhs_spec[2:]]
    y = run.add(
        "Conv", x, w, kernel_shape=kernel, strides=list(o["window_strides"]), dilations=list(o["rhs_dilation"]), pads=pads,
        group=o["feature_group_count"],
    )  # fmt: skip
    back = [numbers.out_spec.index(i) for i in range(ranks + 2)]
    return Term(run.graph.transposed(y, back), _shape(equation))


def _window(op: str, fill: float) -> Callable[[Run, Any, list[Term]], Term]:
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
        x = run.graph.transposed(_full(run, equation, inputs), order)
        around = ints(*(int(low) for low, _ in pads), *(int(high) for _, high in pads))
        x = run.add("Pad", x, around, np.float32(fill)) if any(map(any, pads)) else x
        inner = [each[i] for i in order[2:]]
        how = {"kernel_shape": [e[0] for e in inner], "strides": [e[1] for e in inner], "dilations": [e[3] for e in inner]}
        y = run.add(op, x, **how)
        y = run.add("Mul", y, np.float32(prod(sizes))) if op == "AveragePool" else y
        return Term(run.graph.transposed(y, np.argsort(order).tolist()), _shape(equation))

    return made


PRIMITIVES: dict[str, Callable[[Run, Any, list[Term]], Term | list[Term]]] = {
    **{name: _op(op) for name, op in (UNARY | BINARY).items()},
    "ne": _elementwise(_not_equal),
    "convert_element_type": _elementwise(_cast),
    "select_n": _elementwise(_select),
    "expm1": _elementwise(_expm1),
    "log1p": _elementwise(_log1p),
    "erfc": _elementwise(lambda run, equation, x: run.add("Sub", np.float32(1), run.add("Erf", x))),
    "rsqrt": _elementwise(lambda run, equation, x: run.add("Reciprocal", run.add("Sqrt", x))),
    "square": _elementwise(lambda run, equation, x: run.add("Mul", x, x)),
    "exp2": _elementwise(lambda run, equation, x: run.add("Pow", np.float32(2), x)),
    "integer_pow": _elementwise(_integer_pow),
    "clamp": _elementwise(lambda run, equation, low, x, high: run.add("Min", run.add("Max", x, low), high)),
    "round": _elementwise(_round),
    "rem": _elementwise(lambda run, equation, a, b: run.add("Mod", a, b, fmod=1)),
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "squeeze": _squeeze,
    "transpose": _transpose,
    "concatenate": _concatenate,
    "pad": _pad,
    "slice": _slice,
    "split": _split,
    "rev": _rev,
    "gather": _gather,
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
