"""ResNets for 32x32 images, built and run in several ways; each measured in a process of its own."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

RATE, MOMENTUM = 0.05, 0.9
WAYS = {
    "funcnn": "repeat", "written out": "out", "recompute": "repeat, recompute", "recompute, written out": "out, recompute",
    "lax": "lax, out", "lax in repeat": "lax, repeat",
}  # fmt: skip
"""How a network is built, by name; and by PyTorch, eagerly, in either memory layout."""
TORCH = {"PyTorch": False, "its NHWC": True}


class Deep(NamedTuple):
    """A network and its data, the same for all.

    Attributes:
        depth: 6 * blocks + 2 layers.
        batch, size, width, classes: examples of size x size x 3; channels of the first stage.
    """

    depth: int = 20
    batch: int = 128
    size: int = 32
    width: int = 16
    classes: int = 10

    def inputs(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        x = rng.standard_normal((self.batch, self.size, self.size, 3), "float32")
        return x, rng.integers(0, self.classes, self.batch, dtype="int32")


def build(deep: Deep, way: str) -> Any:
    """The network, built that way."""
    import funcnn as fn
    from experiments.benchmark.contenders import lax_conv
    from funcnn import networks

    options: dict[str, Callable] = {}
    if "lax" in way:
        options["conv3x3"] = lambda features, stride=1, padding=1: lax_conv(
            features, (3, 3), stride=stride, padding=padding, groups=1, bias=False
        )
    if "out" in way:
        options["copies"] = lambda layer, n: fn.serial(*n * [layer])
    if "recompute" in way:
        options["each"] = fn.recompute
    return networks._resnet_of_small_images((deep.depth - 2) // 6, deep.classes, deep.width, **options)


def initial(deep: Deep) -> tuple[Any, ...]:
    """The parameters that all begin with, as NumPy arrays: blocks written out, in the order of the network."""
    import jax

    import funcnn as fn

    return fn.to_numpy(build(deep, "out").init(jax.random.key(0), (deep.size, deep.size, 3))[0])


def measure(name: str, deep: Deep, params: Any, seconds: float) -> dict[str, float]:
    """Compile a training step, run it for some seconds; what that took.

    Returns: seconds of "trace", "compile" and "step" (the median), MiB of "temporary" memory in the compiled program and of "peak" in the
    process, the first "loss".
    """
    from experiments.benchmark.race import _peak

    prepare = _by_pytorch if name in TORCH else _by_jax
    results, step = prepare(name, deep, params)
    step()
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return results | {"step": float(np.median(times)), "peak": _peak()}


def _by_jax(name: str, deep: Deep, params: Any) -> tuple[dict[str, float], Callable[[], Any]]:
    import jax
    import optax

    import funcnn as fn
    from funcnn import training

    fn.keep_memory()
    way = WAYS[name]
    trainer = training.Trainer(
        build(deep, way), optax.sgd(RATE, momentum=MOMENTUM), deep.batch, gradients="auto" if "lax" in way else "manual"
    )
    ts = training.init(trainer, jax.random.key(0), (deep.size, deep.size, 3))
    jax.block_until_ready(ts)
    if "repeat" not in way:  # the same numbers, stacked or not
        assert jax.tree.structure(ts.params) == jax.tree.structure(params)
    x, labels = deep.inputs()
    start = time.perf_counter()
    lowered = training.make_step(trainer).lower(ts, x, labels)
    traced = time.perf_counter()
    compiled = lowered.compile()
    done = time.perf_counter()
    at = [ts]

    def step() -> float:
        at[0], metrics = compiled(at[0], x, labels)
        return float(metrics["loss"])

    temporary = compiled.memory_analysis().temp_size_in_bytes / 2**20
    return {"trace": traced - start, "compile": done - traced, "temporary": temporary, "loss": step()}, step


def _by_pytorch(name: str, deep: Deep, params: Any) -> tuple[dict[str, float], Callable[[], Any]]:
    from experiments.benchmark.pytorch import resnet_step

    start = time.perf_counter()
    step = resnet_step(*deep.inputs(), params, TORCH[name], RATE, MOMENTUM)
    loss = step()
    nothing = float("nan")
    return {"trace": nothing, "compile": time.perf_counter() - start, "temporary": nothing, "loss": loss}, step
