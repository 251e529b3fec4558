"""One wrong layer in a network that runs and learns all the same, and the monitor that names it at its first check. Takes 3 min.

Claim: on digits a wrong layer costs from nothing to half of the accuracy, and nothing says so but the monitor, at step 0.
Measured on 2 cores (Xeon with AVX-512), `.venv/bin/python -m experiments drift`, three seeds each: right 99.07 %, with the sign of a
dense layer's dx wrong 55.3 %, with the channels of a kernel's gradient mixed 98.15 %, with any of five others 99.07 to 99.26 %; each is
named at step 0. At every 50th step the monitor adds 1 % to an epoch's time (3 % beside other work).
Theme: gradients.
"""

import time
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

import funcnn as fn
from experiments.common.comparing import errors
from experiments.common.console import progress, table
from experiments.common.options import SeedsOptions
from experiments.common.run import Run
from experiments.common.trainings import Training, spread, train_seeds
from experiments.digits import EPOCHS, NET, TRAINER, digits
from funcnn import datasets, training
from funcnn.checking import layer_names, monitor
from funcnn.checking.mutation.mutants import changed, max_pool_all_ties, misled, permuted, relu_unmasked, times, where
from funcnn.normalization import BatchNormEval

MUTATED = {
    "right": (),
    "0 conv, the last row of dw dropped": (0, changed(NET.layers[0], "w", where(0.0, -1))),
    "1 batch_norm, the statistics as constants": (1, misled(NET.layers[1], lambda r: BatchNormEval(*r), "x")),
    "3 conv, the output channels of dw mixed": (3, changed(NET.layers[3], "w", permuted(lambda xp, g: xp.roll(g, 1, -1)))),
    "3 conv, the kernel not flipped in dx": (3, misled(NET.layers[3], lambda r: (r[0], r[1][::-1, ::-1]), "x")),
    "5 relu, no mask": (5, relu_unmasked._replace(name="relu")),
    "6 max_pool, every tie gets the whole gradient": (6, max_pool_all_ties((2, 2))._replace(name="max_pool")),
    "9 dense, the sign of dx": (9, changed(NET.layers[9], "x", times(-1.0))),
}


@dataclass(frozen=True)
class Config(SeedsOptions):
    runs: int = 3
    """How many trainings of each: with --seed, --seed + 1 and so on."""
    every: int = 50
    """How many steps lie between two checks."""


def mutated(i: int, layer: fn.Layer) -> fn.Layer:
    return fn.serial(*NET.layers[:i], layer, *NET.layers[i + 1 :])


def main(options: Config) -> None:
    run, data, rows, curves = Run("drift", options), digits(options.smoke), [], {}
    for label, mutation in list(MUTATED.items())[1:2] if options.smoke else MUTATED.items():
        watched = TRAINER._replace(net=mutated(*mutation) if mutation else NET, monitor=monitor(every=options.every))
        trainings = train_seeds(run, watched, lambda seed: data, options.seeds, options.epochs_or(EPOCHS), label)
        curves[label] = trainings
        checks = [check for seed, t in zip(options.seeds, trainings, strict=True) for check in checked(t, seed=seed, network=label)]
        for check in checks:
            run.log(check)
        named = sorted({name for check in checks if check["step"] == 0 for name in check["wrong"]})
        worst = min((cosine for check in checks for cosine in check["gradient_cosine"].values()), default=float("nan"))
        accuracies = [t.test_accuracy for t in trainings]
        rows.append({"network": label, "test_accuracies": accuracies, "named": named, "smallest_cosine": worst})
    shown = ((r["network"], ", ".join(r["named"]) or "none", f"{r['smallest_cosine']:.4f}", spread(r["test_accuracies"])) for r in rows)
    title = f"Digits, {len(options.seeds)} seeds; what the monitor calls wrong at step 0, before anything is learned"
    table(title, ("the wrong layer", "named", "smallest cosine", "test accuracy"), shown, text_columns=2)
    run.picture("error", errors(curves))
    cost = price(options, data)
    summary = f"the monitor at every {options.every}th step: {100 * cost:+.1f} % of the training time; results"
    run.finish({"rows": rows, "cost": cost}, summary)


WRONG = 1e-3
"""The relative error from which a layer is called wrong; float32 rounds to 1e-6 or so."""


def checked(trained: Training, **of: Any) -> list[dict[str, Any]]:
    """The steps at which both gradients were compared: `of` which training, layer by layer, and which are wrong."""
    errors, cosines = (np.concatenate([s[f"gradient_{what}"] for s in trained.steps]) for what in ("error", "cosine"))  # (steps, layers)
    names, rows = layer_names(NET), []
    for step in np.flatnonzero(~np.isnan(cosines).all(1)):
        error, cosine = (dict(zip(names, map(float, values[step]), strict=True)) for values in (errors, cosines))
        wrong = [name for name in names if not error[name] < WRONG]
        rows.append({**of, "step": int(step), "wrong": wrong, "gradient_error": error, "gradient_cosine": cosine})
    return rows


def price(options: Config, data: datasets.Split) -> float:
    """What the monitor adds to an epoch's time: the ratio of medians of interleaved epochs, minus 1."""
    images, labels = jax.device_put((data.train_images, data.train_labels))
    rounds, states, seconds = (1 if options.smoke else 40), {}, {"without": [], "with": []}
    epochs = {}
    plain = TRAINER.for_steps(rounds * TRAINER.steps_an_epoch(len(images)))
    for name, trainer in (("without", plain), ("with", plain._replace(monitor=monitor(every=options.every)))):
        epochs[name] = training.make_epoch(trainer)
        states[name] = training.init(trainer, jax.random.key(options.seed), images.shape[1:])
    with progress("what it costs", rounds) as advance:
        for _ in range(rounds):
            for name, epoch in epochs.items():
                start = time.perf_counter()
                states[name], _ = jax.block_until_ready(epoch(states[name], images, labels))
                seconds[name].append(time.perf_counter() - start)
            advance()
    return float(np.median(seconds["with"]) / np.median(seconds["without"]) - 1)
