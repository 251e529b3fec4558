"""Combinators of right layers: copies, branches that multiply, what is made anew."""

from collections.abc import Callable, Iterator
from typing import Any

import jax

import funcnn as fn
from funcnn.arrays import namespace
from funcnn.checking.mutation.mutants import Mutant
from funcnn.combinators.wrappers import RecomputeEval, RecomputeTrain
from funcnn.layer import Layer

IMAGE = (4, 5, 2)
COPIES = fn.repeat(fn.serial(fn.dense(5), fn.tanh), 3)
GATED = fn.parallel(fn.identity, fn.serial(fn.global_avg_pool, fn.dense(2), fn.sigmoid, fn.reshape(1, 1, 2)), merge="multiply")
PRODUCT = fn.parallel(fn.dense(4), fn.dense(4), fn.dense(4), merge="multiply")
NOISY = fn.recompute(fn.serial(fn.dense(6), fn.dropout(0.4)))
NORMED = fn.recompute(fn.serial(fn.conv(3, (3, 3), bias=False), fn.batch_norm()))
NAMED = fn.named(first=fn.dense(5), second=fn.dense(5))
SOMETIMES = fn.when_training(fn.dense(4))


def _backward(right: Layer, change: Callable[[Any, Any, Any, Any], tuple[Any, Any]]) -> Layer:
    """`change(dparams, dx, residuals, dy)` in place of (dparams, dx)."""
    return right._replace(backward=lambda residuals, dy: change(*right.backward(residuals, dy), residuals, dy))


def _given(right: Layer, mislead: Callable[[Any], Any]) -> Layer:
    return right._replace(backward=lambda residuals, dy: right.backward(mislead(residuals), dy))


def _turned(dparams, dx, residuals, dy):
    return jax.tree.map(lambda a: a[::-1], dparams), dx


def _shared(dparams, dx, residuals, dy):
    return jax.tree.map(lambda a: namespace(a).broadcast_to(a.mean(0, keepdims=True), a.shape), dparams), dx


def _forwards(residuals):
    return jax.tree.map(lambda a: a[::-1], residuals)


def _last_missing(dparams, dx, residuals, dy):
    return jax.tree.map(lambda a: namespace(a).concatenate([a[:-1], 0 * a[-1:]]), dparams), dx


def _other_key(residuals):
    return residuals._replace(key=jax.random.fold_in(residuals.key, 1)) if residuals.key is not None else residuals


def _by_running_statistics(residuals):
    return RecomputeEval(*residuals) if isinstance(residuals, RecomputeTrain) else residuals


def _ungated(residuals):
    inner, (x, gate) = residuals
    return inner, (x, 0 * gate + 1)


def _whole_product(residuals):
    inner, outputs = residuals
    return inner, (outputs[0] * outputs[1], *outputs[1:])


def _without_the_gate(dparams, dx, residuals, dy):
    """dx by the first branch alone: dy times the gate."""
    return dparams, dy * residuals[1][1]


def _swapped(dparams, dx, residuals, dy):
    return {"first": dparams["second"], "second": dparams["first"]}, dx


def _as_in_training(right: Layer) -> Layer:
    """Where the layer does nothing, dx as if it did."""

    def backward(residuals, dy):
        dparams, dx = right.backward(residuals, dy)
        return (dparams, dx) if hasattr(residuals, "residuals") else (dparams, 2 * dx)

    return right._replace(backward=backward)


def _mutants() -> Iterator[Mutant]:
    yield Mutant("repeat: the copies' gradients from the last to the first", _backward(COPIES, _turned), COPIES, (5,))
    yield Mutant("repeat: backward from the first copy to the last", _given(COPIES, _forwards), COPIES, (5,))
    yield Mutant("repeat: one gradient for all copies", _backward(COPIES, _shared), COPIES, (5,))
    yield Mutant("repeat: the last copy without a gradient", _backward(COPIES, _last_missing), COPIES, (5,))
    yield Mutant("recompute: another key in the second pass", _given(NOISY, _other_key), NOISY, (4,))
    yield Mutant("recompute: the running statistics in the second pass", _given(NORMED, _by_running_statistics), NORMED, IMAGE)
    yield Mutant("multiply: dx without the gate's own", _backward(GATED, _without_the_gate), GATED, IMAGE)
    yield Mutant("multiply: dy not times the gate", _given(GATED, _ungated), GATED, IMAGE)
    yield Mutant("multiply: a branch's own output in its gradient", _given(PRODUCT, _whole_product), PRODUCT, (3,))
    yield Mutant("named: the gradients under each other's names", _backward(NAMED, _swapped), NAMED, (5,))
    yield Mutant("when_training: in evaluation dx twice", _as_in_training(SOMETIMES), SOMETIMES, (4,))


WRONG = tuple(_mutants())
RIGHT: dict[str, tuple[Layer, tuple[int, ...]]] = {
    "repeat": (COPIES, (5,)), "repeat: residual": (fn.repeat(fn.residual(fn.conv(2, (3, 3)), fn.relu), 2), IMAGE),
    "recompute": (NORMED, IMAGE), "recompute: dropout": (NOISY, (4,)), "parallel: multiply": (PRODUCT, (3,)),
    "parallel: gate": (GATED, IMAGE), "named": (NAMED, (5,)), "when_training": (SOMETIMES, (4,)),
}  # fmt: skip
