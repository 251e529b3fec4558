"""The tutorials' way, one output position at a time, against every other algorithm, on NumPy and compiled by JAX. Takes 2 min.

Claim: all compute the same, forward and both gradients, to float32's rounding; the loops take longest.
Measured on 2 cores (Xeon with AVX-512), beside other work, `.venv/bin/python -m experiments loops`, medians of 10: on three layers of the
tutorials the loops on NumPy take 3 to 28 times as long as the other algorithms do there, and 20 to 114 times as long as these compiled.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import funcnn as fn
from experiments.harness import Options, Run, progress, table
from funcnn import convolution
from funcnn.convolution import ConvAlgorithm

Config = Options
ALGORITHMS = {a.name: a for a in vars(convolution).values() if isinstance(a, ConvAlgorithm)}
SHAPES = {  # x (N, H, W, C) -> O features, 3x3, "SAME"
    "lines8: 1, 8, 8, 1 -> 1": ((1, 8, 8, 1), 1),
    "mnist1k: 20, 28, 28, 1 -> 16": ((20, 28, 28, 1), 16),
    "lines28, second: 10, 14, 14, 8 -> 16": ((10, 14, 14, 8), 16),
    "16, 14, 14, 16 -> 32": ((16, 14, 14, 16), 32),
    "16, 14, 14, 32 -> 32": ((16, 14, 14, 32), 32),
    "16, 14, 14, 32 -> 64": ((16, 14, 14, 32), 64),
}
SMALL = {"lines8: 1, 8, 8, 1 -> 1": ((1, 8, 8, 1), 1)}


def passes(algorithm: ConvAlgorithm, features: int) -> Callable[..., Any]:
    """`(w, x, dy) -> (y, dw, dx)` of one layer."""
    layer = fn.conv(features, (3, 3), bias=False, algorithm=algorithm)

    def run(w, x, dy):
        y, _, residuals = layer.forward({"w": w}, (), x)
        dparams, dx = layer.backward(residuals, dy)
        return y, dparams["w"], dx

    return run


def seconds(run: Callable[[], Any], rounds: int) -> float:
    """The median of `rounds` calls; the first, which may compile, is not among them."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def main(options: Config) -> None:
    run, shapes, rows = Run("loops", options), SMALL if options.smoke else SHAPES, []
    with progress("loops", len(shapes) * len(ALGORITHMS)) as advance:
        for label, (shape, features) in shapes.items():
            rng = np.random.default_rng(options.seed)
            w, x, dy = (rng.standard_normal(s).astype("float32") for s in ((3, 3, shape[-1], features), shape, (*shape[:-1], features)))
            exact = passes(convolution.direct, features)(*(a.astype("float64") for a in (w, x, dy)))
            for name, algorithm in ALGORITHMS.items():
                plain = passes(algorithm, features)
                compiled, on_device, rounds = jax.jit(plain), jax.device_put((w, x, dy)), 2 if options.smoke else 10
                results = {"NumPy": plain(w, x, dy), "compiled": compiled(*on_device)}
                error = max(_error(got, exact) for got in results.values())
                times = {"numpy_s": seconds(lambda: plain(w, x, dy), rounds), "compiled_s": seconds(lambda: compiled(*on_device), rounds)}  # noqa: B023
                rows.append({"shape": label, "algorithm": name, **times, "error": error})
                run.log(rows[-1])
                advance(error=error)
    loops = {row["shape"]: row for row in rows if row["algorithm"] == "direct"}
    table(
        "Forward and both gradients of one 3x3 convolution; times of the loops, direct on NumPy, over the algorithm's",
        ("x (N, H, W, C) -> O", "algorithm", "NumPy, ms", "loops take", "compiled, ms", "loops take", "error"),
        ((r["shape"], r["algorithm"], f"{1e3 * r['numpy_s']:.3g}", f"{loops[r['shape']]['numpy_s'] / r['numpy_s']:.0f} x",
          f"{1e3 * r['compiled_s']:.3g}", f"{loops[r['shape']]['numpy_s'] / r['compiled_s']:.0f} x", f"{r['error']:.0e}") for r in rows),
        text_columns=2,
    )  # fmt: skip
    run.finish({"rows": rows}, "error: against direct in float64, relative to the largest entry; results")


def _error(got: tuple, exact: tuple) -> float:
    return max(float(np.abs(np.asarray(a) - b).max() / np.abs(b).max()) for a, b in zip(got, exact, strict=True))
