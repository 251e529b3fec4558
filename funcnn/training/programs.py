"""The compiled programs of a training, as pure functions of arrays: a step, a whole epoch, an evaluation."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from funcnn.arrays import Array, PyTree, wide
from funcnn.losses import pair_of
from funcnn.training.devices import batches, divide, over_any_mesh
from funcnn.training.gradients import GRADIENTS, Gradient
from funcnn.training.monitoring import Metrics, Monitor, looked, scan_and_look
from funcnn.training.trainer import Trainer, TrainState, checked

Program = Callable[[TrainState, PyTree, PyTree], tuple[TrainState, Metrics]]
_LAYERS, _SHUFFLE, _AUGMENT = range(3)  # each draws from a stream of its own


def _key_of(ts: TrainState, stream: int) -> Array:
    """The key for what `stream` draws at this step."""
    return jax.random.fold_in(jax.random.fold_in(ts.key, stream), ts.step)


def gradient_of(trainer: Trainer) -> Gradient:
    """How the trainer makes a gradient of a batch."""
    make = trainer.gradients if callable(trainer.gradients) else GRADIENTS[trainer.gradients]
    return make(trainer.net, trainer.loss)


def make_step(trainer: Trainer) -> Program:
    """A jitted training step.

    Returns:
        `step(train_state, x, targets) -> (train_state, metrics)` for x (B, ...), targets (B, ...). The buffers of the
        state that goes in are donated: use only the one that comes out. A loss of NaN from the first step on means labels
        out of range: inside a compiled program they cannot be refused. A batch that is divided over devices stays so.

    Raises:
        TypeError, ValueError: an option of the trainer that is wrong.
    """
    step, monitor = _step(checked(trainer)), trainer.monitor

    def run(ts: TrainState, x: PyTree, targets: PyTree) -> tuple[TrainState, Metrics]:
        count_examples(x, targets)
        new, metrics = step(ts, x, targets)
        return new, metrics if monitor is None else metrics | looked(monitor, lambda: _look(monitor, trainer, ts, x, targets), ts.step)

    return jax.jit(over_any_mesh(run), donate_argnums=0)


def _look(monitor: Monitor, trainer: Trainer, ts: TrainState, x: PyTree, targets: PyTree) -> Metrics:
    """What the monitor sees before a step."""
    return monitor.measure(trainer.net, trainer.loss, ts.params, ts.state, x, targets, _key_of(ts, _LAYERS))


def _step(trainer: Trainer) -> Program:
    optimizer: Any = trainer.optimizer  # no function of the steps, as it is checked
    net, compute, update = trainer.net, gradient_of(trainer), optax.with_extra_args_support(optimizer).update

    def step(ts: TrainState, x: PyTree, targets: PyTree) -> tuple[TrainState, Metrics]:
        key = _key_of(ts, _LAYERS)
        grads, value, outputs, state = compute(ts.params, ts.state, x, targets, key)

        def value_fn(params: PyTree) -> Array:
            return trainer.loss(net.apply(params, ts.state, x, key=key, train=True)[0], targets)[0]

        updates, opt_state = update(grads, ts.opt_state, ts.params, value=value, grad=grads, value_fn=value_fn)
        params = optax.apply_updates(ts.params, updates)
        return TrainState(params, state, opt_state, ts.key, ts.step + 1), {"loss": value, **trainer.measure(outputs, targets)}

    return step


def make_epoch(trainer: Trainer) -> Program:
    """A jitted pass over all examples: one program, no trip to the host between the steps.

    Returns:
        `epoch(train_state, x, targets) -> (train_state, metrics)` for x (N, ...), targets (N, ...); each metric has one
        entry per step. The buffers of the state that goes in are donated: use only the one that comes out. Where x is on several
        devices, every batch is divided over them, if B is a multiple of their number.

    Raises:
        TypeError, ValueError: an option that is wrong; x and targets of different length; nothing left after dropping.
    """
    return jax.jit(over_any_mesh(epoch_of(checked(trainer))), donate_argnums=0)


def epoch_of(trainer: Trainer) -> Program:
    """The same, not yet compiled."""
    step, monitor = _step(trainer), trainer.monitor

    def epoch(ts: TrainState, x: PyTree, targets: PyTree) -> tuple[TrainState, Metrics]:
        n = count_examples(x, targets)
        steps = trainer.steps_an_epoch(n)
        shuffled = jax.random.permutation(_key_of(ts, _SHUFFLE), n) if trainer.shuffle else jnp.arange(n)
        order = jnp.resize(shuffled, (steps, trainer.batch_size))

        def batch_of(ts, indices):
            inputs, wanted = divide(jax.tree.map(lambda a: jnp.take(a, indices, axis=0, mode="clip"), (x, targets)))
            return (trainer.augment(_key_of(ts, _AUGMENT), inputs) if trainer.augment else inputs), wanted

        def body(ts, indices):
            return step(ts, *batch_of(ts, indices))

        if monitor is None:
            return jax.lax.scan(body, ts, order)

        def look(ts, indices):
            return _look(monitor, trainer, ts, *batch_of(ts, indices))

        return scan_and_look(body, look, ts, order, -ts.step % monitor.every, monitor.every)

    return epoch


def make_evaluate(trainer: Trainer) -> Callable[[PyTree, PyTree, PyTree, PyTree], Metrics]:
    """A jitted evaluation that counts every example exactly once, whatever the batch size; loss and metrics must be means over examples.

    Returns:
        `evaluate(params, state, x, targets) -> metrics`, the means over all N examples. Where x is on several devices, every batch
        is divided over them.

    Raises:
        TypeError, ValueError: an option that is wrong; x and targets of different length, or of none.
    """
    size = checked(trainer).evaluation_batch

    def evaluate(params: PyTree, state: PyTree, x: PyTree, targets: PyTree) -> Metrics:
        n = count_examples(x, targets)
        full = n // size

        def means(batch):
            inputs, wanted = divide(batch)
            outputs, _ = trainer.net.apply(params, state, inputs)
            values = {"loss": pair_of(trainer.loss, outputs, wanted)[0], **trainer.measure(outputs, wanted)}
            return {name: value.astype(wide(value.dtype)) for name, value in values.items()}

        totals = []
        if full:
            shaped = batches(jax.tree.map(lambda a: a[: full * size], (x, targets)), full)
            totals.append(jax.tree.map(lambda m: m.sum(0) * size, jax.lax.map(means, shaped)))
        if n % size:
            rest = means(jax.tree.map(lambda a: a[full * size :], (x, targets)))
            totals.append(jax.tree.map(lambda m: m * (n % size), rest))
        return jax.tree.map(lambda *sums: sum(sums) / n, *totals)

    return jax.jit(over_any_mesh(evaluate, new_state=False))


def count_examples(x: PyTree, targets: PyTree) -> int:
    """N, or raise unless all arrays have that many examples."""
    lengths = {}
    for what, tree in (("x", x), ("targets", targets)):
        for a in jax.tree.leaves(tree):
            if not isinstance(a, np.ndarray | jax.Array) or not a.ndim:
                raise TypeError(f"training: expected {what} to be a NumPy or JAX array of examples, got {type(tree).__name__}")
            lengths.setdefault(what, []).append(a.shape[0])
    sizes = [size for what in ("x", "targets") for size in lengths.get(what, [0])]
    if len(set(sizes)) > 1 or not sizes[0]:
        got = f"{lengths.get('targets', [0])[0]} and {sizes[0]}" if len(sizes) == 2 else f"arrays of {sizes}"
        raise ValueError(f"training: expected as many targets as examples, at least one, got {got}")
    return sizes[0]
