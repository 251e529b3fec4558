"""Training as pure functions of arrays: a jitted step, and a whole epoch as one compiled program.

Nothing here is tied to a device: arrays that are sharded over several stay so. B examples a batch, N in all.
"""

from collections.abc import Callable
from functools import partial
from math import ceil
from typing import Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from funcnn.arguments import check_key, check_option
from funcnn.arrays import Array, PyTree, wide
from funcnn.layer import Layer
from funcnn.losses import accuracy, softmax_cross_entropy
from funcnn.microbatches import in_microbatches
from funcnn.monitoring import Metrics as Metrics
from funcnn.monitoring import Monitor as Monitor
from funcnn.monitoring import looked, scan_and_look


class Loss(Protocol):
    def __call__(self, outputs: Array, targets: Array, /) -> tuple[Array, Array]: ...


class Measure(Protocol):
    def __call__(self, outputs: Array, targets: Array, /) -> Metrics: ...


class Augment(Protocol):
    def __call__(self, key: Array, x: Array, /) -> Array: ...


class TrainState(NamedTuple):
    """Everything that training changes, and the key it draws from: a checkpoint of this is a checkpoint of the training.

    `key` stays as it is: what a step draws is a function of (key, step), and an epoch's order of (key, its first step);
    nothing else is remembered, so a training that goes on from a checkpoint sees the batches it would have seen.
    """

    params: PyTree
    state: PyTree
    opt_state: PyTree
    key: Array
    step: Array


def classification(outputs: Array, targets: Array) -> Metrics:
    """What is reported beside the loss by default: the accuracy."""
    return {"accuracy": accuracy(outputs, targets)}


def init(net: Layer, optimizer: optax.GradientTransformation, key: Array, in_shape: tuple[int, ...]) -> TrainState:
    """A fresh state for `net` on inputs of `in_shape` per example; all its buffers are its own, as steps donate them."""
    in_shape = tuple(in_shape) if isinstance(in_shape, list) else in_shape
    return jax.tree.map(jnp.copy, _fresh(net, optimizer, check_key("training", key), in_shape))


@partial(jax.jit, static_argnums=(0, 1, 3))
def _fresh(net: Layer, optimizer: optax.GradientTransformation, key: Array, in_shape: tuple[int, ...]) -> TrainState:
    init_key, train_key = jax.random.split(key)
    params, state = net.init(init_key, in_shape)
    return TrainState(params, state, optimizer.init(params), train_key, jnp.zeros((), "int32"))


_LAYERS, _SHUFFLE, _AUGMENT = range(3)  # each draws from a stream of its own


def _key_of(ts: TrainState, stream: int) -> Array:
    """The key for what `stream` draws at this step."""
    return jax.random.fold_in(jax.random.fold_in(ts.key, stream), ts.step)


def gradients_of(net: Layer, loss: Loss, gradients: Literal["manual", "auto"] = "manual") -> Callable:
    """One forward and one backward pass in training mode.

    Args:
        gradients: "manual" runs `net.backward`, "auto" `jax.grad` of the plain forward pass.

    Returns:
        `(params, state, x, targets, key) -> (grads, loss, outputs, state)`.
    """
    if gradients not in ("manual", "auto"):
        raise ValueError(f'training: expected gradients "manual" or "auto", got {gradients!r}')

    def manual(params, state, x, targets, key):
        outputs, state, residuals = net.forward(params, state, x, key=key, train=True)
        value, doutputs = loss(outputs, targets)
        grads, _ = net.backward(residuals, doutputs)
        grads = jax.tree.map(lambda g, p: g.astype(p.dtype), grads, params)  # as `jax.grad` does
        return grads, value, outputs, state

    def auto(params, state, x, targets, key):
        def value_of(params):
            outputs, new_state = net.apply(params, state, x, key=key, train=True)
            return loss(outputs, targets)[0], (outputs, new_state)

        (value, (outputs, new_state)), grads = jax.value_and_grad(value_of, has_aux=True)(params)
        return grads, value, outputs, new_state

    return manual if gradients == "manual" else auto


def _plain_step(
    net: Layer, optimizer: optax.GradientTransformation, loss: Loss, gradients, metrics: Measure, monitor: Monitor | None,
    microbatches: int, split_statistics: bool,
) -> Callable:  # fmt: skip
    check_option("training", "microbatches", microbatches)
    compute = in_microbatches(gradients_of(net, loss, gradients), microbatches, split_statistics)
    update = optax.with_extra_args_support(optimizer).update

    def step(ts: TrainState, x: Array, targets: Array) -> tuple[TrainState, Metrics]:
        key = _key_of(ts, _LAYERS)
        grads, value, outputs, state = compute(ts.params, ts.state, x, targets, key)

        def value_fn(params: PyTree) -> Array:
            return loss(net.apply(params, ts.state, x, key=key, train=True)[0], targets)[0]

        updates, opt_state = update(grads, ts.opt_state, ts.params, value=value, grad=grads, value_fn=value_fn)
        params = optax.apply_updates(ts.params, updates)
        measured = looked(monitor, ts.step, (ts.params, ts.state, x, targets, key)) if monitor else {}
        return TrainState(params, state, opt_state, ts.key, ts.step + 1), {"loss": value, **metrics(outputs, targets), **measured}

    return step


def make_step(
    net: Layer,
    optimizer: optax.GradientTransformation,
    *,
    loss: Loss = softmax_cross_entropy,
    gradients: Literal["manual", "auto"] = "manual",
    metrics: Measure = classification,
    monitor: Monitor | None = None,
    microbatches: int = 1,
    split_statistics: bool = False,
) -> Callable[[TrainState, Array, Array], tuple[TrainState, Metrics]]:
    """A jitted training step.

    Args:
        net: the network.
        optimizer: from optax; its update may ask for `params`, `value` (the loss), `grad` and `value_fn`, as line searches do.
        loss: `(outputs, targets) -> (mean loss, doutputs)`.
        gradients: "manual" (`net.backward`) or "auto" (`jax.grad` of the plain forward pass).
        metrics: `(outputs, targets) -> dict` of scalars, reported beside the loss.
        monitor: what is measured every so many steps, such as `funcnn.checking.monitor(net)`, and reported too.
        microbatches: into how many parts a batch is divided, whose gradients are summed up one after the other: the same mean
            gradient from that much less memory, which on a CPU then stays in the cache. Dropout draws for each part anew.
        split_statistics: allow this where a layer has a state, such as batch norm: each part is then normalised by itself.

    Returns:
        `step(train_state, x, targets) -> (train_state, metrics)` for x (B, ...), targets (B, ...). The buffers of the
        state that goes in are donated: use only the one that comes out. A loss of NaN from the first step on means labels
        out of range: inside a compiled program they cannot be refused.
    """
    return jax.jit(_plain_step(net, optimizer, loss, gradients, metrics, monitor, microbatches, split_statistics), donate_argnums=0)


def make_epoch(
    net: Layer,
    optimizer: optax.GradientTransformation,
    *,
    batch_size: int,
    last_batch: Literal["drop", "wrap"],
    shuffle: bool = True,
    augment: Augment | None = None,
    loss: Loss = softmax_cross_entropy,
    gradients: Literal["manual", "auto"] = "manual",
    metrics: Measure = classification,
    monitor: Monitor | None = None,
    microbatches: int = 1,
    split_statistics: bool = False,
) -> Callable[[TrainState, Array, Array], tuple[TrainState, Metrics]]:
    """A jitted pass over all examples: one program, no trip to the host between the steps.

    Args:
        batch_size: B.
        last_batch: what becomes of the N % B examples at the end of the order: "drop" leaves them out this time, "wrap"
            fills their batch up from the order's beginning. Either way every step has B examples.
        shuffle: a fresh random order, a function of (key, the epoch's first step) alone; or x as it comes.
        augment: `(key, x) -> x`, applied to every batch (B, ...), such as those of `funcnn.augmentation`.
        net, optimizer, loss, gradients, metrics, monitor, microbatches, split_statistics: as in `make_step`.

    Returns:
        `epoch(train_state, x, targets) -> (train_state, metrics)` for x (N, ...), targets (N, ...); each metric has one
        entry per step. The buffers of the state that goes in are donated: use only the one that comes out.

    Raises:
        ValueError: an option out of range; x and targets of different length; nothing left after dropping.
    """
    check_option("training", "batch_size", batch_size)
    if last_batch not in ("drop", "wrap"):
        raise ValueError(f'training: expected last_batch "drop" or "wrap", got {last_batch!r}')
    if not isinstance(shuffle, bool):
        raise ValueError(f"training: expected shuffle to be True or False, got {shuffle!r}")
    if not (augment is None or callable(augment)):
        raise ValueError(f"training: expected augment to be a function (key, x) -> x, such as augmentation.flip(), got {augment!r}")
    step = _plain_step(net, optimizer, loss, gradients, metrics, None, microbatches, split_statistics)

    def epoch(ts: TrainState, x: Array, targets: Array) -> tuple[TrainState, Metrics]:
        n = _examples(x, targets)
        steps = n // batch_size if last_batch == "drop" else ceil(n / batch_size)
        if steps == 0:
            raise ValueError(f'training: expected at least one batch of {batch_size}, got {n} examples; use last_batch="wrap"')
        shuffled = jax.random.permutation(_key_of(ts, _SHUFFLE), n) if shuffle else jnp.arange(n)
        order = jnp.resize(shuffled, (steps, batch_size))

        def batch_of(ts, indices):
            inputs = jnp.take(x, indices, axis=0, mode="clip")
            inputs = augment(_key_of(ts, _AUGMENT), inputs) if augment else inputs
            return inputs, jnp.take(targets, indices, axis=0, mode="clip")

        def body(ts, indices):
            return step(ts, *batch_of(ts, indices))

        if monitor is None:
            return jax.lax.scan(body, ts, order)

        def look(ts, indices):
            return monitor.measure(ts.params, ts.state, *batch_of(ts, indices), _key_of(ts, _LAYERS))

        return scan_and_look(body, look, ts, order, -ts.step % monitor.every, monitor.every)

    return jax.jit(epoch, donate_argnums=0)


def make_evaluate(
    net: Layer, *, batch_size: int, loss: Loss = softmax_cross_entropy, metrics: Measure = classification
) -> Callable[[PyTree, PyTree, Array, Array], Metrics]:
    """A jitted evaluation that counts every example exactly once, whatever the batch size.

    Args:
        batch_size: how many examples go through the network at a time; a shorter batch at the end is weighted as such.
        net, loss, metrics: as in `make_step`; all must be means over examples.

    Returns:
        `evaluate(params, state, x, targets) -> metrics`, the means over all N examples.

    Raises:
        ValueError: x and targets of different length, or of none.
    """
    check_option("training", "batch_size", batch_size)

    def evaluate(params: PyTree, state: PyTree, x: Array, targets: Array) -> Metrics:
        n = _examples(x, targets)
        full = n // batch_size

        def means(batch):
            inputs, wanted = batch
            outputs, _ = net.apply(params, state, inputs)
            values = {"loss": loss(outputs, wanted)[0], **metrics(outputs, wanted)}
            return {name: value.astype(wide(value.dtype)) for name, value in values.items()}

        totals = []
        if full:
            shaped = jax.tree.map(lambda a: a[: full * batch_size].reshape(full, batch_size, *a.shape[1:]), (x, targets))
            totals.append(jax.tree.map(lambda m: m.sum(0) * batch_size, jax.lax.map(means, shaped)))
        if n % batch_size:
            rest = means((x[full * batch_size :], targets[full * batch_size :]))
            totals.append(jax.tree.map(lambda m: m * (n % batch_size), rest))
        return jax.tree.map(lambda *sums: sum(sums) / n, *totals)

    return jax.jit(evaluate)


def _examples(x: Array, targets: Array) -> int:
    for what, a in (("x", x), ("targets", targets)):
        if not isinstance(a, np.ndarray | jax.Array) or not a.ndim:
            raise TypeError(f"training: expected {what} to be a NumPy or JAX array of examples, got {type(a).__name__}")
    if len(x) != len(targets) or not len(x):
        raise ValueError(f"training: expected as many targets as examples, at least one, got {len(targets)} and {len(x)}")
    return len(x)
