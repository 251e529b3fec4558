"""Digits over five seeds, each trained twice in a process of its own: the spread, and the same bits both times. Takes 2 min.

Claim: a mean test accuracy of at least 98.5 %, each training in under 30 s on 2 cores, and one seed is one result, bit by bit.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from experiments.digits import SYSTEM, digits
from experiments.harness import Run, SeedsOptions, progress, table
from experiments.system import epochs_of, fingerprint, make_train, seeds_of


@dataclass(frozen=True)
class Config(SeedsOptions):
    gradients: Literal["manual", "auto"] = "manual"
    """Hand-written gradients, or `jax.grad` of the plain forward pass."""


def train_once(seed: int, epochs: int, gradients: Any, smoke: bool) -> dict:
    """One training; its seconds are all that may differ between two calls."""
    data = digits(smoke)
    done = make_train(SYSTEM, epochs, len(data.train_images), gradients)(data, seed, lambda row: None)
    result = {"seed": seed, "params_sha256": fingerprint((done.ts.params, done.ts.state)), "history": done.history}
    return {"same": result, "test_accuracy": done.history[-1]["test_accuracy"], "seconds": done.seconds}


def main(options: Config) -> None:
    run, epochs, seeds, rows = Run("seeds", options), epochs_of(options, SYSTEM), seeds_of(options), []
    fresh = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1)
    with fresh, progress("seeds", 2 * len(seeds)) as advance:
        for seed in seeds:
            pair = []
            for _ in range(2):
                pair.append(fresh.submit(train_once, seed, epochs, options.gradients, options.smoke).result())
                advance(accuracy=pair[-1]["test_accuracy"])
            identical = pair[0]["same"] == pair[1]["same"]
            row = {"seed": seed, "test_accuracy": pair[0]["test_accuracy"], "seconds": [p["seconds"] for p in pair], "identical": identical}
            rows.append(row)
            run.log({name: row[name] for name in ("seed", "test_accuracy", "identical")})
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
