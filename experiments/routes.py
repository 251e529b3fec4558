"""Three routes to a gradient train the same digits: `backward`, `jax.grad`, and `jax.grad` through `with_manual_vjp`. Takes 1 min.

Claim: from one seed the curves lie on each other; the parameters differ by rounding only, which training amplifies; and the
hand-written step takes no longer than the automatic one.
Theme: gradients.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import jax
import numpy as np
from matplotlib.figure import Figure

import funcnn as fn
from experiments.common.console import progress, table
from experiments.common.options import TrainingOptions
from experiments.common.run import Run
from experiments.digits import EPOCHS, NET, TRAINER, digits
from funcnn import training
from funcnn.arrays import Array

Config = TrainingOptions
ROUTES = {
    "backward": TRAINER,
    "jax.grad": TRAINER._replace(gradients="auto"),
    "jax.grad of with_manual_vjp": TRAINER._replace(net=fn.with_manual_vjp(NET), gradients="auto"),
}


@dataclass
class Route:
    """One way to train: its compiled epoch, where it has come to, and the seconds of every epoch."""

    epoch: Callable[[training.TrainState, Array, Array], tuple[training.TrainState, training.Metrics]]
    ts: training.TrainState
    losses: list
    seconds: list


def main(options: Config) -> None:
    run, data, epochs = Run("routes", options), digits(options.smoke), options.epochs_or(EPOCHS)
    x, labels, test_x, test_labels = jax.device_put(tuple(data))
    each, key, routes = TRAINER.steps_an_epoch(len(x)), jax.random.key(options.seed), {}
    for name, route in ROUTES.items():
        trainer = route.for_steps(epochs * each)
        epoch = training.make_epoch(trainer)
        epoch(training.init(trainer, key, x.shape[1:]), x, labels)  # compiles
        routes[name] = Route(epoch, training.init(trainer, key, x.shape[1:]), [], [])
    with progress("routes", epochs) as advance:
        for i in range(epochs):
            for route in routes.values():  # interleaved, so that a busy moment of the machine hits all of them
                start = time.perf_counter()
                route.ts, metrics = jax.block_until_ready(route.epoch(route.ts, x, labels))
                route.seconds.append((time.perf_counter() - start) / len(metrics["loss"]))
                route.losses += metrics["loss"].tolist()
            means = {name: float(np.mean(route.losses[i * each :])) for name, route in routes.items()}
            run.log({"epoch": i + 1, **means})
            advance(loss=means["backward"])
    evaluate, first = training.make_evaluate(TRAINER.for_steps(epochs * each)), routes["backward"]
    rows = {name: _row(route, first, evaluate(route.ts.params, route.ts.state, test_x, test_labels)) for name, route in routes.items()}
    table(
        "The same seed by three routes; losses, params: the largest difference from `backward`",
        ("route", "accuracy", "losses", "params", "relative", "ms/step", "ratio"),
        ((n, f"{100 * r['test_accuracy']:.2f} %", f"{r['loss_difference']:.1e}", f"{r['parameter_difference']:.1e}",
          f"{r['relative_difference']:.1e}", f"{r['ms_per_step']:.2f}", f"{r['ratio']:.2f}") for n, r in rows.items()),
    )  # fmt: skip
    run.picture("curves", _curves(routes))
    run.finish(rows, "curves, metrics and configuration")


def _row(route: Route, first: Route, test: training.Metrics) -> dict[str, float]:
    """How far a route has ended from the first, and what a step of it takes."""
    pairs = list(zip(jax.tree.leaves(route.ts.params), jax.tree.leaves(first.ts.params), strict=True))
    median, base = np.median(route.seconds), np.median(first.seconds)
    return {
        "test_accuracy": float(test["accuracy"]),
        "loss_difference": float(np.abs(np.subtract(route.losses, first.losses)).max()),
        "parameter_difference": float(max(abs(a - b).max() for a, b in pairs)),
        "relative_difference": float(np.sqrt(sum(((a - b) ** 2).sum() for a, b in pairs) / sum((b**2).sum() for _, b in pairs))),
        "ms_per_step": float(1e3 * median),
        "ratio": float(median / base),
    }


def _curves(routes: dict[str, Route]) -> Figure:
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    loss, difference = figure.subplots(1, 2)
    first = next(iter(routes.values()))
    for i, ((name, route), style) in enumerate(zip(routes.items(), ("-", "--", ":"), strict=True)):
        loss.plot(route.losses, style, label=name, linewidth=1.2, color=f"C{i}")
        if route is not first:
            gap = np.abs(np.subtract(route.losses, first.losses))
            difference.plot(np.where(gap > 0, gap, np.nan), style, label=name, linewidth=0.8, color=f"C{i}")
    loss.set(xlabel="step", ylabel="cross-entropy (nats)", yscale="log", title="Training loss by three routes")
    difference.set(xlabel="step", ylabel="difference of the loss (nats)", yscale="log", title="Against `backward`")
    for axes in (loss, difference):
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    return figure
