"""The pictures that several experiments save."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import funcnn as fn
from experiments.common.run import Run
from experiments.common.trainings import Training
from funcnn import datasets, figures, training

INVISIBLE = ("dropout", "flatten")
"""What changes nothing that can be seen of an image."""


def draw(run: Run, trainer: training.Trainer, trained: Training, image: np.ndarray, title: str) -> None:
    """What every experiment with a network saves: curves, first filters, and one image on its way through."""
    ts = fn.to_numpy(trained.ts)
    nats = "cross-entropy (nats)" if trainer.loss is fn.softmax_cross_entropy else "loss, as the tutorial scales it"
    run.picture("learning_curves", figures.learning_curves(trained.history, nats))
    run.picture("filters", figures.filters(next(p["w"] for p in ts.params if isinstance(p, Mapping) and p["w"].ndim == 4)))
    run.picture("feature_maps", maps(trainer.net, ts.params, ts.state, image, title))


def maps(net: fn.Layer, params: Any, state: Any, image: np.ndarray, title: str) -> Figure:
    """One image (H, W, C) behind each layer of a network that changes what can be seen of it."""
    seen = [(name, np.asarray(y)[0]) for name, y in fn.stages(net, params, state, image[None]) if name not in INVISIBLE]
    return figures.feature_maps(seen, title)


def misread(data: datasets.Split, predicted: np.ndarray, classes: Sequence[str], most: int = 16) -> Figure:
    """The first of the test images that are taken for another class."""
    wrong = np.flatnonzero(predicted != data.test_labels)
    captions = [f"{classes[data.test_labels[i]]}\nread as {classes[predicted[i]]}" for i in wrong[:most]]
    title = f"{len(wrong)} of {len(predicted)} test images are misread" + (f"; the first {most}" if len(wrong) > most else "")
    return figures.examples(data.test_images[wrong[:most]], captions, title)
