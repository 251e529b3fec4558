"""JAX's operations of single numbers, in those of ONNX."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.lax import RoundingMethod

from funcnn.interop.onnx_file.terms import BITS, Make, Run, Term, onnx_dtype

UNARY = {
    "neg": "Neg", "exp": "Exp", "log": "Log", "tanh": "Tanh", "sqrt": "Sqrt", "abs": "Abs", "sign": "Sign", "floor": "Floor",
    "ceil": "Ceil",
    "logistic": "Sigmoid", "erf": "Erf", "not": "Not", "sin": "Sin", "cos": "Cos", "tan": "Tan", "asin": "Asin", "acos": "Acos",
    "atan": "Atan", "sinh": "Sinh", "cosh": "Cosh", "asinh": "Asinh", "acosh": "Acosh", "atanh": "Atanh",
}  # fmt: skip
BINARY = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "max": "Max", "min": "Min", "pow": "Pow", "and": "And", "or": "Or",
    "xor": "Xor", "gt": "Greater", "ge": "GreaterOrEqual", "lt": "Less", "le": "LessOrEqual", "eq": "Equal",
}  # fmt: skip


def joint(inputs: Sequence[Term]) -> tuple[Any, ...]:
    """The shape of what is made of the inputs number by number: of each axis a size that is not 1."""
    rank = max(len(t.shape) for t in inputs)
    shapes = [(1,) * (rank - len(t.shape)) + tuple(t.shape) for t in inputs]
    return tuple(next((s for s in sizes if not (isinstance(s, int) and s == 1)), 1) for sizes in zip(*shapes, strict=True))


def _elementwise(compute: Callable[..., str]) -> Make:
    """An operation of single numbers: `compute(run, equation, *inputs)` is the name of its output."""
    return lambda run, equation, inputs: Term(compute(run, equation, *inputs), joint(inputs))


def _op(op: str) -> Make:
    return _elementwise(lambda run, equation, *inputs: run.add(op, *inputs))


def _not_equal(run: Run, equation: Any, a: Term, b: Term) -> str:
    return run.add("Not", run.add("Equal", a, b))


def _cast(run: Run, equation: Any, a: Term) -> str:
    from onnx import TensorProto

    kind = onnx_dtype(run, "numbers", equation.params["new_dtype"])
    return run.add(
        "Cast", a, to={"float32": TensorProto.FLOAT, "bool": TensorProto.BOOL, "int32": TensorProto.INT32}.get(kind, TensorProto.INT64)
    )


def _select(run: Run, equation: Any, inputs: list[Term]) -> Term:
    """A choice; one that is known before, as where an index is no negative one, is made here."""
    which, *cases = inputs
    if which.value is not None and which.value.size and (which.value == which.value.flat[0]).all():
        return cases[int(which.value.flat[0])]
    if len(cases) != 2:
        raise run.error(f"a choice among {len(cases)}")
    return Term(run.add("Where", which, cases[1], cases[0]), joint(inputs))


def _expm1(run: Run, equation: Any, x: Term) -> str:
    """e^x - 1 = tanh(x / 2) (e^x + 1), with all digits where x is small."""
    half = run.add("Tanh", run.add("Mul", x, np.float32(0.5)))
    return run.add("Mul", half, run.add("Add", run.add("Exp", x), np.float32(1)))


def _log1p(run: Run, equation: Any, x: Term) -> str:
    """log(1 + x) = 2 atanh(x / (2 + x)), with all digits where x is small; else the logarithm."""
    small = run.add("Less", run.add("Abs", x), np.float32(0.5))
    near = run.add("Atanh", run.add("Div", x, run.add("Add", x, np.float32(2))))
    return run.add("Where", small, run.add("Mul", near, np.float32(2)), run.add("Log", run.add("Add", x, np.float32(1))))


def _bits(run: Run, equation: Any, inputs: list[Term]) -> Term:
    """There and back, which is all that is possible."""
    x, dtype = inputs[0], equation.params["new_dtype"]
    if x.name.startswith(BITS) and dtype == "float32":
        return x._replace(name=x.name.removeprefix(BITS))
    return x._replace(name=BITS + run.name(x), value=None)


def _integer_pow(run: Run, equation: Any, x: Term) -> str:
    y = equation.params["y"]
    return run.add("Mul", x, x) if y == 2 else run.add("Pow", x, np.float32(y))


def _round(run: Run, equation: Any, x: Term) -> str:
    if equation.params["rounding_method"] == RoundingMethod.TO_NEAREST_EVEN:
        return run.add("Round", x)
    return run.add("Mul", run.add("Sign", x), run.add("Floor", run.add("Add", run.add("Abs", x), np.float32(0.5))))


NUMBERS: dict[str, Make] = {
    **{name: _op(op) for name, op in (UNARY | BINARY).items()},
    "ne": _elementwise(_not_equal),
    "convert_element_type": _elementwise(_cast),
    "select_n": _select,
    "expm1": _elementwise(_expm1),
    "log1p": _elementwise(_log1p),
    "erfc": _elementwise(lambda run, equation, x: run.add("Sub", np.float32(1), run.add("Erf", x))),
    "rsqrt": _elementwise(lambda run, equation, x: run.add("Reciprocal", run.add("Sqrt", x))),
    "square": _elementwise(lambda run, equation, x: run.add("Mul", x, x)),
    "exp2": _elementwise(lambda run, equation, x: run.add("Pow", np.float32(2), x)),
    "bitcast_convert_type": _bits,
    **dict.fromkeys(("copy", "name", "optimization_barrier", "stop_gradient"), lambda run, equation, inputs: inputs),
    "integer_pow": _elementwise(_integer_pow),
    "clamp": _elementwise(lambda run, equation, low, x, high: run.add("Min", run.add("Max", x, low), high)),
    "round": _elementwise(_round),
    "rem": _elementwise(lambda run, equation, a, b: run.add("Mod", a, b, fmod=1)),
}
"""By the names that JAX has for them."""
