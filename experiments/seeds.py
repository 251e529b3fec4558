"""Digits over five seeds, each trained twice in a process of its own: the spread, and the same bits both times. Takes 2 min.

Claim: a mean test accuracy of at least 98.5 %, each training in under 30 s on 2 cores, and one seed is one result, bit by bit.
Theme: accuracy.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from experiments.common.console import progress, table
from experiments.common.options import SeedsOptions
from experiments.common.processes import pool
from experiments.common.run import Run
from experiments.common.trainings import fingerprint, train
from experiments.digits import EPOCHS, TRAINER, digits


@dataclass(frozen=True)
class Config(SeedsOptions):
    gradients: Literal["manual", "auto"] = "manual"
    """Hand-written gradients, or `jax.grad` of the plain forward pass."""


def train_once(seed: int, epochs: int, gradients: Literal["manual", "auto"], smoke: bool) -> dict:
    """One training; its seconds are all that may differ between two calls."""
    done = train(TRAINER._replace(gradients=gradients), digits(smoke), seed, epochs)
    result = {"seed": seed, "params_sha256": fingerprint((done.ts.params, done.ts.state)), "history": done.history}
    return {"same": result, "test_accuracy": done.test_accuracy, "seconds": done.seconds}


def main(options: Config) -> None:
    run, epochs, seeds, rows = Run("seeds", options), options.epochs_or(EPOCHS), options.seeds, []
    with pool(1, tasks_each=1) as fresh, progress("seeds", 2 * len(seeds)) as advance:
        for seed in seeds:
            pair = []
            for _ in range(2):
                pair.append(fresh.submit(train_once, seed, epochs, options.gradients, options.smoke).result())
                advance(accuracy=pair[-1]["test_accuracy"])
            row = {
                "seed": seed, "test_accuracy": pair[0]["test_accuracy"], "params_sha256": pair[0]["same"]["params_sha256"],
                "identical": pair[0]["same"] == pair[1]["same"],
            }  # fmt: skip
            rows.append(row | {"seconds": [p["seconds"] for p in pair]})
            run.log(row)
    table(
        "Digits, every seed twice; same bits: of all parameters and metrics",
        ("seed", "test accuracy", "seconds", "again", "same bits"),
        (
            (r["seed"], f"{100 * r['test_accuracy']:.2f} %", *(f"{s:.1f}" for s in r["seconds"]), "yes" if r["identical"] else "NO")
            for r in rows
        ),
    )
    accuracies, slowest = np.asarray([r["test_accuracy"] for r in rows]), max(max(r["seconds"]) for r in rows)
    summary = {"mean": accuracies.mean(), "std": accuracies.std(), "min": accuracies.min(), "max": accuracies.max(), "slowest_s": slowest}
    run.finish(
        {"all_identical": all(r["identical"] for r in rows), **{k: float(v) for k, v in summary.items()}, "runs": rows},
        f"test accuracy {100 * accuracies.mean():.2f} % (mean of {len(seeds)}; standard deviation {100 * accuracies.std():.2f}, "
        f"{100 * accuracies.min():.2f} to {100 * accuracies.max():.2f}), slowest training {slowest:.1f} s; results",
    )  # fmt: skip
