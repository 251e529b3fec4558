"""The value that a training is, and what it changes. B examples a batch, N in all."""

import inspect
from collections.abc import Callable
from functools import partial
from math import ceil
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import optax

from funcnn.arguments import check_flag, check_key, check_option
from funcnn.arrays import Array, PyTree
from funcnn.layer import Layer
from funcnn.losses import negative_log_likelihood, softmax_cross_entropy
from funcnn.metrics import accuracy
from funcnn.shown import readable
from funcnn.training.gradients import GRADIENTS, Gradient, Loss
from funcnn.training.monitoring import Metrics, Monitor

Optimizer = optax.GradientTransformation


class Measure(Protocol):
    def __call__(self, outputs: PyTree, targets: PyTree, /) -> Metrics: ...


class Augment(Protocol):
    def __call__(self, key: Array, x: PyTree, /) -> PyTree: ...


class Trainer(NamedTuple):
    """A network and everything that its training depends on, beside the data and the key. Only what is used is checked.

    Attributes:
        net: the network.
        optimizer: from optax; its update may ask for `params`, `value` (the loss), `grad` and `value_fn`, as line searches do. Or
            `steps -> optimizer`, for schedules: `fit` knows how many steps there are, elsewhere `for_steps` says it.
        batch_size: B.
        last_batch: what becomes of the N % B examples at the end of an epoch's order: "drop" leaves them out this time, "wrap"
            fills their batch up from the order's beginning. Either way every step has B examples.
        shuffle: a fresh random order for each epoch, a function of (key, the epoch's first step) alone; or x as it comes.
        augment: `(key, x) -> x`, applied to every batch in training, such as those of `funcnn.augmentation`.
        loss: `(outputs, targets) -> (mean loss, doutputs)`.
        metrics: `(outputs, targets) -> dict` of means, reported beside the loss; by default the accuracy, of a classifier alone.
        gradients: how a batch becomes a gradient: "manual" (`net.backward`), "auto" (`jax.grad` of the plain forward pass), or
            `(net, loss) -> gradient`, such as `microbatched(8)`.
        monitor: what is measured every so many steps, such as `funcnn.checking.monitor()`, and reported too.
        evaluation_batch: how many examples are evaluated at a time.

    Inputs and targets may be any trees of arrays with one leading axis, that of the examples.
    """

    net: Layer
    optimizer: Optimizer | Callable[[int], Optimizer]
    batch_size: int = 32
    last_batch: Literal["drop", "wrap"] = "drop"
    shuffle: bool = True
    augment: Augment | None = None
    loss: Loss = softmax_cross_entropy
    metrics: Measure | None = None
    gradients: Literal["manual", "auto"] | Callable[[Layer, Loss], Gradient] = "manual"
    monitor: Monitor | None = None
    evaluation_batch: int = 500

    def steps_an_epoch(self, examples: int) -> int:
        """How many steps an epoch of N examples has."""
        check_option("training", "batch_size", self.batch_size)
        steps = examples // self.batch_size if self.last_batch == "drop" else ceil(examples / self.batch_size)
        if steps == 0:
            raise ValueError(f'training: expected at least one batch of {self.batch_size}, got {examples} examples; use last_batch="wrap"')
        return steps

    def for_steps(self, steps: int) -> "Trainer":
        """The same with the optimizer of a training of that many steps."""
        if isinstance(self.optimizer, Optimizer):
            return self
        if not callable(self.optimizer) or str(getattr(self.optimizer, "__module__", None)).startswith("optax"):
            got = f"optax.{self.optimizer.__name__} itself; call it" if callable(self.optimizer) else repr(self.optimizer)
            raise TypeError(f"training: expected an optimizer of optax, such as optax.adam(1e-3), or a function of the steps, got {got}")
        return self._replace(optimizer=self.optimizer(steps))

    def measure(self, outputs: PyTree, targets: PyTree) -> Metrics:
        """What `metrics` says; by default the accuracy, where targets are class labels or the loss is the cross-entropy."""
        if self.metrics is not None:
            measured = self.metrics(outputs, targets)
            if not isinstance(measured, dict) or "loss" in measured:
                got = list(measured) if isinstance(measured, dict) else type(measured).__name__
                raise ValueError(f"training: expected metrics to return a dict without 'loss', which is there already, got {got}")
            return measured
        arrays = all(isinstance(tree, np.ndarray | jax.Array) for tree in (outputs, targets))
        classes = arrays and outputs.ndim > 1 and outputs.shape[-1] > 1
        labels = classes and targets.ndim == outputs.ndim - 1 and jnp.issubdtype(targets.dtype, jnp.integer)
        crossed = classes and getattr(self.loss, "func", self.loss) in (softmax_cross_entropy, negative_log_likelihood)
        options = getattr(self.loss, "keywords", {})  # of a functools.partial
        return {"accuracy": accuracy(outputs, targets, ignored_label=options.get("ignored_label"))} if labels or crossed else {}


setattr(Trainer, "__signature__", readable(inspect.signature(Trainer)))  # noqa: B010  (it is no field)


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


def typed(trainer: Trainer) -> Trainer:
    """The trainer, or raise where it is none."""
    if not isinstance(trainer, Trainer):
        raise TypeError(f"training: expected a training.Trainer(net, optimizer, ...), got {type(trainer).__name__}")
    return trainer


def checked(trainer: Trainer) -> Trainer:
    """The trainer, or raise where one of its options is wrong."""
    optimizer = check_options(trainer).optimizer
    if not isinstance(optimizer, Optimizer):
        got = "a function; Trainer.for_steps says of how many steps it is" if callable(optimizer) else type(optimizer).__name__
        raise TypeError(f"training: expected an optimizer of optax, such as optax.adam(1e-3), got {got}")
    return trainer


def check_options(trainer: Trainer) -> Trainer:
    """The trainer, or raise where one of its options is wrong, the optimizer aside."""
    net, gradients = typed(trainer).net, trainer.gradients
    if not isinstance(net, Layer):
        raise TypeError(f"training: expected net to be a layer, such as fn.serial(...), got {type(net).__name__}")
    check_option("training", "batch_size", trainer.batch_size)
    check_option("training", "evaluation_batch", trainer.evaluation_batch)
    if trainer.last_batch not in ("drop", "wrap"):
        raise ValueError(f'training: expected last_batch "drop" or "wrap", got {trainer.last_batch!r}')
    check_flag("training", "shuffle", trainer.shuffle)
    if gradients not in GRADIENTS and not callable(gradients):
        raise ValueError(f'training: expected gradients "manual", "auto" or (net, loss) -> gradient, got {gradients!r}')
    for name, form in (("augment", "(key, x) -> x, such as augmentation.flip()"), ("loss", "(outputs, targets) -> (mean loss, doutputs)"),
                       ("metrics", "(outputs, targets) -> dict")):  # fmt: skip
        value = getattr(trainer, name)
        if not (callable(value) or (value is None and name != "loss")):
            raise ValueError(f"training: expected {name} to be a function {form}, got {value!r}")
    if not (trainer.monitor is None or isinstance(trainer.monitor, Monitor)):
        raise ValueError(f"training: expected monitor to be a training.Monitor, such as checking.monitor(), got {trainer.monitor!r}")
    for name, value in zip(trainer._fields, trainer, strict=True):
        try:
            hash(value)
        except TypeError:
            raise TypeError(f"training: expected {name} to be hashable, as programs are kept for it, got {type(value).__name__}") from None
    return trainer


def init(trainer: Trainer, key: Array, in_shape: Any) -> TrainState:
    """A fresh state on inputs of `in_shape` per example, a tree of shapes for a tree of inputs; its buffers are its own, to be donated."""
    net, optimizer, *_ = checked(trainer)
    shapes, tree = jax.tree.flatten(in_shape, is_leaf=_is_shape)
    shapes = tuple(tuple(shape) if _is_shape(shape) else shape for shape in shapes)
    return jax.tree.map(jnp.copy, _fresh(net, optimizer, check_key("training", key), shapes, tree))


def _is_shape(tree: Any) -> bool:
    return isinstance(tree, tuple | list) and all(isinstance(size, int | np.integer) for size in tree)


@partial(jax.jit, static_argnums=(0, 1, 3, 4))
def _fresh(net: Layer, optimizer: Any, key: Array, shapes: tuple[tuple[int, ...], ...], tree: Any) -> TrainState:
    init_key, train_key = jax.random.split(key)
    params, state = net.init(init_key, jax.tree.unflatten(tree, shapes))
    return TrainState(params, state, optimizer.init(params), train_key, jnp.zeros((), "int32"))
