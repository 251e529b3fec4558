"""The simple-CNN tutorial: never trained, its forward pass compared with PyTorch; here every gradient is, and it learns. Takes 1 min.

As written (`--as-written`): forward and backward on four zoomed digits against PyTorch in float64, or, where that is not installed, against
the values that it gave (`experiments/tutorials/references/simplecnn.npz`, made by `--store`).
By default the same network is trained: on digits, zoomed to 28x28 and standardised as in the tutorial, or on MNIST (`--data mnist`).

Measured on 2 cores (Xeon with AVX-512): all gradients within 1e-12 of PyTorch's; trained, 99.1 % of the test digits (3 seeds).
`--data mnist --runs 1` (3 min): its own 4,266 parameters reach 98.77 %, 16 and 32 channels with batch norm 99.33 %.
Theme: the tutorials.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import tyro

import funcnn as fn
from experiments.common.console import table
from experiments.common.optimizers import one_cycle
from experiments.common.options import SeedsOptions, UserError
from experiments.common.pictures import draw
from experiments.common.run import Run
from experiments.common.trainings import first, spread, train_seeds
from experiments.tutorials.torch_reference import by_torch, problem, store, stored, zoomed_digits
from funcnn import augmentation, datasets
from funcnn.training import Trainer

NET = fn.serial(
    fn.conv(4, (3, 3), padding=1), fn.relu, fn.max_pool((2, 2)),
    fn.conv(8, (3, 3), padding=1), fn.relu, fn.max_pool((2, 2)),
    fn.flatten, fn.dense(10),
)  # fmt: skip
WIDER = fn.serial(
    fn.conv(16, (3, 3), bias=False), fn.max_pool((2, 2)), fn.batch_norm(), fn.relu,
    fn.conv(32, (3, 3), bias=False), fn.max_pool((2, 2)), fn.batch_norm(), fn.relu,
    fn.flatten, fn.dense(10),
)  # fmt: skip
SHIFTED = {"augment": augmentation.shift(1)}
TRAINERS = {
    "digits": {"the tutorial's network": (Trainer(NET, one_cycle(1e-2), batch_size=16, **SHIFTED), 20)},
    "mnist": {
        "the tutorial's network": (Trainer(NET, one_cycle(1e-2), batch_size=32, **SHIFTED), 20),
        "16 and 32 channels, batch norm": (Trainer(WIDER, one_cycle(1e-2), batch_size=32, **SHIFTED), 10),
    },
}


@dataclass(frozen=True)
class Config(SeedsOptions):
    data: Literal["digits", "mnist"] = "digits"
    """What to train on."""
    as_written: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """No training: forward and backward against PyTorch, as the tutorial does with its forward pass."""
    store: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """With --as-written: write what PyTorch gives into experiments/tutorials/references, for machines without it."""

    def check(self, name: str) -> None:
        super().check(name)
        if self.store and not self.as_written:
            raise UserError(f"{name}: expected --as-written together with --store")
        if self.as_written and self.data != "digits":
            raise UserError(f"{name}: expected --data digits together with --as-written, got {self.data}")


def main(options: Config) -> None:
    (_compare if options.as_written else _train)(options)


def _train(options: Config) -> None:
    data, rows, results = zoomed_digits() if options.data == "digits" else datasets.mnist(), [], {}
    data, run = first(data, 128) if options.smoke else data, Run("simplecnn", options)
    for label, (trainer, epochs) in TRAINERS[options.data].items():
        trainings = train_seeds(run, trainer, lambda seed: data, options.seeds, options.epochs_or(epochs), label)
        accuracies, count = [t.test_accuracy for t in trainings], fn.count_parameters(trainings[0].ts.params)
        rows.append((label, f"{count:,}", len(trainings[0].history), spread(accuracies), f"{trainings[0].seconds:.1f} s"))
        results[label] = {"test_accuracies": accuracies, "parameters": count, "seconds": [t.seconds for t in trainings]}
        if label == "the tutorial's network":
            draw(run, trainer, trainings[0], data, "0123456789", f"A {data.test_labels[0]} on its way through the network")
    table(
        f"simplecnn on {options.data}, trained (the tutorial asks for over 95 %); mean (range) of {len(options.seeds)} seeds",
        ("", "parameters", "epochs", "test accuracy", "first seed, with compiling"), rows,
    )  # fmt: skip
    run.finish(results)


def by_funcnn(given: dict[str, np.ndarray], dtype: str = "float64") -> dict[str, np.ndarray]:
    """What `by_torch` gives, by the hand-written passes, on NumPy."""
    p = fn.to_numpy(given, dtype)
    params = ({"w": p["w1"], "b": p["b1"]}, (), (), {"w": p["w2"], "b": p["b2"]}, (), (), (), {"w": p["w3"], "b": p["b3"]})
    logits, _, residuals = NET.forward(params, ((),) * len(NET.layers), p["x"])
    loss, dlogits = fn.softmax_cross_entropy(logits, p["labels"])
    grads, dx = NET.backward(residuals, dlogits)
    named = {f"d{name}{i + 1}": grads[at][name] for i, at in enumerate((0, 3, 7)) for name in ("w", "b")}
    return {"logits": logits, "loss": np.asarray(loss), "dx": dx, **named}


def _compare(options: Config) -> None:
    try:
        given = problem()
        expected, source = by_torch(given), "PyTorch"
    except ModuleNotFoundError:
        if options.store:
            raise UserError("simplecnn: expected PyTorch for --store; install it, .venv/bin/pip install -e '.[peers]'") from None
        (given, expected), source = stored(), "PyTorch's stored values"
    run = Run("simplecnn", options)
    if options.store:
        store(given, expected)
    double, single = by_funcnn(given), by_funcnn(given, "float32")
    rows = {name: {"entries": e.size, **_errors(e, double[name], single[name])} for name, e in expected.items()}
    title = f"Four digits forward and backward, on NumPy, against {source} in float64: the largest differences"
    shown = ((n, *(r[k] if k == "entries" else f"{r[k]:.1e}" for k in r)) for n, r in rows.items())
    table(title, ("", "entries", "float64", "float32 (the tutorial allows 1e-5)"), shown)
    within = all(r["float64"] <= 1e-12 and r["float32"] <= 1e-5 for r in rows.values())
    summary = f"{'all' if within else 'NOT all'} within 1e-12 and 1e-5; results"
    run.finish({"against": source, "within": within, "differences": rows}, summary)


def _errors(expected: np.ndarray, double: np.ndarray, single: np.ndarray) -> dict[str, float]:
    return {"float64": float(np.abs(double - expected).max()), "float32": float(np.abs(single - expected).max())}
