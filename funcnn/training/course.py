"""The course of a training on the host: a generator of events. What to do about them is the loop's own business."""

import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from math import ceil
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arguments import check_option
from funcnn.arrays import Array, PyTree
from funcnn.training.devices import over_any_mesh
from funcnn.training.programs import Program, count_examples, epoch_of, make_evaluate
from funcnn.training.trainer import Trainer, TrainState, check_options, checked, init


class Event(NamedTuple):
    """Something that has happened in a training.

    Attributes:
        kind: "epoch", an epoch of training is over; "evaluation", the network was evaluated after it.
        epoch: which one, from 1 on.
        metrics: the means over the epoch's steps, or over all examples that were evaluated, of what is one number.
        train_state: as it is then; it stays valid.
        seconds: that this took, the first time with compiling.
        steps: of an epoch the metrics step by step, NumPy arrays (steps, ...), what a monitor reports among them.
    """

    kind: Literal["epoch", "evaluation"]
    epoch: int
    metrics: dict[str, float]
    train_state: TrainState
    seconds: float
    steps: dict[str, np.ndarray] = {}  # noqa: RUF012  (nobody writes to it)

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name} {value:.4f}" for name, value in self.metrics.items())
        return f"{self.kind} {self.epoch}: {numbers} ({self.seconds:.1f} s)"


def fit(
    trainer: Trainer,
    data: tuple[PyTree, PyTree],
    *,
    epochs: int,
    key: Array | None = None,
    train_state: TrainState | None = None,
    validation: tuple[PyTree, PyTree] | None = None,
) -> Iterator[Event]:
    """Train, an event at a time: leave the loop, and the training stops. Nothing is printed or written.

    Args:
        trainer: what is trained, and how.
        data: (x, targets), N examples each.
        epochs: how many there are in all.
        key: what a fresh state is drawn from.
        train_state: in place of a key, where to go on; epochs that its steps have done are not done again.
        validation: (x, targets) to evaluate on after every epoch.

    Yields:
        An event after each epoch, and one after its evaluation. The same trainer compiles once, for any number of trainings; with
        an optimizer that is a function of the steps, once for each number of them.

    Raises:
        TypeError, ValueError: as `make_epoch`; neither a key nor a state, or both; a state that is not at the end of an epoch.
    """
    if (key is None) == (train_state is None):
        got = "neither" if key is None else "both"
        raise ValueError(f"training: expected either key, for a fresh training, or train_state, to go on, got {got}")
    if not (train_state is None or isinstance(train_state, TrainState)):
        raise TypeError(f"training: expected train_state to be a training.TrainState, got {type(train_state).__name__}")
    pairs = [_pair("data", data), *([] if validation is None else [_pair("validation", validation)])]
    counts = [count_examples(*pair) for pair in pairs]
    each = check_options(trainer).steps_an_epoch(counts[0])
    trainer = _for_steps(trainer, each * check_option("training", "epochs", epochs))
    epoch, evaluate = _programs(checked(trainer))
    data, *held_out = jax.device_put(pairs)
    start = time.perf_counter()
    ts = init(trainer, key, jax.tree.map(lambda a: a.shape[1:], data[0])) if train_state is None else train_state
    if int(ts.step) % each:
        raise ValueError(f"training: expected train_state at the end of an epoch of {each} steps, got it at step {int(ts.step)}")
    left = range(int(ts.step) // each + 1, epochs + 1)
    every = trainer.monitor.every if trainer.monitor else 1
    return _events(lambda ts: epoch(ts, *data), evaluate, ts, left, held_out, every, time.perf_counter() - start)


def _events(
    epoch: Callable, evaluate: Callable, ts: TrainState, left: range, held_out: list[tuple[PyTree, PyTree]], every: int, spent: float
) -> Iterator[Event]:
    start = time.perf_counter() - spent
    for i in left:
        ts, metrics = jax.block_until_ready(epoch(ts))
        seconds, steps = time.perf_counter() - start, {name: np.asarray(values) for name, values in metrics.items()}
        yield Event("epoch", i, _means(steps, every), ts, seconds, steps)
        for x, targets in held_out:
            start = time.perf_counter()
            measured = {name: float(value) for name, value in evaluate(ts.params, ts.state, x, targets).items() if not value.ndim}
            yield Event("evaluation", i, measured, ts, time.perf_counter() - start)
        start = time.perf_counter()


def _pair(name: str, data: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
    if not isinstance(data, tuple | list) or len(data) != 2:
        got = f"{type(data).__name__} of {len(data)}" if isinstance(data, tuple | list) else type(data).__name__
        hint = "; pass data.train" if hasattr(data, "train") else ""
        raise TypeError(f"training: expected {name} to be a pair (x, targets), got {got}{hint}")
    return data[0], data[1]


def _means(steps: dict[str, np.ndarray], every: int) -> dict[str, float]:
    """The means of what has one number a step; not of what a monitor measures at every `every`-th alone, which is NaN at the others."""
    numbers = {name: values for name, values in steps.items() if values.ndim == 1}

    def watched(values: np.ndarray) -> bool:
        missing = np.isnan(values).sum()
        return every > 1 and missing > 0 and missing >= len(values) - ceil(len(values) / every)

    return {name: float(jnp.mean(values)) for name, values in numbers.items() if name == "loss" or not watched(values)}


@lru_cache(maxsize=16)
def _for_steps(trainer: Trainer, steps: int) -> Trainer:
    """One optimizer for a trainer and a number of steps, so that its programs are found again."""
    return trainer.for_steps(steps)


@lru_cache(maxsize=16)
def _programs(trainer: Trainer) -> tuple[Program, Callable]:
    """The trainer's epoch, which donates nothing, so that every event's state stays valid, and its evaluation; the last 16 are kept."""
    return jax.jit(over_any_mesh(epoch_of(trainer))), make_evaluate(trainer)


def stop_early(
    events: Iterable[Event], *, patience: int, metric: str = "loss", best: Literal["smallest", "largest"] = "smallest"
) -> Iterator[Event]:
    """The events, until an evaluation's metric was not better than the best before for `patience` evaluations in a row.

    Raises:
        ValueError: an option out of range; a metric that no evaluation reports.
    """
    check_option("stop_early", "patience", patience)
    if best not in ("smallest", "largest"):
        raise ValueError(f'stop_early: expected best "smallest" or "largest", got {best!r}')
    return _until(events, patience, metric, 1 if best == "smallest" else -1)


def _until(events: Iterable[Event], patience: int, metric: str, sign: int) -> Iterator[Event]:
    reached, waited, before = float("inf"), 0, ""
    for event in events:
        if event.kind == before == "epoch":
            raise ValueError("stop_early: expected an evaluation after every epoch, got none; pass fit(..., validation=(x, targets))")
        before = event.kind
        yield event
        if event.kind != "evaluation":
            continue
        if metric not in event.metrics:
            raise ValueError(f"stop_early: expected a metric of the evaluation, one of {sorted(event.metrics)}, got {metric!r}")
        value = sign * event.metrics[metric]
        reached, waited = (value, 0) if value < reached else (reached, waited + 1)
        if waited == patience:
            return
