"""JAX's operations that move numbers, in those of ONNX."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.lax import GatherScatterMode

from funcnn.interop.onnx_file.graph import LOWEST, ints
from funcnn.interop.onnx_file.terms import Make, Run, Term, full, reshaped, shape_of, sizes_of


def _broadcast(run: Run, equation: Any, inputs: list[Term]) -> Term:
    """With axes of size 1 where there are new ones; what stands for more of them is not repeated before it must be."""
    t, at = inputs[0], equation.params["broadcast_dimensions"]
    shape = [1] * len(equation.params["shape"])
    for axis, size in zip(at, t.shape, strict=True):
        shape[axis] = size
    return reshaped(run, t, shape)


def _reshape(run: Run, equation: Any, inputs: list[Term]) -> Term:
    if equation.params.get("dimensions") is not None:
        raise run.error("a reshape in another order")
    shape = equation.invars[0].aval.shape
    return reshaped(run, Term(full(run, equation, inputs), tuple(shape)), shape_of(equation))


def _squeeze(run: Run, equation: Any, inputs: list[Term]) -> Term:
    t, gone = inputs[0], equation.params["dimensions"]
    return reshaped(run, t, [size for axis, size in enumerate(t.shape) if axis not in gone])


def _size(run: Run, equation: Any, inputs: list[Term]) -> Term:
    """A size that depends on N, as a number."""
    from onnx import TensorProto

    number = run.add("Squeeze", sizes_of(run, [equation.params["dim"]]))
    return Term(run.add("Cast", number, to=TensorProto.INT32), ())


def _transpose(run: Run, equation: Any, inputs: list[Term]) -> Term:
    t, order = inputs[0], equation.params["permutation"]
    return Term(run.graph.transposed(run.name(t), order), tuple(t.shape[i] for i in order))


def _concatenate(run: Run, equation: Any, inputs: list[Term]) -> Term:
    parts = [full(run, equation, inputs, i) for i in range(len(inputs))]
    return Term(run.add("Concat", *parts, axis=equation.params["dimension"]), shape_of(equation))


def _pad(run: Run, equation: Any, inputs: list[Term]) -> Term:
    x = Term(full(run, equation, inputs), tuple(equation.invars[0].aval.shape))
    return padded(run, x, equation.params["padding_config"], inputs[1])


def padded(run: Run, x: Term, config: Sequence[tuple[int, int, int]], fill: Any) -> Term:
    """Rows between the others first, as an axis of their own; then what is cut, and those around."""
    rank, config = len(x.shape), [(int(low), int(high), int(between)) for low, high, between in config]
    for axis, (_, _, between) in enumerate(config):
        if between:
            before, n, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
            apart = reshaped(run, x, (*before, n, 1, *after))
            pads = ints(*[0] * (rank + 1), *(between if i == axis + 1 else 0 for i in range(rank + 1)))
            apart = Term(run.add("Pad", apart, pads, fill), (*before, n, between + 1, *after))
            x = reshaped(run, apart, (*before, n * (between + 1), *after))
            x = _sliced(run, x, {axis: (0, x.shape[axis] - between, 1)})
    cut = {axis: (max(-low, 0), x.shape[axis] - max(-high, 0), 1) for axis, (low, high, _) in enumerate(config) if low < 0 or high < 0}
    x, around = _sliced(run, x, cut), [(max(low, 0), max(high, 0)) for low, high, _ in config]
    if not any(map(any, around)):
        return x
    pads = ints(*(low for low, _ in around), *(high for _, high in around))
    return Term(run.add("Pad", x, pads, fill), tuple(n + low + high for n, (low, high) in zip(x.shape, around, strict=True)))


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
    x = Term(full(run, equation, inputs), tuple(shape))
    return Term(_sliced(run, x, at).name, shape_of(equation))


def _tile(run: Run, equation: Any, inputs: list[Term]) -> Term:
    return Term(run.add("Tile", full(run, equation, inputs), sizes_of(run, equation.params["reps"])), shape_of(equation))


def _split(run: Run, equation: Any, inputs: list[Term]) -> list[Term]:
    sizes, axis = equation.params["sizes"], equation.params["axis"]
    made = run.add("Split", full(run, equation, inputs), ints(*sizes), axis=axis, outputs=len(sizes))
    names = [made] if len(sizes) == 1 else made
    return [Term(name, tuple(v.aval.shape)) for name, v in zip(names, equation.outvars, strict=True)]


def _rev(run: Run, equation: Any, inputs: list[Term]) -> Term:
    axes, x = equation.params["dimensions"], full(run, equation, inputs)
    count = len(axes)
    return Term(run.add("Slice", x, ints(*[-1] * count), ints(*[LOWEST] * count), ints(*axes), ints(*[-1] * count)), shape_of(equation))


def _gather(run: Run, equation: Any, inputs: list[Term]) -> Term:
    """Rows at known places: of one axis (`jnp.take`), or of several apart (`x[:, ::2, ::2]`); or one block at a known place."""
    numbers, sizes, shape = equation.params["dimension_numbers"], equation.params["slice_sizes"], equation.invars[0].aval.shape
    x, index, axes = Term(full(run, equation, inputs), tuple(shape)), inputs[1].value, numbers.start_index_map
    if index is None or numbers.operand_batching_dims:
        raise run.error("an index that it computes")
    ends = [shape[axis] - sizes[axis] for axis in axes]
    if any(not isinstance(end, int) and index[..., i].any() for i, end in enumerate(ends)):
        raise run.error("an index of examples")
    most = np.asarray([end if isinstance(end, int) else 0 for end in ends])
    if equation.params["mode"] == GatherScatterMode.FILL_OR_DROP and ((index < 0) | (index > most)).any():
        raise run.error("an index beyond an array")
    index = np.clip(np.broadcast_to(index, equation.invars[1].aval.shape), 0, most).astype("int64")
    if index.ndim == 1:
        block = {axis: (int(i), int(i) + sizes[axis], 1) for axis, i in zip(axes, index, strict=True)}
        return reshaped(run, _sliced(run, x, block), shape_of(equation))
    single = [axis in numbers.collapsed_slice_dims for axis in axes]
    first = index.reshape(-1, len(axes))[0]
    if (index != first)[..., np.logical_not(single)].any():
        raise run.error("an index of blocks")
    x = _sliced(run, x, {a: (int(i), int(i) + sizes[a], 1) for a, i, alone in zip(axes, first, single, strict=True) if not alone})
    index, axes = index[..., single], [axis for axis, alone in zip(axes, single, strict=True) if alone]
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    rows = _rows_apart(index) if len(axes) > 1 else [index[..., 0].reshape(-1)]
    if rows is None or set(numbers.collapsed_slice_dims) != set(axes):
        raise run.error("an index of single places")
    for axis, places in zip(axes, rows, strict=True):
        x = Term(run.add("Gather", x, places, axis=axis), (*x.shape[:axis], len(places), *x.shape[axis + 1 :]))
    order = [*axes, *kept]  # the rows first, then what is whole, to where the output has them
    moved = Term(run.graph.transposed(x.name, order), tuple(x.shape[axis] for axis in order))
    apart = reshaped(run, moved, (*index.shape[:-1], *(sizes[axis] for axis in kept)))
    firsts = iter(range(index.ndim - 1))
    at = {p: index.ndim - 1 + i for i, p in enumerate(numbers.offset_dims)}
    return Term(
        run.graph.transposed(apart.name, [at[p] if p in at else next(firsts) for p in range(len(shape_of(equation)))]), shape_of(equation)
    )


def _dynamic_slice(run: Run, equation: Any, inputs: list[Term]) -> Term:
    """A block of known size at a known place."""
    shape, sizes = equation.invars[0].aval.shape, equation.params["slice_sizes"]
    if any(t.value is None for t in inputs[1:]):
        raise run.error("an index that it computes")
    at = {}
    for axis, (n, size, t) in enumerate(zip(shape, sizes, inputs[1:], strict=True)):
        start = int(t.value) if not isinstance(n, int) else min(max(int(t.value), 0), n - size)  # pyrefly: ignore
        if start < 0 or (start and not isinstance(n, int)):
            raise run.error("an index of examples")
        at |= {axis: (start, start + size, 1)} if size != n else {}
    return Term(_sliced(run, Term(full(run, equation, inputs), tuple(shape)), at).name, shape_of(equation))


def _rows_apart(index: np.ndarray) -> list[np.ndarray] | None:
    """Of places (P, Q, 2) the rows p and the columns q, where each place is one of either; else None."""
    rank = index.shape[-1]
    rows = [index[(*(slice(None) if i == j else 0 for j in range(rank)), i)] for i in range(rank)] if index.ndim == rank + 1 else []
    return rows if rows and (np.stack(np.meshgrid(*rows, indexing="ij"), -1) == index).all() else None


MOVES: dict[str, Make] = {
    "broadcast_in_dim": _broadcast,
    "reshape": _reshape,
    "squeeze": _squeeze,
    "transpose": _transpose,
    "concatenate": _concatenate,
    "pad": _pad,
    "slice": _slice,
    "tile": _tile,
    "dim_as_value": _size,
    "split": _split,
    "rev": _rev,
    "gather": _gather,
    "dynamic_slice": _dynamic_slice,
}
"""By the names that JAX has for them."""
