"""Trainings over seeds, by `training.fit`, with a progress bar and a line an epoch in metrics.jsonl; and what is said of their results."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.common.console import progress
from experiments.common.run import Run
from funcnn import datasets, training

Row = dict[str, float]


class Training(NamedTuple):
    """What came out of one training.

    Attributes:
        ts: its state in the end.
        history: a row an epoch, {"epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy"}.
        epoch_seconds: of the training itself, never of evaluating; the first epoch of a trainer's first training compiles.
        steps: the metrics of each epoch step by step, those of a monitor among them.
    """

    ts: training.TrainState
    history: list[Row]
    epoch_seconds: list[float]
    steps: list[dict[str, np.ndarray]]

    @property
    def seconds(self) -> float:
        return sum(self.epoch_seconds)

    @property
    def test_accuracy(self) -> float:
        return self.history[-1]["test_accuracy"]


def train(
    trainer: training.Trainer, data: datasets.Split, seed: int, epochs: int, each: Callable[[Row], Any] = lambda row: None
) -> Training:
    """One training; `each` is called with the metrics of every epoch."""
    ts: Any = None
    history, seconds, steps = list[Row](), list[float](), list[dict[str, np.ndarray]]()
    for event in training.fit(trainer, data.train, epochs=epochs, key=jax.random.key(seed), validation=data.test):
        if event.kind == "epoch":
            history.append({"epoch": event.epoch, **_named("train", event.metrics)})
            ts, seconds, steps = event.train_state, [*seconds, event.seconds], [*steps, event.steps]
        else:
            history[-1] |= _named("test", event.metrics)
            each(history[-1])
    return Training(ts, history, seconds, steps)


def _named(part: str, metrics: Row) -> Row:
    return {f"{part}_{name}": value for name, value in metrics.items()}


def train_seeds(
    run: Run,
    trainer: training.Trainer,
    data_of: Callable[[int], datasets.Split],
    seeds: Sequence[int],
    epochs: int,
    label: str = "",
) -> list[Training]:
    """One training for each seed, with a progress bar over all epochs; each epoch's metrics go into metrics.jsonl."""
    done = []
    with progress(label or run.name, len(seeds) * epochs) as advance:
        for seed in seeds:

            def each(row: Row, seed: int = seed) -> None:
                run.log({"seed": seed, **({"network": label} if label else {}), **row})
                advance(**{"train loss": row["train_loss"], "test accuracy": row["test_accuracy"]})

            done.append(train(trainer, data_of(seed), seed, epochs, each))
    return done


def first(data: datasets.Split, count: int) -> datasets.Split:
    """The first `count` images of either part, for a smoke test."""
    return datasets.Split(*(a[:count] for a in data))


def fingerprint(tree: Any) -> str:
    """The SHA-256 of all arrays of a tree, bit by bit."""
    return hashlib.sha256(b"".join(np.asarray(a).tobytes() for a in jax.tree.leaves(tree))).hexdigest()


def spread(values: Sequence[float], metric: str = "accuracy") -> str:
    """The mean and range of a metric over trainings, accuracies in percent."""
    scale, digits, unit = (100, 2, " %") if "accuracy" in metric else (1, 4, "")
    a = scale * np.asarray(values)
    mean = f"{a.mean():.{digits}f}{unit}"
    return mean if len(a) == 1 else f"{mean} ({a.min():.{digits}f} to {a.max():.{digits}f})"
