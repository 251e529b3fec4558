"""How long something takes, and what this machine can do at best."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def median_seconds(run: Callable[[], Any], rounds: int) -> float:
    """The median of `rounds` calls; the first, which may compile, is not among them."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def matmul_rate(rows: int) -> float:
    """GFLOP/s of a float32 product (rows, 288) by (288, 64): what bounds a convolution that is one matrix product."""
    rng = np.random.default_rng(0)
    a, b = (jax.device_put(rng.standard_normal(shape, "float32")) for shape in ((rows, 288), (288, 64)))
    product = jax.jit(lambda a, b: a @ b)
    return 2 * rows * 288 * 64 / median_seconds(lambda: product(a, b), 50) / 1e9


def bandwidth(count: int) -> float:
    """GB/s read and written by an element-wise operation on `count` float32 numbers: what bounds pools and batch norm."""
    x = jax.device_put(np.ones(count, "float32"))
    double = jax.jit(lambda x: x + x)
    return 8 * count / median_seconds(lambda: double(x), 50) / 1e9
