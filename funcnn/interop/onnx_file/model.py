"""From a network to an ONNX file: the walk through its layers, and the file."""

import os
from functools import reduce
from typing import Any

import numpy as np

from funcnn.arrays import PyTree
from funcnn.combinators import named, parallel, recompute, repeat, residual, serial
from funcnn.combinators.inside import divided, say_where
from funcnn.extras import needs_extra
from funcnn.interop.onnx_file.graph import IR_VERSION, OPSET, Graph, Value
from funcnn.interop.onnx_file.kinds import At, kind_of
from funcnn.interop.onnx_file.program import by_program, traced
from funcnn.interop.onnx_file.shapes import Emit
from funcnn.interop.onnx_file.table import TABLE, kind
from funcnn.interop.programs import cast, checked
from funcnn.interop.writing import check_path, write
from funcnn.layer import Layer, with_manual_vjp

MOST = 2**31
"""Bytes from which a file of this format cannot be."""


def to_onnx(net: Layer, params: PyTree, state: PyTree, in_shape: tuple[int, ...], path: str | os.PathLike | None = None) -> Any:
    """The network in evaluation as an ONNX model, for onnxruntime on servers, phones and in browsers, and for whoever else reads ONNX.

        fn.interop.to_onnx(net, params, state, (28, 28, 1), "net.onnx")
        (logits,) = onnxruntime.InferenceSession("net.onnx").run(None, {"x": images})       # in any other process

    Input "x" (N, *in_shape) and output "y" are as in funcnn: float32, channels last, any number N of examples. Inside, channels come
    first, as runtimes want them. A layer is the operation that ONNX has for it. What it has none for, such as a layer of a user's, is
    what JAX traces of it, operation by operation, which is slower: `upsample` by no whole factor, or linear over one or three axes,
    `adaptive_avg_pool` and `adaptive_max_pool` with uneven bins, `local_response_norm` over an even number of channels, `pad` in the
    mode "symmetric", `pixel_unshuffle` "CRD", and these last, like `pixel_shuffle`, over one or three axes. The numbers are those of
    funcnn to 1e-5 of the largest, where float32 has as many digits: runtimes take e^x - 1 of a small x (`elu`, `selu`, `celu`) and the
    powers of a huge one (`lp_pool`) with less care.

    Opset 20, IR 9: what onnxruntime reads from 1.17 on.

    Args:
        net, params, state: any network, and what it has learned; arrays of NumPy or JAX in any floating-point dtype, cast to float32.
        in_shape: the shape of one example.
        path: of the file, which is replaced at once when all is written; None: of none.

    Returns:
        The model, `onnx.ModelProto`, which `onnx.checker` has seen.

    Raises:
        TypeError, ValueError: no layer; params, state or an in_shape that do not fit the network, as its layers say; numbers that
            float32 does not hold; a layer with an operation that ONNX has not (such as a Fourier transform, random numbers, a loop
            whose end its numbers decide) or whose program is another one for every batch size; 2 GB or more.
        OSError: the file cannot be written.
        ModuleNotFoundError: onnx is missing.
    """
    name = "to_onnx"
    in_shape = checked(name, net, in_shape)
    if path is not None:
        check_path(name, path)
    with needs_extra(name, "onnx"):
        import onnx
    params, state = cast(name, "params", params, "float32"), cast(name, "state", state, "float32")
    y, _ = traced(net, params, state, in_shape)  # what does not fit is said by the layers
    g = Graph()
    made = g.channels_last(walk(g, net, params, state, Value("x", in_shape)))
    g.nodes.append(onnx.helper.make_node("Identity", [made.name], ["y"], name="y"))
    if sum(a.nbytes for a in g.constants.values()) >= MOST:
        raise ValueError(f"{name}: expected less than 2 GB of constants, got {sum(a.nbytes for a in g.constants.values())} bytes")
    model = _model(g, in_shape, y.shape)
    onnx.checker.check_model(model, full_check=True)
    if path is not None:
        write(path, model.SerializeToString())
    return model


def _model(g: Graph, in_shape: tuple[int, ...], out_shape: tuple[Any, ...]) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [n if isinstance(n, int) else str(n) for n in shape])
        for name, shape in (("x", ("N", *in_shape)), ("y", out_shape))
    )
    used = {name for node in g.nodes for name in node.input}
    constants = [numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in g.constants.items() if name in used]
    graph = helper.make_graph(g.nodes, "funcnn", [x], [y], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="funcnn")


def walk(g: Graph, layer: Layer, params: PyTree, state: PyTree, x: Value) -> Value:
    """The nodes of a layer: by the table, else by its program."""
    known, options = kind_of(layer, KINDS)
    y = KINDS[known](g, At(layer, options, params, state), x) if known else None
    return by_program(g, layer, params, state, x) if y is None else y


def _inside(g: Graph, at: At, x: Value) -> list[Value]:
    """What each layer of a combinator makes."""
    made = []
    for i, (layer, p, s) in enumerate(zip(at.layer.layers, *divided(at.layer, params=at.params, state=at.state), strict=True)):
        try:
            made.append(walk(g, layer, p, s, made[-1] if made and at.layer.in_series else x))
        except Exception as error:
            say_where(error, at.layer.name, i, layer)
            raise
    return made


def _in_series(g: Graph, at: At, x: Value) -> Value:
    return (_inside(g, at, x) or [x])[-1]


def _in_parallel(g: Graph, at: At, x: Value) -> Value:
    branches, merge = _inside(g, at, x), at.options.get("merge", "sum")
    if any(y.first for y in branches):
        branches = [g.channels_first(y) for y in branches]
    if merge == "concatenate":
        joined = g.add("Concat", *(y.name for y in branches), axis=branches[0].channel_axis)
        return Value(joined, (*branches[0].spatial, sum(y.shape[-1] for y in branches)), branches[0].first)
    name = reduce(lambda a, b: g.add("Add" if merge == "sum" else "Mul", a, b), (y.name for y in branches))
    return Value(name, np.broadcast_shapes(*(y.shape for y in branches)), branches[0].first)


def _of_the_layer(g: Graph, at: At, x: Value) -> Value:
    """What only a backward pass sees is not there."""
    return walk(g, at.options["layer"], at.params, at.state, x)


COMBINATORS: dict[Any, Emit] = {
    **{kind(made): _in_series for made in (serial, named, repeat)},
    **{kind(made): _in_parallel for made in (parallel, residual)},
    **{kind(made): _of_the_layer for made in (recompute, with_manual_vjp)},
}
KINDS = TABLE | COMBINATORS
