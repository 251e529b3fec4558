"""Networks side by side: accuracy over seeds, parameters, multiply-adds, and the time of an epoch."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import funcnn as fn
from experiments.common.console import table
from experiments.common.options import SeedsOptions
from experiments.common.run import Run
from experiments.common.trainings import Training, first, spread, train_seeds
from funcnn import datasets, training

COUNTS = ("parameters", "multiply_adds")


def compare(name: str, options: SeedsOptions, trainers: Mapping[str, training.Trainer], epochs: int, data: datasets.Split) -> None:
    """Train by every trainer with every seed, print a table of the networks, and draw their test error over the epochs."""
    run, data = Run(name, options), first(data, 128) if options.smoke else data
    rows, curves = {}, {}
    for label, trainer in trainers.items():
        trainings = train_seeds(run, trainer, lambda seed: data, options.seeds, options.epochs_or(epochs), label)
        rows[label], curves[label] = _row(trainer.net, trainings, data.train_images.shape[1:]), trainings
    cells = (
        (label, spread(r["test_accuracies"]), *(f"{r[k]:,}" for k in COUNTS), f"{r['seconds_per_epoch']:.2f}") for label, r in rows.items()
    )
    title = f"{name}: {len(options.seeds)} seeds each, mean (range); multiply-adds of an image's forward pass; median time"
    table(title, ("network", "test accuracy", "parameters", "multiply-adds", "s/epoch"), cells)
    run.picture("error", errors(curves))
    run.finish(rows)


def _row(net: fn.Layer, trainings: Sequence[Training], in_shape: tuple[int, ...]) -> dict:
    seconds = [s for t in trainings for s in t.epoch_seconds]
    return {
        "test_accuracies": [t.test_accuracy for t in trainings],
        "parameters": fn.count_parameters(trainings[0].ts.params),
        "multiply_adds": fn.summary(net, in_shape, train=False).multiply_adds_forward,
        "seconds_per_epoch": float(np.median(seconds[1:] or seconds)),  # the first compiles
    }


def errors(curves: Mapping[str, Sequence[Training]]) -> Figure:
    """The test error over the epochs, mean and range of each network's trainings."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for i, (label, trainings) in enumerate(curves.items()):
        wrong = 100 * (1 - np.asarray([[row["test_accuracy"] for row in t.history] for t in trainings]))
        epochs = range(1, wrong.shape[1] + 1)
        axes.plot(epochs, wrong.mean(0), "o-", markersize=3, color=f"C{i}", label=label)
        axes.fill_between(epochs, wrong.min(0), wrong.max(0), color=f"C{i}", alpha=0.2)
    axes.set(xlabel="epoch", ylabel="wrong test images (%)", title="Mean and range over seeds")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend()
    return figure
