"""MNIST: 99.0 % of the test digits within one epoch, 99.5 % within ten, by hand-written gradients. Takes 17 min.

Claim: after one epoch at least 99.0 % (mean of 5 seeds), after ten at least 99.5 % (mean of 2), with digits shifted by up to 2 pixels.
Measured on 2 cores (Xeon with AVX-512), `.venv/bin/python -m experiments mnist`, beside other work: 99.11 % (99.03 to 99.15), 38 s each,
and 99.55 % (both), 350 s each.
Theme: accuracy.
"""

from dataclasses import dataclass

import numpy as np

import funcnn as fn
from experiments.common.console import table
from experiments.common.optimizers import one_cycle
from experiments.common.options import SeedsOptions
from experiments.common.pictures import draw, misread
from experiments.common.run import Run
from experiments.common.trainings import first, spread, train_seeds
from funcnn import augmentation, datasets
from funcnn.convolution.geometry import Padding
from funcnn.training import Trainer


def block(features: int, *, pool: bool = True, padding: Padding = "SAME") -> tuple[fn.Layer, ...]:
    """Convolution, then pooling before batch norm and ReLU, which then see a quarter of the entries."""
    pooling = (fn.max_pool((2, 2), padding=padding),) if pool else ()
    return (fn.conv(features, (3, 3), bias=False), *pooling, fn.batch_norm(), fn.relu)


NET = fn.serial(*block(32), *block(64), *block(64, pool=False), fn.flatten, fn.dropout(0.3), fn.dense(10))
TRAINERS = {
    "one epoch": (Trainer(NET, one_cycle(5e-3), batch_size=32), 1),
    "ten epochs": (Trainer(NET, one_cycle(1e-2), batch_size=32, augment=augmentation.shift(2)), 10),
}


@dataclass(frozen=True)
class Config(SeedsOptions):
    long_runs: int = 2
    """How many of the seeds are trained for ten epochs too."""


def main(options: Config) -> None:
    data, run = datasets.mnist(), Run("mnist", options)
    data, rows, done = first(data, 256) if options.smoke else data, {}, {}
    for label, (trainer, epochs) in TRAINERS.items():
        seeds = options.seeds if label == "one epoch" else options.seeds[: options.long_runs]
        done[label] = trainings = train_seeds(run, trainer, lambda seed: data, seeds, options.epochs_or(epochs), label)
        rows[label] = {"test_accuracies": [t.test_accuracy for t in trainings], "seconds": [t.seconds for t in trainings]}
    (trainer, _), trained = TRAINERS["ten epochs"], done["ten epochs"][0]
    shown = ((k, len(r["seconds"]), spread(r["test_accuracies"]), f"{np.median(r['seconds']):.0f}") for k, r in rows.items())
    title = f"MNIST, {fn.count_parameters(trained.ts.params):,} parameters; {len(data.test_labels):,} test digits"
    table(title, ("training", "seeds", "test accuracy: mean (range)", "s each"), shown)
    draw(run, trainer, trained, data, "0123456789", f"A {data.test_labels[0]} on its way through the network")
    run.picture("misread", misread(NET, trained, data, "0123456789"))
    run.finish(rows)
