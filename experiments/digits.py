"""A CNN with batch norm and dropout learns real digits by hand-written gradients, which are then checked. Takes 20 s.

Claim: 98.5 % of 360 test digits right (mean of the seeds 0..4), in under 30 s of training on 2 cores, compiling included.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np
import optax
from sklearn.metrics import confusion_matrix

import funcnn as fn
from experiments.harness import CONSOLE, Options, Run, progress, table
from funcnn import datasets, figures, training
from funcnn.checking import agreement

LAYERS = (
    fn.conv(16, (3, 3), bias=False), fn.batch_norm(), fn.relu,
    fn.conv(32, (3, 3), bias=False), fn.batch_norm(), fn.relu,
    fn.max_pool((2, 2)), fn.dropout(0.3), fn.flatten, fn.dense(10),
)  # fmt: skip
NET = fn.serial(*LAYERS)
BATCH = 32


@dataclass(frozen=True)
class Config(Options):
    gradients: Literal["manual", "auto"] = "manual"
    """Hand-written gradients, or `jax.grad` of the plain forward pass."""


def optimizer(epochs: int, examples: int) -> optax.GradientTransformation:
    """Adam whose learning rate falls from 3e-3 to 0 along a half cosine."""
    return optax.adam(optax.cosine_decay_schedule(3e-3, epochs * (examples // BATCH)))


def train(
    data: datasets.Split, *, seed: int, epochs: int, gradients: Any, each: Callable[[dict], None]
) -> tuple[training.TrainState, float]:
    """Train the network; `each` is called with the metrics of every epoch. The final state, and the seconds it took."""
    start, steps = time.perf_counter(), optimizer(epochs, len(data.train_images))
    train_images, train_labels, test_images, test_labels = jax.device_put(tuple(data))
    ts = training.init(NET, steps, jax.random.key(seed), train_images.shape[1:])
    epoch = training.make_epoch(NET, steps, batch_size=BATCH, last_batch="drop", gradients=gradients)
    evaluate = training.make_evaluate(NET, batch_size=360)
    for i in range(1, epochs + 1):
        ts, metrics = epoch(ts, train_images, train_labels)
        test = evaluate(ts.params, ts.state, test_images, test_labels)
        means = {f"train_{name}": float(values.mean()) for name, values in metrics.items()}
        each({"epoch": i, **means, **{f"test_{name}": float(value) for name, value in test.items()}})
    return ts, time.perf_counter() - start


def fingerprint(tree: Any) -> str:
    """The SHA-256 of all arrays of a tree, bit by bit."""
    return hashlib.sha256(b"".join(np.asarray(a).tobytes() for a in jax.tree.leaves(tree))).hexdigest()


def smaller(data: datasets.Split) -> datasets.Split:
    return datasets.Split(*(a[:128] for a in data))


def main(options: Config) -> None:
    run, data = Run("digits", options), datasets.digits()
    epochs = 1 if options.smoke else options.epochs
    data = smaller(data) if options.smoke else data
    history = []
    with progress("digits", epochs) as advance:

        def each(row):
            history.append(row)
            run.log(row)
            advance(loss=row["train_loss"], accuracy=row["test_accuracy"])

        ts, seconds = train(data, seed=options.seed, epochs=epochs, gradients=options.gradients, each=each)
    ts = fn.to_numpy(ts)  # what follows runs eagerly on NumPy
    predicted = NET.apply(ts.params, ts.state, data.test_images)[0].argmax(1)
    wrong = np.flatnonzero(predicted != data.test_labels)
    counts = confusion_matrix(data.test_labels, predicted, labels=range(10))
    table("Confusion matrix: true class in rows, predicted in columns", ("", *range(10)), ([str(i), *row] for i, row in enumerate(counts)))
    rows = agreement(LAYERS, ts.params, ts.state, data.train_images[: 2 if options.smoke else 16], key=jax.random.key(options.seed))
    show_agreement(rows)
    draw(run, ts, data, history, counts, predicted, wrong)
    accuracy = 1 - len(wrong) / len(predicted)
    results = {"test_accuracy": accuracy, "wrong": len(wrong), "of": len(predicted), "params_sha256": fingerprint((ts.params, ts.state))}
    run.write("results", {**results, "seconds": seconds, "agreement": [row._asdict() for row in rows]})
    CONSOLE.print(
        f"test accuracy {100 * accuracy:.2f} % ({len(wrong)} of {len(predicted)} wrong), trained in {seconds:.1f} s, compiling included; "
        f"pictures, metrics and configuration in {run.folder}", highlight=False, soft_wrap=True,
    )  # fmt: skip


def show_agreement(rows: list) -> None:
    table(
        "Gradients layer by layer, float64: hand-written against jax.grad and against finite differences\n"
        "(largest error, relative to the largest entry; a ULP is the spacing of float64 numbers at that entry)",
        ("layer", "of", "entries", "jax.grad", "in ULPs", "differences"),
        ((r.layer, f"d{r.leaf}", r.entries, f"{r.error:.1e}", f"{r.ulps:.1f}", f"{r.difference_error:.1e}") for r in rows),
    )


def draw(run: Run, ts: training.TrainState, data: datasets.Split, history, counts, predicted, wrong) -> None:
    run.picture("learning_curves", figures.learning_curves(history))
    run.picture("confusion_matrix", figures.confusion_matrix(counts, [str(i) for i in range(10)]))
    run.picture("filters", figures.filters(ts.params[0]["w"]))
    x, stages = data.test_images[:1], [("input", data.test_images[0])]
    for layer, p, s in zip(LAYERS, ts.params, ts.state, strict=True):
        x = layer.apply(p, s, x)[0]
        if layer.name not in ("dropout", "flatten"):  # change nothing that could be seen
            stages.append((layer.name, x[0]))
    run.picture("feature_maps", figures.feature_maps(stages, f"A {data.test_labels[0]} on its way through the network"))
    captions = [f"{data.test_labels[i]} read as {predicted[i]}" for i in wrong[:16]]
    title = f"{len(wrong)} of {len(predicted)} test digits are misread" + ("; the first 16" if len(wrong) > 16 else "")
    run.picture("misread", figures.examples(data.test_images[wrong[:16]], captions, title))
