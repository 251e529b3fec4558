"""The simple-CNN tutorial: never trained, its forward pass compared with PyTorch; here every gradient is, and it learns. Takes 1 min.

As written (`--as-written`): forward and backward on four zoomed digits against PyTorch in float64, or, where that is not installed, against
the values that it gave (`experiments/references/simplecnn.npz`, made by `--store`).
By default the same network is trained: on digits, zoomed to 28x28 and standardised as in the tutorial, or on MNIST (`--data mnist`).

Measured on 2 cores (Xeon with AVX-512): all gradients within 1e-12 of PyTorch's; trained, 99.1 % of the test digits (3 seeds).
`--data mnist --runs 1` (3 min): its own 4,266 parameters reach 98.77 %, 16 and 32 channels with batch norm 99.33 %.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from scipy.ndimage import zoom

import funcnn as fn
from experiments.harness import Run, SeedsOptions, UserError, table
from experiments.system import System, draw, epochs_of, first, one_cycle, parameters, seeds_of, spread, train_seeds
from funcnn import augmentation, datasets

REFERENCE = Path(__file__).parent / "references" / "simplecnn.npz"
LAYERS = (
    fn.conv(4, (3, 3), padding=1), fn.relu, fn.max_pool((2, 2)),
    fn.conv(8, (3, 3), padding=1), fn.relu, fn.max_pool((2, 2)),
    fn.flatten, fn.dense(10),
)  # fmt: skip
WIDER = (
    fn.conv(16, (3, 3), bias=False), fn.max_pool((2, 2)), fn.batch_norm(), fn.relu,
    fn.conv(32, (3, 3), bias=False), fn.max_pool((2, 2)), fn.batch_norm(), fn.relu,
    fn.flatten, fn.dense(10),
)  # fmt: skip
SHIFTED = {"augment": augmentation.shift(1)}
SYSTEMS = {
    "digits": {"the tutorial's network": System(LAYERS, one_cycle(1e-2), batch_size=16, epochs=20, **SHIFTED)},
    "mnist": {
        "the tutorial's network": System(LAYERS, one_cycle(1e-2), batch_size=32, epochs=20, **SHIFTED),
        "16 and 32 channels, batch norm": System(WIDER, one_cycle(1e-2), batch_size=32, epochs=10, **SHIFTED),
    },
}


@dataclass(frozen=True)
class Config(SeedsOptions):
    data: Literal["digits", "mnist"] = "digits"
    """What to train on."""
    as_written: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """No training: forward and backward against PyTorch, as the tutorial does with its forward pass."""
    store: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """With --as-written: write what PyTorch gives into experiments/references, for machines without it."""


def zoomed_digits() -> datasets.Split:
    """scikit-learn's digits, 8x8, zoomed to 28x28 by cubic splines; each image with mean 0 and standard deviation 1."""

    def prepare(images: np.ndarray) -> np.ndarray:
        x = zoom(images, (1, 3.5, 3.5, 1)).astype("float32")  # (N, 28, 28, 1)
        return (x - x.mean((1, 2, 3), keepdims=True)) / x.std((1, 2, 3), keepdims=True)

    data = datasets.digits()
    return data._replace(train_images=prepare(data.train_images), test_images=prepare(data.test_images))


def main(options: Config) -> None:
    if options.store and not options.as_written:
        raise UserError("simplecnn: expected --as-written together with --store")
    if options.as_written and options.data != "digits":
        raise UserError(f"simplecnn: expected --data digits together with --as-written, got {options.data}")
    (_compare if options.as_written else _train)(options)


def _train(options: Config) -> None:
    data, rows, results = zoomed_digits() if options.data == "digits" else datasets.mnist(), [], {}
    data, run = first(data, 128) if options.smoke else data, Run("simplecnn", options)
    for label, system in SYSTEMS[options.data].items():
        trainings = train_seeds(run, system, lambda seed: data, seeds_of(options), epochs_of(options, system), label=label)
        accuracies, count = [t.history[-1]["test_accuracy"] for t in trainings], parameters(trainings[0].ts.params)
        seconds = trainings[0].seconds
        rows.append((label, f"{count:,}", len(trainings[0].history), spread(accuracies, "accuracy"), f"{seconds:.1f} s"))
        results[label] = {"test_accuracies": accuracies, "parameters": count, "seconds": [t.seconds for t in trainings]}
        if label == "the tutorial's network":
            draw(run, system, trainings[0], data.test_images[0], f"A {data.test_labels[0]} on its way through the network")
    table(
        f"simplecnn on {options.data}, trained (the tutorial asks for over 95 %); mean (range) of {len(seeds_of(options))} seeds",
        ("", "parameters", "epochs", "test accuracy", "first seed, with compiling"), rows,
    )  # fmt: skip
    run.finish(results)


def problem() -> dict[str, np.ndarray]:
    """Four zoomed digits, their labels and He-initialised parameters, float64: what both sides start from."""
    data, rng = zoomed_digits(), np.random.default_rng(0)
    shapes = {"w1": (3, 3, 1, 4), "w2": (3, 3, 4, 8), "w3": (392, 10)}
    weights = {name: rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1])) for name, shape in shapes.items()}
    biases = {f"b{i}": 0.1 * rng.standard_normal(n) for i, n in ((1, 4), (2, 8), (3, 10))}
    return {"x": data.train_images[:4].astype("float64"), "labels": data.train_labels[:4], **weights, **biases}


def by_funcnn(given: dict[str, np.ndarray], dtype: str = "float64") -> dict[str, np.ndarray]:
    """Logits, loss and all gradients by the hand-written passes, on NumPy."""
    p = fn.to_numpy(given, dtype)
    params = ({"w": p["w1"], "b": p["b1"]}, (), (), {"w": p["w2"], "b": p["b2"]}, (), (), (), {"w": p["w3"], "b": p["b3"]})
    net = fn.serial(*LAYERS)
    logits, _, residuals = net.forward(params, ((),) * len(LAYERS), p["x"])
    loss, dlogits = fn.softmax_cross_entropy(logits, p["labels"])
    grads, dx = net.backward(residuals, dlogits)
    named = {f"d{name}{i + 1}": grads[at][name] for i, at in enumerate((0, 3, 7)) for name in ("w", "b")}
    return {"logits": logits, "loss": np.asarray(loss), "dx": dx, **named}


def by_torch(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same by PyTorch, in its layout NCHW, and brought back to ours."""
    import torch
    from torch.nn import functional as F

    def leaf(a: np.ndarray) -> Any:
        return torch.tensor(a).requires_grad_()

    x, b1, b2, b3 = leaf(given["x"].transpose(0, 3, 1, 2)), *(leaf(given[f"b{i}"]) for i in (1, 2, 3))
    w1, w2 = (leaf(given[name].transpose(3, 2, 0, 1)) for name in ("w1", "w2"))
    w3 = leaf(given["w3"])
    h = F.max_pool2d(F.relu(F.conv2d(x, w1, b1, padding=1)), 2)
    h = F.max_pool2d(F.relu(F.conv2d(h, w2, b2, padding=1)), 2)
    logits = h.permute(0, 2, 3, 1).flatten(1) @ w3 + b3  # flattened as NHWC, as w3 expects
    loss = F.cross_entropy(logits, torch.tensor(given["labels"], dtype=torch.int64))
    loss.backward()
    kernels = {"dw1": w1.grad.permute(2, 3, 1, 0), "dw2": w2.grad.permute(2, 3, 1, 0), "dx": x.grad.permute(0, 2, 3, 1)}
    others = {"logits": logits, "loss": loss, "dw3": w3.grad, "db1": b1.grad, "db2": b2.grad, "db3": b3.grad}
    return {name: value.detach().numpy() for name, value in (kernels | others).items()}


def stored() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What PyTorch was given when the reference was made, and what it gave."""
    with np.load(REFERENCE) as file:
        given, gave = ({k.removeprefix(p): file[k] for k in file.files if k.startswith(p)} for p in ("given.", "gave."))
    return given, gave


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
        REFERENCE.parent.mkdir(exist_ok=True)
        named: dict[str, Any] = {f"{p}.{k}": v for p, part in (("given", given), ("gave", expected)) for k, v in part.items()}
        np.savez_compressed(REFERENCE, **named)
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
