"""`summary`: a walk through a network that traces each layer and makes no array."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from funcnn.arguments import check_in_shape, check_option, check_returned
from funcnn.arrays import PyTree
from funcnn.combinators import divided, parallel
from funcnn.combinators.inside import check_layers
from funcnn.combinators.wrappers import RecomputeEval, RecomputeTrain, WhenTraining
from funcnn.cpu import cpu_tuning
from funcnn.inspection.sizes import Summary
from funcnn.inspection.traced import Traced, bytes_made, trace
from funcnn.inspection.values import count_parameters
from funcnn.layer import Layer, stateless

DTYPES = ("float16", "bfloat16", "float32", "float64")
RECOMPUTE = (RecomputeTrain, RecomputeEval)
PLATFORMS = ("cpu", "gpu", "tpu")


def summary(
    net: Layer, in_shape: tuple[int, ...], *, batch: int = 1, dtype: str = "float32", train: bool = True, platform: str = "cpu"
) -> Summary:
    """How large a network is, how much it computes and keeps, layer by layer, from shapes alone: `print(fn.summary(net, (32, 32, 3)))`.

    A multiply-add is two operations. Of a convolution counts what its definition takes, whichever algorithm runs: one for each tap that
    meets an input and no padding (tables that count padding too say up to 20 % more). Of max pooling counts a comparison for each entry
    of a window, of other layers what XLA counts in their forward pass and in JAX's gradient of it, where an operation on single numbers
    is half a multiply-add (of a loop it counts one round). So a network's numbers are those of XLA's analysis of the same network made
    of `jax.lax` and differentiated by `jax.grad`. Backward is all gradients, that of the input too, as `backward` computes it.

    Residuals count as they are kept: an array that two layers keep is one in the combinator around them, where parameters take no
    memory of their own. The layers inside a `recompute` say what they keep while its backward pass runs.

    Args:
        net: any layer.
        in_shape: the shape of one example.
        batch: how many examples; multiply-adds, residuals and the choice of algorithms are those of a batch.
        dtype: of the input, the params and the state: "float16", "bfloat16", "float32", "float64".
        train: whether the passes are those of training or of evaluation.
        platform: "cpu", "gpu" or "tpu": for which of them `fn.convolution.auto` chooses.

    Returns:
        A `Summary`: numbers as data; `print` shows them in 80 columns, `rich.print` as a table.

    Raises:
        TypeError, ValueError: no layer, an option out of range, or what the layers raise for such an input.
    """
    check_layers("summary", (net,))
    check_in_shape("summary", in_shape, ("...",))
    batch = check_option("summary", "batch", batch)
    dtype = getattr(dtype, "__name__", str(dtype))
    for what, value, known in (("dtype", dtype, DTYPES), ("platform", platform, PLATFORMS), ("train", train, (True, False))):
        if value not in known:
            raise ValueError(f"summary: expected {what} to be one of {known}, got {value!r}")
    x = jax.ShapeDtypeStruct((batch, *in_shape), dtype)
    with jax.enable_x64(True) if x.dtype.itemsize == 8 else nullcontext():
        with cpu_tuning(False):
            params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), tuple(in_shape)))
        cast = partial(jax.tree.map, lambda a: jax.ShapeDtypeStruct(a.shape, dtype if jnp.issubdtype(a.dtype, jnp.inexact) else a.dtype))
        at = _Passes(bool(train), platform == "cpu", jax.eval_shape(lambda: jax.random.key(0)), {}, {})
        return _visit(at, net, cast(params), cast(state), x)[0]


class _Passes(NamedTuple):
    """What is the same for all layers.

    Attributes:
        train: whether the passes are those of training.
        cpu: whether they are meant for a CPU.
        key: a random key's shape and dtype.
        seen: what was found before, by the layer and the shapes and dtypes it gets: the copies of `repeat` are one layer.
        counted: the multiply-adds of programs that were counted before, by their text.
    """

    train: bool
    cpu: bool
    key: jax.ShapeDtypeStruct
    seen: dict[Any, tuple[Summary, Any]]
    counted: dict[str, int]

    def trace(self, function: Callable, *args: PyTree) -> Traced:
        with cpu_tuning(False):
            return trace(function, *args)

    def count(self, traced: Traced) -> int:
        text = str(traced.program.jaxpr)
        if text not in self.counted:
            self.counted[text] = traced.multiply_adds()
        return self.counted[text]


def _visit(at: _Passes, layer: Layer, params: PyTree, state: PyTree, x: Any) -> tuple[Summary, Any]:
    """The summary of a layer, and its output's shape and dtype."""
    leaves, tree = jax.tree.flatten((params, state, x))
    if (layer, tree, *leaves) not in at.seen:
        at.seen[layer, tree, *leaves] = _look(at, layer, params, state, x)
    return at.seen[layer, tree, *leaves]


def _look(at: _Passes, layer: Layer, params: PyTree, state: PyTree, x: Any) -> tuple[Summary, Any]:
    forward = at.trace(lambda p, s, x, key: layer.forward(p, s, x, key=key, train=at.train), params, state, x, at.key)
    y, _, residuals = check_returned(layer.name, "forward", forward.out)
    lent = [True] * len(jax.tree.leaves((params, state))) + [False, True]  # params, state, x, key
    kept = bytes_made(forward, len(jax.tree.leaves(forward.out[:2])), lent)
    inside, outputs = [], []
    for label, inner, p, s in _inside(layer, params, state, residuals):
        found, out = _visit(at, inner, p, s, outputs[-1] if outputs and layer.in_series else x)
        inside.append(found._replace(name=f"{label}{found.name}"))
        outputs.append(out)
    there, back, algorithm = _work(at, layer, params, state, x, forward, inside, outputs)
    again = isinstance(residuals, RECOMPUTE)
    back += there * again
    name = f"automatic({layer.name})" if layer.automatic else layer.name
    name = f"recompute({name})" if again else name
    return Summary(name, y.shape[1:], count_parameters(params), there, back, kept, algorithm, tuple(inside)), y


def _inside(layer: Layer, params: PyTree, state: PyTree, residuals: PyTree) -> list[tuple[str, Layer, PyTree, PyTree]]:
    """The layers that a layer is made of: what stands before its name, the layer, its params and its state."""
    if layer.name == "when_training" and isinstance(residuals, WhenTraining | RecomputeTrain):
        while layer.call and layer.call.function.__name__ in ("recompute", "with_manual_vjp"):
            layer = layer.call.arguments["layer"]  # what they run in another way
        return [("", layer.call.arguments["layer"], params, state)] if layer.call else []
    if not layer.layers:
        return []
    by_name = layer.divide if layer.name == "named" else None
    labels = [f"{name}: " for name in by_name({name: name for name in params})] if by_name else [""] * len(layer.layers)
    parts = jax.eval_shape(lambda p, s: tuple(divided(layer, params=p, state=s)), params, state)
    return list(zip(labels, layer.layers, *parts, strict=True))


def _work(
    at: _Passes, layer: Layer, params: PyTree, state: PyTree, x: Any, forward: Traced, inside: Sequence[Summary], outputs: Sequence[Any]
) -> tuple[int, int, str]:
    """Multiply-adds of both passes, and whose algorithm."""
    if inside:
        y, _, residuals = forward.out
        there, back = _merging(at, x, outputs, y, residuals) if len(inside) > 1 and not layer.in_series else (0, 0)
        return there + sum(s.multiply_adds_forward for s in inside), back + sum(s.multiply_adds_backward for s in inside), ""
    if layer.work:
        return _asked(at, layer, params, x)
    return *_counted(at, layer, params, state, x, forward), ""


def _counted(at: _Passes, layer: Layer, params: PyTree, state: PyTree, x: Any, forward: Traced) -> tuple[int, int]:
    """What XLA counts in the forward pass and in JAX's gradient of it; where JAX has none, in `backward`."""

    def both(params: PyTree, state: PyTree, x: Any, key: Any, dy: Any) -> Any:
        y, pull, rest = jax.vjp(lambda p, x: _apart(layer.forward(p, state, x, key=key, train=at.train)), params, x, has_aux=True)
        return y, rest, pull(dy)

    y, _, residuals = forward.out
    there = at.count(forward)
    try:
        return there, at.count(at.trace(both, params, state, x, at.key, y)) - there
    except (TypeError, ValueError, NotImplementedError):
        return there, at.count(at.trace(layer.backward, residuals, y))


def _apart(returned: tuple[Any, PyTree, PyTree]) -> tuple[Any, PyTree]:
    y, *rest = returned
    return y, rest


def _asked(at: _Passes, layer: Layer, params: PyTree, x: Any) -> tuple[int, int, str]:
    """What the layer says of its work, asked while JAX traces, so that what it makes for that is no array."""
    answers = []
    with cpu_tuning(at.cpu):
        jax.eval_shape(lambda params, x: answers.append(layer.work(params, x)), params, x)  # pyrefly: ignore
    return answers[0]


IDLE = stateless("idle", lambda params, x: params, lambda dx, dy: (dy, dx), lambda key, in_shape: ())
"""A branch that does nothing: its params are its output and the dx that it will return."""


def _merging(at: _Passes, x: Any, outputs: Sequence[Any], y: Any, residuals: PyTree) -> tuple[int, int]:
    """What layers side by side take beside their own work: what `parallel` does around branches that do nothing."""
    merge = _merge(outputs, y, residuals)
    if merge is None:
        return 0, 0
    branches = parallel(*[IDLE] * len(outputs), merge=merge)
    forward = at.trace(lambda params, x: branches.forward(params, ((),) * len(outputs), x), tuple((out, x) for out in outputs), x)
    return at.count(forward), at.count(at.trace(branches.backward, forward.out[2], y))


def _merge(outputs: Sequence[Any], y: Any, residuals: PyTree) -> Literal["sum", "concatenate", "multiply"] | None:
    """How the outputs of layers side by side become y, as far as their shapes and the residuals tell; None: in no known way."""
    shapes = [out.shape for out in outputs]
    if sum(shape[-1] for shape in shapes) == y.shape[-1] and {shape[:-1] for shape in shapes} == {y.shape[:-1]}:
        return "concatenate"
    if any(len(shape) != len(y.shape) or any(n not in (1, m) for n, m in zip(shape, y.shape, strict=True)) for shape in shapes):
        return None
    kept = [a.shape for a in jax.tree.leaves(residuals[1:])] if isinstance(residuals, tuple) else []
    return "multiply" if kept == shapes or set(shapes) != {y.shape} else "sum"
