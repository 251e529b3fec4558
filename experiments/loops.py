"""The tutorials' way, one output position at a time, against every other algorithm, on NumPy and compiled by JAX. Takes 10 min.

Claim: all compute the same, forward and both gradients, to float32's rounding; the loops take longest.
Measured on 2 cores (Xeon with AVX-512), `.venv/bin/python -m experiments loops`, medians of 10: on three layers of the tutorials the loops
on NumPy take 1.4 to 20 times as long as the other algorithms do there, and 7 to 208 times as long as these compiled.
Theme: speed.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import funcnn as fn
from experiments.benchmark.timing import median_seconds
from experiments.common.console import progress, table
from experiments.common.options import Options
from experiments.common.run import Run
from funcnn import convolution
from funcnn.convolution import ConvAlgorithm
from funcnn.convolution.geometry import window

Config = Options
ALGORITHMS = {a.name: a for a in vars(convolution).values() if isinstance(a, ConvAlgorithm)}
TUTORIALS = {  # x (N, H, W, C) -> O features, windows, padding "SAME"
    "lines8: 1, 8, 8, 1 -> 1": ((1, 8, 8, 1), 1, 3),
    "mnist1k: 20, 28, 28, 1 -> 16": ((20, 28, 28, 1), 16, 3),
    "lines28, second: 10, 14, 14, 8 -> 16": ((10, 14, 14, 8), 16, 3),
}
AROUND = {  # where `auto` changes to Winograd's way, C O / (C + O) being 4, 8, 12 and 16, and to the Fourier transform, first for dw
    f"16, 14, 14, {c} -> {c}, {size}x{size}": ((16, 14, 14, c), c, size)
    for size, channels in ((3, (8, 16, 24, 32)), (5, (8, 16, 24, 32)), (7, (8, 16)), (11, (8,)))
    for c in channels
}
Shape = tuple[tuple[int, int, int, int], int, int]


def passes(algorithm: ConvAlgorithm, shape: Shape) -> Callable[..., Any]:
    """`(w, x, dy) -> (y, dw, dx)` of one layer."""
    _, features, size = shape
    layer = fn.conv(features, (size, size), bias=False, algorithm=algorithm)

    def run(w, x, dy):
        y, _, residuals = layer.forward({"w": w}, (), x)
        dparams, dx = layer.backward(residuals, dy)
        return y, dparams["w"], dx

    return run


def supported(algorithm: ConvAlgorithm, shape: Shape) -> bool:
    (_, *sizes, _), _, size = shape
    return algorithm.supports(window("conv", (size, size), 1, "SAME").over(sizes))


def main(options: Config) -> None:
    run, rows = Run("loops", options), []
    shapes = dict(list(TUTORIALS.items())[:1]) if options.smoke else TUTORIALS | AROUND
    pairs = [(label, shape, a) for label, shape in shapes.items() for a in ALGORITHMS.values() if supported(a, shape)]
    with progress("loops", len(pairs)) as advance:
        for label, shape, algorithm in pairs:
            rows.append({"shape": label, "algorithm": algorithm.name, **_measured(algorithm, shape, options)})
            run.log(rows[-1])
            advance(error=rows[-1]["error"])
    loops = {row["shape"]: row for row in rows if row["algorithm"] == "direct"}
    table(
        "Forward and both gradients of one convolution; times of the loops, direct on NumPy, over the algorithm's",
        ("x (N, H, W, C) -> O", "algorithm", "NumPy, ms", "loops take", "compiled, ms", "loops take", "error"),
        ((r["shape"], r["algorithm"], f"{1e3 * r['numpy_s']:.3g}", f"{loops[r['shape']]['numpy_s'] / r['numpy_s']:.0f} x",
          f"{1e3 * r['compiled_s']:.3g}", f"{loops[r['shape']]['numpy_s'] / r['compiled_s']:.0f} x", f"{r['error']:.0e}") for r in rows),
        text_columns=2,
    )  # fmt: skip
    run.finish({"rows": rows}, "error: against im2col in float64, relative to the largest entry; results")


def _measured(algorithm: ConvAlgorithm, shape: Shape, options: Config) -> dict[str, float]:
    (given, features, size), rng, rounds = shape, np.random.default_rng(options.seed), 2 if options.smoke else 10
    shapes = (size, size, given[-1], features), given, (*given[:-1], features)
    w, x, dy = (rng.standard_normal(s).astype("float32") for s in shapes)
    exact = passes(convolution.im2col, shape)(*(a.astype("float64") for a in (w, x, dy)))
    plain = passes(algorithm, shape)
    compiled, on_device = jax.jit(plain), jax.device_put((w, x, dy))
    error = max(_error(got, exact) for got in (plain(w, x, dy), compiled(*on_device)))
    return {
        "numpy_s": median_seconds(lambda: plain(w, x, dy), rounds),
        "compiled_s": median_seconds(lambda: compiled(*on_device), rounds),
        "error": error,
    }


def _error(got: tuple, exact: tuple) -> float:
    return max(float(np.abs(np.asarray(a) - b).max() / np.abs(b).max()) for a, b in zip(got, exact, strict=True))
