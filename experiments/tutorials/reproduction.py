"""A tutorial trained as written or corrected, with what it prints beside ours."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import funcnn as fn
from experiments.common.console import table
from experiments.common.pictures import draw
from experiments.common.run import Run
from experiments.common.trainings import Training, first, spread, train_seeds
from experiments.tutorials.options import TutorialOptions
from funcnn import datasets
from funcnn.training import Trainer


class Printed(NamedTuple):
    """A figure that the tutorial prints: after which epoch (-1: the last), which of our metrics it is, and its value."""

    epoch: int
    metric: str
    value: str

    def of(self, trained: Training) -> float:
        return trained.history[self.epoch - (self.epoch > 0)][self.metric]


class Tutorial(NamedTuple):
    """One tutorial's training.

    Attributes:
        name: of the experiment.
        as_written, corrected: the trainer, and for how many epochs.
        data: `seed -> data`.
        printed: what the tutorial prints of its own run.
        time: what that run takes, in words.
        classes: their names.
    """

    name: str
    as_written: tuple[Trainer, int]
    corrected: tuple[Trainer, int]
    data: Callable[[int], datasets.Split]
    printed: Sequence[Printed]
    time: str
    classes: Sequence[str] = tuple(map(str, range(10)))


class Outcome(NamedTuple):
    run: Run
    trainer: Trainer
    epochs: int
    data: datasets.Split
    trainings: list[Training]


def reproduce(tutorial: Tutorial, options: TutorialOptions, seeds: Sequence[int] = ()) -> Outcome:
    """Train by the chosen trainer, once for each seed (by default the options'), print the figures side by side, draw the first."""
    trainer, default = tutorial.as_written if options.as_written else tutorial.corrected

    def load(seed: int) -> datasets.Split:
        return first(tutorial.data(seed), 120) if options.smoke else tutorial.data(seed)

    data, seeds, run = load(options.seed), seeds or options.seeds, Run(tutorial.name, options)
    epochs = options.epochs_or(default)
    trainings = train_seeds(run, trainer, lambda seed: data if seed == options.seed else load(seed), seeds, epochs)
    outcome = Outcome(run, trainer, epochs, data, trainings)
    _side_by_side(tutorial, outcome, "as the tutorial wrote it" if options.as_written else "corrected", epochs == default)
    draw(run, trainer, trainings[0], data, tutorial.classes, f"{tutorial.classes[data.test_labels[0]]}, on its way through the network")
    return outcome


def _side_by_side(tutorial: Tutorial, outcome: Outcome, which: str, whole: bool) -> None:
    """The table; what the tutorial says of its end stands there only where ours has as many epochs as it should, is `whole`."""
    _, trainer, epochs, data, trainings = outcome
    rows = [
        (_words(p), p.value if whole or p.epoch > 0 else "", spread([p.of(t) for t in trainings], p.metric))
        for p in tutorial.printed
        if p.epoch <= epochs
    ]
    if not any(p.metric == "test_accuracy" for p in tutorial.printed):
        rows += [("test accuracy, last epoch", "", spread([t.test_accuracy for t in trainings]))]
    seconds = f"{trainings[0].seconds:.1f} s, compiling included"
    rows += [("all its epochs take (first seed)", tutorial.time if whole else "", seconds)]
    table(
        f"{tutorial.name}, {which}: {len(trainer.net.layers)} layers, {fn.count_parameters(trainings[0].ts.params):,} parameters, "
        f"{epochs} epochs of {trainer.steps_an_epoch(len(data.train_images))} steps; mean (range) of {len(trainings)} seeds",
        ("", "the tutorial prints", "here"), rows, text_columns=1,
    )  # fmt: skip


def _words(printed: Printed) -> str:
    part, metric = printed.metric.split("_")
    return f"{'test' if part == 'test' else 'training'} {metric}, " + ("last epoch" if printed.epoch < 0 else f"epoch {printed.epoch}")


def finish(outcome: Outcome, options: TutorialOptions, **more: object) -> None:
    """Write results.json and say where everything lies."""
    run, trainings = outcome.run, outcome.trainings
    results = {
        "as_written": options.as_written,
        "parameters": fn.count_parameters(trainings[0].ts.params),
        "seconds": [t.seconds for t in trainings],
        "last_epochs": [t.history[-1] for t in trainings],
    }
    run.finish({**results, **more})
