"""A look at the training every so many steps, inside the compiled program."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias

import jax
import jax.numpy as jnp

from funcnn.arrays import Array, PyTree

Metrics: TypeAlias = dict[str, Array]


class Measurement(Protocol):
    def __call__(self, net: Any, loss: Any, params: PyTree, state: PyTree, x: PyTree, targets: PyTree, key: Array, /) -> Metrics: ...


class Monitor(NamedTuple):
    """What is measured of a network and its loss at every `every`-th step, such as by `funcnn.checking.monitor`; NaN between."""

    every: int
    measure: Measurement


def looked(monitor: Monitor, measure: Callable[[], Metrics], step: Array) -> Metrics:
    """What the monitor says of this step, or NaN where it is not its turn."""
    nothing = jax.tree.map(lambda a: jnp.full(a.shape, jnp.nan, a.dtype), jax.eval_shape(measure))
    return jax.lax.cond(step % monitor.every == 0, measure, lambda: nothing)


def scan_and_look(body: Callable, look: Callable, carry: PyTree, xs: Array, first: Array, every: int) -> tuple[PyTree, Metrics]:
    """`jax.lax.scan(body, carry, xs)`, with a look before the steps first, first + every and so on.

    The steps between two looks are a loop of their own: a condition in the body would make every step slower by a tenth.

    Args:
        body: `(carry, x) -> (carry, metrics)`, a step.
        look: `(carry, x) -> metrics`, of other names than the body's.
        xs: (steps, ...), one for each step.
        first, every: whole numbers, 0 <= first < every.

    Returns:
        The carry after the last step; the metrics of both, one entry per step, NaN where there was no look.
    """
    steps = len(xs)

    def rows(like: Metrics, fill: float) -> Metrics:
        return jax.tree.map(lambda a: jnp.full((steps, *a.shape), fill, a.dtype), like)

    def put(table: Metrics, row: Metrics, i: Array) -> Metrics:
        return jax.tree.map(lambda column, value: column.at[i].set(value), table, row)

    def step(i: Array, at: tuple) -> tuple:
        carry, row = body(at[0], xs[i])
        return carry, put(at[1], row, i)

    def stretch(j: Array, at: tuple) -> tuple:
        carry, done, seen = at
        start = first + (j - 1) * every
        seen = jax.lax.cond((start >= 0) & (start < steps), lambda: put(seen, look(carry, xs[start]), start), lambda: seen)
        carry, done = jax.lax.fori_loop(jnp.maximum(start, 0), jnp.minimum(start + every, steps), step, (carry, done))
        return carry, done, seen

    one, other = jax.eval_shape(lambda: (body(carry, xs[0])[1], look(carry, xs[0])))
    carry, done, seen = jax.lax.fori_loop(0, steps // every + 2, stretch, (carry, rows(one, 0), rows(other, jnp.nan)))
    return carry, done | seen
