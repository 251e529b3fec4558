"""What the experiments on the five tutorials share: the system as written and corrected, and what the tutorial prints beside ours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import tyro

from experiments.harness import Run, SeedsOptions, table
from experiments.system import System, Training, draw, epochs_of, first, parameters, seeds_of, spread, train_seeds
from funcnn import datasets


class Printed(NamedTuple):
    """A figure that the tutorial prints: after which epoch (-1: the last), which of our metrics it is, and its value."""

    epoch: int
    metric: str
    value: str

    def of(self, trained: Training) -> float:
        return trained.history[self.epoch - (self.epoch > 0)][self.metric]


class Tutorial(NamedTuple):
    """One tutorial's system.

    Attributes:
        name: of the experiment.
        as_written, corrected: the systems.
        data: `seed -> data`.
        printed: what the tutorial prints of its own run.
        time: what that run takes, in words.
        classes: their names.
    """

    name: str
    as_written: System
    corrected: System
    data: Callable[[int], datasets.Split]
    printed: Sequence[Printed]
    time: str
    classes: Sequence[str] = tuple(map(str, range(10)))


@dataclass(frozen=True)
class TutorialOptions(SeedsOptions):
    as_written: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """The tutorial's own system, with what is wrong in it; by default the corrected one."""


class Outcome(NamedTuple):
    run: Run
    system: System
    data: datasets.Split
    trainings: list[Training]


def reproduce(tutorial: Tutorial, options: TutorialOptions, seeds: Sequence[int] = ()) -> Outcome:
    """Train the chosen system, once for each seed (by default the options'), print the figures side by side, draw the first."""
    system = tutorial.as_written if options.as_written else tutorial.corrected

    def load(seed: int) -> datasets.Split:
        return first(tutorial.data(seed), 120) if options.smoke else tutorial.data(seed)

    data, seeds, run = load(options.seed), seeds or seeds_of(options), Run(tutorial.name, options)
    epochs = epochs_of(options, system)
    trainings = train_seeds(run, system, lambda seed: data if seed == options.seed else load(seed), seeds, epochs)
    which = "as the tutorial wrote it" if options.as_written else "corrected"
    whole = epochs == system.epochs
    rows = [
        (_words(p), p.value if whole or p.epoch > 0 else "", spread([p.of(t) for t in trainings], p.metric))
        for p in tutorial.printed
        if p.epoch <= epochs
    ]
    if not any(p.metric == "test_accuracy" for p in tutorial.printed):
        rows += [("test accuracy, last epoch", "", spread([t.history[-1]["test_accuracy"] for t in trainings], "accuracy"))]
    seconds = f"{trainings[0].seconds:.1f} s, compiling included"
    rows += [("all its epochs take (first seed)", tutorial.time if whole else "", seconds)]
    table(
        f"{tutorial.name}, {which}: {len(system.layers)} layers, {parameters(trainings[0].ts.params):,} parameters, "
        f"{epochs} epochs of {len(data.train_images) // system.batch_size} steps; mean (range) of {len(seeds)} seeds",
        ("", "the tutorial prints", "here"), rows, text_columns=1,
    )  # fmt: skip
    image, label = data.test_images[0], tutorial.classes[data.test_labels[0]]
    draw(run, system, trainings[0], image, f"{label}, on its way through the network")
    return Outcome(run, system, data, trainings)


def _words(printed: Printed) -> str:
    part, metric = printed.metric.split("_")
    return f"{'test' if part == 'test' else 'training'} {metric}, " + ("last epoch" if printed.epoch < 0 else f"epoch {printed.epoch}")


def finish(outcome: Outcome, options: TutorialOptions, **more: object) -> None:
    """Write results.json and say where everything lies."""
    run, trainings = outcome.run, outcome.trainings
    results = {
        "as_written": options.as_written,
        "parameters": parameters(trainings[0].ts.params),
        "seconds": [t.seconds for t in trainings],
        "last_epochs": [t.history[-1] for t in trainings],
    }
    run.finish({**results, **more})
