"""The pictures that several experiments save."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import funcnn as fn
from experiments.common.run import Run
from experiments.common.trainings import Training
from funcnn import datasets, figures, training
from funcnn.training.prediction import View

INVISIBLE = ("dropout", "flatten")
"""What changes nothing that can be seen of an image."""


def draw(run: Run, trainer: training.Trainer, trained: Training, data: datasets.Split, classes: Sequence[str], title: str) -> None:
    """What every experiment with a network saves: curves, first filters, and the first test image on its way through."""
    ts = fn.to_numpy(trained.ts)
    nats = "cross-entropy (nats)" if trainer.loss is fn.softmax_cross_entropy else "loss, as the tutorial scales it"
    run.picture("learning_curves", figures.learning_curves(trained.history, nats))
    run.picture("filters", figures.filters(next(p["w"] for p in ts.params if isinstance(p, Mapping) and p["w"].ndim == 4)))
    run.picture("feature_maps", maps(trainer.net, ts.params, ts.state, data.test_images[0], title, classes))


def maps(net: fn.Layer, params: Any, state: Any, image: np.ndarray, title: str, classes: Sequence[str] | None = None) -> Figure:
    """One image (H, W, C) behind each layer of a network that changes what can be seen of it; `classes` where the last has as many."""
    seen = [(name, np.asarray(y)[0]) for name, y in fn.stages(net, params, state, image[None]) if name not in INVISIBLE]
    return figures.feature_maps(seen, title, classes=classes if classes and seen[-1][1].shape == (len(classes),) else None)


def misread(net: fn.Layer, trained: Training, data: datasets.Split, classes: Sequence[str], views: Sequence[View] = ()) -> Figure:
    """The surest of the mistakes on the test images."""
    probabilities = training.predict(net, trained.ts.params, trained.ts.state, data.test_images, answer="probabilities", views=views)
    return figures.misread(data.test_images, data.test_labels, probabilities, classes)
