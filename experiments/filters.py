"""What training makes of random filters: pictures before and after, and what the untrained ones are worth, on MNIST. Takes 2 min.

Claim: a network whose filters are left as they were drawn, and whose dense layer alone is trained, misreads twice as many digits.
Measured on 2 cores (Xeon with AVX-512), `.venv/bin/python -m experiments filters`, one seed: 97.88 % of the test digits against 99.08 %.
Theme: first steps.
"""

from dataclasses import dataclass

import optax

import funcnn as fn
from experiments.common.console import table
from experiments.common.optimizers import one_cycle
from experiments.common.options import SeedsOptions
from experiments.common.pictures import maps
from experiments.common.run import Run
from experiments.common.trainings import first, spread, train_seeds
from funcnn import datasets, figures
from funcnn.training import Trainer

LAYERS = (
    fn.conv(16, (5, 5)), fn.relu, fn.max_pool((2, 2)),
    fn.conv(32, (5, 5)), fn.relu, fn.max_pool((2, 2)),
    fn.flatten, fn.dense(10),
)  # fmt: skip


def last_layer_only(steps: int) -> optax.GradientTransformation:
    """What `one_cycle` does, to the dense layer alone."""
    labels = tuple("train" if layer.name == "dense" else "leave" for layer in LAYERS)
    return optax.multi_transform({"train": one_cycle(3e-3)(steps), "leave": optax.set_to_zero()}, labels)


TRAINERS = {
    "filters as drawn": Trainer(fn.serial(*LAYERS), last_layer_only, batch_size=32),
    "filters trained": Trainer(fn.serial(*LAYERS), one_cycle(3e-3), batch_size=32),
}
EPOCHS = 2


@dataclass(frozen=True)
class Config(SeedsOptions):
    runs: int = 1
    """How many trainings of each: with --seed, --seed + 1 and so on."""


def main(options: Config) -> None:
    data, run = datasets.mnist(), Run("filters", options)
    data, accuracies = first(data, 128) if options.smoke else data, {}
    for label, trainer in TRAINERS.items():
        trainings = train_seeds(run, trainer, lambda seed: data, options.seeds, options.epochs_or(EPOCHS), label)
        accuracies[label] = [t.test_accuracy for t in trainings]
        ts = fn.to_numpy(trainings[0].ts)
        file = label.replace(" ", "_")
        run.picture(file, figures.filters(ts.params[0]["w"], f"First layer: {label}"))
        title = f"A {data.test_labels[0]}: {label}"
        run.picture(file.replace("filters", "maps"), maps(fn.serial(*LAYERS[:6]), ts.params[:6], ts.state[:6], data.test_images[0], title))
    rows = ((label, spread(values)) for label, values in accuracies.items())
    table(f"MNIST, {len(options.seeds)} seeds; the dense layer is trained in both", ("network", "test accuracy"), rows)
    run.finish({"test_accuracies": accuracies})
