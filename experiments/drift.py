"""One wrong layer in a network that runs and learns all the same, and the monitor that names it at its first check. Takes 3 min.

Claim: on digits a wrong layer costs from nothing to half of the accuracy, and nothing says so but the monitor, at step 0.
Measured on 2 cores (Xeon with AVX-512), `.venv/bin/python -m experiments drift`, three seeds each: right 99.07 %, with the sign of a
dense layer's dx wrong 55.3 %, with the channels of a kernel's gradient mixed 98.15 %, with any of five others 99.07 to 99.26 %; each is
named at step 0. At every 50th step the monitor adds 1 % to an epoch's time (3 % beside other work).
"""

import time
from dataclasses import dataclass

import jax
import numpy as np

import funcnn as fn
from experiments.compare import errors
from experiments.digits import SYSTEM, digits
from experiments.harness import Run, SeedsOptions, progress, table
from experiments.system import System, compile_epoch, epochs_of, seeds_of, spread, train_seeds
from funcnn import training
from funcnn.checking.mutation.mutants import changed, max_pool_all_ties, misled, permuted, relu_unmasked, times, where
from funcnn.normalization import BatchNormEval

MUTATED = {
    "right": (),
    "0 conv, the last row of dw dropped": (0, changed(SYSTEM.layers[0], "w", where(0.0, -1))),
    "1 batch_norm, the statistics as constants": (1, misled(SYSTEM.layers[1], lambda r: BatchNormEval(*r), "x")),
    "3 conv, the output channels of dw mixed": (3, changed(SYSTEM.layers[3], "w", permuted(lambda xp, g: xp.roll(g, 1, -1)))),
    "3 conv, the kernel not flipped in dx": (3, misled(SYSTEM.layers[3], lambda r: (r[0], r[1][::-1, ::-1]), "x")),
    "5 relu, no mask": (5, relu_unmasked._replace(name="relu")),
    "6 max_pool, every tie gets the whole gradient": (6, max_pool_all_ties((2, 2))._replace(name="max_pool")),
    "9 dense, the sign of dx": (9, changed(SYSTEM.layers[9], "x", times(-1.0))),
}


@dataclass(frozen=True)
class Config(SeedsOptions):
    runs: int = 3
    """How many trainings of each: with --seed, --seed + 1 and so on."""
    every: int = 50
    """How many steps lie between two checks."""


def mutated(i: int, layer: fn.Layer) -> System:
    return SYSTEM._replace(layers=(*SYSTEM.layers[:i], layer, *SYSTEM.layers[i + 1 :]))


def main(options: Config) -> None:
    run, data, rows, curves = Run("drift", options), digits(options.smoke), [], {}
    for label, mutation in list(MUTATED.items())[1:2] if options.smoke else MUTATED.items():
        system = mutated(*mutation) if mutation else SYSTEM
        watched = system._replace(monitor=options.every)
        trainings = train_seeds(run, watched, lambda seed: data, seeds_of(options), epochs_of(options, system), label=label)
        curves[label] = trainings
        checks = [check for t in trainings for check in t.checks]
        named = sorted({name for check in checks if check["step"] == 0 for name in check["wrong"]})
        worst = min((cosine for check in checks for cosine in check["gradient_cosine"].values()), default=float("nan"))
        accuracies = [t.history[-1]["test_accuracy"] for t in trainings]
        rows.append({"network": label, "test_accuracies": accuracies, "named": named, "smallest_cosine": worst})
    shown = (
        (r["network"], ", ".join(r["named"]) or "none", f"{r['smallest_cosine']:.4f}", spread(r["test_accuracies"], "accuracy"))
        for r in rows
    )
    title = f"Digits, {len(seeds_of(options))} seeds; what the monitor calls wrong at step 0, before anything is learned"
    table(title, ("the wrong layer", "named", "smallest cosine", "test accuracy"), shown, text_columns=2)
    run.picture("error", errors(curves))
    cost = price(options, data)
    summary = f"the monitor at every {options.every}th step: {100 * cost:+.1f} % of the training time; results"
    run.finish({"rows": rows, "cost": cost}, summary)


def price(options: Config, data) -> float:
    """What the monitor adds to an epoch's time: the ratio of medians of interleaved epochs, minus 1."""
    images, labels = jax.device_put((data.train_images, data.train_labels))
    rounds, states, seconds = (1 if options.smoke else 40), {}, {"without": [], "with": []}
    epochs = {}
    for name, every in (("without", None), ("with", options.every)):
        net, optimizer, epochs[name] = compile_epoch(SYSTEM._replace(monitor=every), rounds, len(images))
        states[name] = training.init(net, optimizer, jax.random.key(options.seed), images.shape[1:])
    with progress("what it costs", rounds) as advance:
        for _ in range(rounds):
            for name, epoch in epochs.items():
                start = time.perf_counter()
                states[name], _ = jax.block_until_ready(epoch(states[name], images, labels))
                seconds[name].append(time.perf_counter() - start)
            advance()
    return float(np.median(seconds["with"]) / np.median(seconds["without"]) - 1)
