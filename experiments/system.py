"""A network and how it is trained, as one value; and the training of it that all experiments share."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax
from matplotlib.figure import Figure

import funcnn as fn
from experiments.harness import Run, SeedsOptions, TrainingOptions, progress
from funcnn import checking, datasets, figures, training
from funcnn.arrays import Array

Row = dict[str, float]
View = Callable[[Array], Array]


class System(NamedTuple):
    """Layers in a row, and everything that their training depends on beside the data and the seed.

    Attributes:
        layers: of `fn.serial`.
        optimizer: `steps -> optimizer`, as schedules depend on the number of steps.
        batch_size, shuffle, augment, loss: as in `training.make_epoch`.
        epochs: by default.
        monitor: after how many steps both gradients are compared (`funcnn.checking.monitor`); never where it is None.
    """

    layers: tuple[fn.Layer, ...]
    optimizer: Callable[[int], optax.GradientTransformation]
    batch_size: int
    epochs: int
    shuffle: bool = True
    augment: training.Augment | None = None
    loss: training.Loss = fn.softmax_cross_entropy
    monitor: int | None = None

    @property
    def net(self) -> fn.Layer:
        return fn.serial(*self.layers)


class Training(NamedTuple):
    """What came out of one training; the first epoch of the first one compiles. `checks` are the monitor's."""

    ts: training.TrainState
    history: list[Row]
    epoch_seconds: list[float]
    checks: list[dict[str, Any]]

    @property
    def seconds(self) -> float:
        return sum(self.epoch_seconds)


def sgd(rate: float) -> Callable[[int], optax.GradientTransformation]:
    """Plain gradient descent at one rate."""
    return lambda steps: optax.sgd(rate)


def one_cycle(rate: float, weight_decay: float = 0.0) -> Callable[[int], optax.GradientTransformation]:
    """AdamW whose learning rate rises to `rate` over the first fifth of the steps and falls to almost 0 (Smith & Topin 2018)."""

    def make(steps: int) -> optax.GradientTransformation:
        return optax.adamw(_cycle(steps, rate), weight_decay=weight_decay, mask=_matrices)

    return make


def sgd_one_cycle(rate: float, weight_decay: float = 0.0) -> Callable[[int], optax.GradientTransformation]:
    """The same for gradient descent with Nesterov's momentum 0.9, weight decay added to the gradient."""

    def make(steps: int) -> optax.GradientTransformation:
        decay = optax.add_decayed_weights(weight_decay, mask=_matrices)
        return optax.chain(decay, optax.sgd(_cycle(steps, rate), momentum=0.9, nesterov=True))

    return make


def _cycle(steps: int, rate: float) -> optax.Schedule:
    return optax.cosine_onecycle_schedule(steps, rate, 0.2, div_factor=25, final_div_factor=1e3)


def _matrices(params: Any) -> Any:
    """Which parameters decay: weights, not biases and scales."""
    return jax.tree.map(lambda p: p.ndim > 1, params)


def compile_epoch(
    system: System, epochs: int, examples: int, gradients: Literal["manual", "auto"] = "manual"
) -> tuple[fn.Layer, optax.GradientTransformation, Callable]:
    """The network, the optimizer for that many epochs, and an epoch of both as `training.make_epoch` makes it."""
    net, optimizer = system.net, system.optimizer(epochs * (examples // system.batch_size))
    epoch = training.make_epoch(
        net, optimizer, batch_size=system.batch_size, last_batch="drop", shuffle=system.shuffle, augment=system.augment,
        loss=system.loss, gradients=gradients,
        monitor=checking.monitor(net, every=system.monitor, loss=system.loss) if system.monitor else None,
    )  # fmt: skip
    return net, optimizer, epoch


def make_train(
    system: System, epochs: int, examples: int, gradients: Literal["manual", "auto"] = "manual"
) -> Callable[[datasets.Split, int, Callable[[Row], None]], Training]:
    """`train(data, seed, each)`, which compiles once: `each` is called with the metrics of every epoch.

    The seconds are those of the training itself: in the first epoch of the first call with compiling, never with evaluating.
    """
    net, optimizer, epoch = compile_epoch(system, epochs, examples, gradients)
    evaluate = training.make_evaluate(net, batch_size=500, loss=system.loss)

    def train(data: datasets.Split, seed: int, each: Callable[[Row], None]) -> Training:
        history, seconds, checks = [], [], []
        train_images, train_labels, test_images, test_labels = jax.device_put(tuple(data))
        start = time.perf_counter()
        ts = training.init(net, optimizer, jax.random.key(seed), train_images.shape[1:])
        for i in range(1, epochs + 1):
            ts, metrics = jax.block_until_ready(epoch(ts, train_images, train_labels))
            seconds.append(time.perf_counter() - start)
            test = evaluate(ts.params, ts.state, test_images, test_labels)
            checks += checked(net, metrics, before=(i - 1) * len(metrics["loss"]))
            means = {f"train_{name}": float(values.mean()) for name, values in metrics.items() if name not in MONITORED}
            history.append({"epoch": i, **means, **{f"test_{name}": float(value) for name, value in test.items()}})
            each(history[-1])
            start = time.perf_counter()
        return Training(ts, history, seconds, checks)

    return train


MONITORED = ("gradient_error", "gradient_cosine")
WRONG = 1e-3
"""The relative error from which the monitor calls a layer wrong; float32 rounds to 1e-6 or so."""


def checked(net: fn.Layer, metrics: training.Metrics, before: int) -> list[dict[str, Any]]:
    """The steps of an epoch at which both gradients were compared, after `before` steps: layer by layer, and which are wrong."""
    if MONITORED[0] not in metrics:
        return []
    errors, cosines = (np.asarray(metrics[name]) for name in MONITORED)  # (steps, layers)
    rows = []
    for i in np.flatnonzero(~np.isnan(cosines).all(1)):
        layers = {n: (float(e), float(c)) for n, e, c in zip(checking.layer_names(net), errors[i], cosines[i], strict=True)}
        wrong = [name for name, (error, _) in layers.items() if not error < WRONG]
        by_metric = {metric: {name: pair[k] for name, pair in layers.items()} for k, metric in enumerate(MONITORED)}
        rows.append({"step": before + int(i), "wrong": wrong, **by_metric})
    return rows


def train_seeds(
    run: Run,
    system: System,
    data_of: Callable[[int], datasets.Split],
    seeds: Sequence[int],
    epochs: int,
    gradients: Literal["manual", "auto"] = "manual",
    label: str = "",
) -> list[Training]:
    """One training for each seed, with a progress bar over all epochs; each epoch's metrics go into metrics.jsonl."""
    train, done = None, []
    with progress(label or run.name, len(seeds) * epochs) as advance:
        for seed in seeds:
            data = data_of(seed)
            train = train or make_train(system, epochs, len(data.train_images), gradients)

            def each(row: Row, seed: int = seed) -> None:
                run.log({"seed": seed, **({"network": label} if label else {}), **row})
                advance(loss=row["train_loss"], accuracy=row["test_accuracy"])

            done.append(train(data, seed, each))
            for check in done[-1].checks:
                run.log({"seed": seed, **({"network": label} if label else {}), **check})
    return done


def first(data: datasets.Split, count: int) -> datasets.Split:
    """The first `count` images of either part, for a smoke test."""
    return datasets.Split(*(a[:count] for a in data))


def fingerprint(tree: Any) -> str:
    """The SHA-256 of all arrays of a tree, bit by bit."""
    return hashlib.sha256(b"".join(np.asarray(a).tobytes() for a in jax.tree.leaves(tree))).hexdigest()


def parameters(params: Any) -> int:
    """How many numbers there are to learn."""
    return sum(p.size for p in jax.tree.leaves(params))


def spread(values: Sequence[float], metric: str) -> str:
    """The mean and range of a metric over trainings, accuracies in percent."""
    scale, digits, unit = (100, 2, " %") if "accuracy" in metric else (1, 4, "")
    a = scale * np.asarray(values)
    mean = f"{a.mean():.{digits}f}{unit}"
    return mean if len(a) == 1 else f"{mean} ({a.min():.{digits}f} to {a.max():.{digits}f})"


def draw(run: Run, system: System, trained: Training, image: np.ndarray, title: str) -> None:
    """The pictures that every experiment with a network saves: curves, first filters, and one image on its way through."""
    ts = fn.to_numpy(trained.ts)
    nats = "cross-entropy (nats)" if system.loss is fn.softmax_cross_entropy else "loss, as the tutorial scales it"
    run.picture("learning_curves", figures.learning_curves(trained.history, nats))
    run.picture("filters", figures.filters(next(p["w"] for p in ts.params if isinstance(p, Mapping) and p["w"].ndim == 4)))
    run.picture("feature_maps", figures.feature_maps(stages(system.layers, ts.params, ts.state, image), title))


def predict(system: System, ts: training.TrainState, images: np.ndarray, views: Sequence[View] = (lambda x: x,)) -> np.ndarray:
    """The class (N,) of each image, by the mean of the logits of its `views`, functions of images (N, H, W, C)."""

    @jax.jit
    def logits(x):
        return sum(system.net.apply(ts.params, ts.state, view(x))[0] for view in views)

    parts = [images[i : i + 500] for i in range(0, len(images), 500)]
    return np.concatenate([np.asarray(logits(part).argmax(1)) for part in parts])


def misread(data: datasets.Split, predicted: np.ndarray, classes: Sequence[str], most: int = 16) -> Figure:
    """The first of the test images that are taken for another class."""
    wrong = np.flatnonzero(predicted != data.test_labels)
    captions = [f"{classes[data.test_labels[i]]}\nread as {classes[predicted[i]]}" for i in wrong[:most]]
    title = f"{len(wrong)} of {len(predicted)} test images are misread" + (f"; the first {most}" if len(wrong) > most else "")
    return figures.examples(data.test_images[wrong[:most]], captions, title)


def stages(layers: Sequence[fn.Layer], params: Any, state: Any, image: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """The name and output of every layer that changes what can be seen of one image (H, W, C)."""
    x, seen = image[None], [("input", image)]
    for layer, p, s in zip(layers, params, state, strict=True):
        x = layer.apply(p, s, x)[0]
        if layer.name not in ("dropout", "flatten"):
            seen.append((layer.name, x[0]))
    return seen


def epochs_of(options: TrainingOptions, system: System) -> int:
    return 1 if options.smoke else options.epochs or system.epochs


def seeds_of(options: SeedsOptions) -> Sequence[int]:
    return range(options.seed, options.seed + (1 if options.smoke else options.runs))
