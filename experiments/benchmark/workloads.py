"""What is timed: layers and networks as plain data, which every contender builds in its own way. Imports no contender."""

import time
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, Literal, NamedTuple

import numpy as np

Spec = tuple[Any, ...]
"""("conv", features, kernel, stride, padding, groups), the kernel a size for both axes or one for each of any number,
("conv_transpose", features, kernel size, stride, padding, output padding), ("max_pool", window, stride), ("avg_pool", window, stride),
("dense", features), ("residual", specs, specs of the shortcut), ("block", specs), which may be recomputed, ("repeat", spec, n), or the
name alone of what has no options."""


class Workload(NamedTuple):
    """A piece of work.

    Attributes:
        name: its row in the table.
        kind: "layer": y and both gradients of one layer, given dy; "step": a training step by SGD with cross-entropy over 10 classes.
        layers: in series.
        batch: examples.
        in_shape: of an example, (H, W, C); of a transposed convolution with any number of spatial axes.
        group: which rows are summed up together.
        dtype: of parameters and inputs.
        bias: whether convolutions have one.
        momentum: of SGD.
        losses: of how many steps they are compared.
        rate: of SGD.
    """

    name: str
    kind: Literal["layer", "step"]
    layers: tuple[Spec, ...]
    batch: int
    in_shape: tuple[int, ...]
    group: str
    dtype: str = "float32"
    bias: bool = True
    momentum: float | None = None
    losses: int = 3
    rate: float = 0.01

    def inputs(self, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """x (N, H, W, C) float32, normal; labels (N,) int32."""
        rng = np.random.default_rng(seed)
        return rng.standard_normal((self.batch, *self.in_shape), "float32"), rng.integers(0, 10, self.batch, dtype="int32")


def sizes_of(kernel: int | tuple[int, ...]) -> tuple[int, ...]:
    """Of the kernel along each axis."""
    return (kernel, kernel) if isinstance(kernel, int) else kernel


def conv(features: int, kernel: int = 3, stride: int = 1, padding: int | None = None, groups: int = 1) -> Spec:
    """Padded by kernel // 2 on all sides unless said."""
    return ("conv", features, kernel, stride, kernel // 2 if padding is None else padding, groups)


def operations(workload: Workload) -> float:
    """Of a convolution's plain sum, forward and both gradients: 2 N P Q O KH KW C / G each; 0 for anything else."""
    spec = workload.layers[0]
    if workload.kind != "layer" or spec[0] != "conv":
        return 0.0
    _, features, kernel, stride, padding, groups = spec
    h, w, c = workload.in_shape
    outputs = prod((size + 2 * padding - kernel) // stride + 1 for size in (h, w)) * features
    return 6.0 * workload.batch * outputs * kernel**2 * c / groups


def layer(group: str, n: int, h: int, w: int, c: int, spec: Spec) -> Workload:
    what = {"conv": f"-> {spec[1]}", "max_pool": "max pool"}[spec[0]]
    kernel = spec[2] if spec[0] == "conv" else spec[1]
    rest = (f", stride {spec[3]}" if spec[3] > 1 else "") + (", depthwise" if spec[5] > 1 else "") if spec[0] == "conv" else f"/{spec[2]}"
    return Workload(f"{n}, {h}, {w}, {c} {what}, {kernel}x{kernel}{rest}", "layer", (spec,), n, (h, w, c), group, bias=False)


def transposed(
    what: str, shape: tuple[int, ...], features: int, kernel: tuple[int, ...], stride: int, padding: int, more: int = 0
) -> Workload:
    """A transposed convolution of x (N, ..., C)."""
    name = (
        f"{what}: {', '.join(map(str, shape))} -> {features}, {'x'.join(map(str, kernel))}{' taps' * (len(kernel) == 1)}, stride {stride}"
    )
    spec = ("conv_transpose", features, kernel, stride, padding, more)
    return Workload(name, "layer", (spec,), shape[0], shape[1:], "transposed")


def depthwise(what: str, shape: tuple[int, ...], kernel: tuple[int, ...], stride: int = 1) -> Workload:
    """A depthwise convolution of x (N, ..., C), padded by kernel // 2."""
    name = f"{what}: {', '.join(map(str, shape))}, {'x'.join(map(str, kernel))}{' taps' * (len(kernel) == 1)}, stride {stride}"
    spec = ("conv", shape[-1], kernel, stride, kernel[0] // 2, shape[-1])
    return Workload(name, "layer", (spec,), shape[0], shape[1:], "depthwise", bias=False)


def long(workload: Workload) -> Workload:
    """The same, compared over 20 steps, at a rate at which rounding stays rounding.

    At 0.01 it grows: the losses by two right convolutions were up to 2.4e-4 apart after 20 steps.
    """
    return workload._replace(losses=20, rate=1e-3)


def mnist(pool: str, batch: int = 128, size: int = 28, width: int = 32) -> Workload:
    """The network of Flax's MNIST example, whose pools are "avg_pool"."""
    layers = (
        conv(width), ("relu",), (pool, 2, 2), conv(2 * width), ("relu",), (pool, 2, 2),
        ("flatten",), ("dense", 8 * width), ("relu",), ("dense", 10),
    )  # fmt: skip
    name = f"MNIST example, {'average' if pool == 'avg_pool' else 'max'} pooling, batch {batch}"
    return long(Workload(name, "step", layers, batch, (size, size, 1), "doors", momentum=0.9))


def separable(batch: int = 128, size: int = 32, width: int = 32) -> Workload:
    """A small MobileNet for CIFAR: depthwise 3x3 and dense 1x1 convolutions in turns, each with batch norm."""

    def block(before: int, features: int, stride: int) -> tuple[Spec, ...]:
        norm = (("batch_norm",), ("relu",))
        return conv(before, stride=stride, groups=before), *norm, conv(features, 1), *norm

    widths = [(1, 2, 1), (2, 4, 2), (4, 4, 1), (4, 8, 2), (8, 8, 1)]
    blocks = (spec for before, features, stride in widths for spec in block(before * width, features * width, stride))
    layers = (conv(width), ("batch_norm",), ("relu",), *blocks, ("global_avg_pool",), ("dense", 10))
    return long(Workload(f"depthwise network, batch {batch}", "step", layers, batch, (size, size, 3), "doors", bias=False, momentum=0.9))


def middle(name: str, batch: int, size: int = 28, width: int = 32, normalised: bool = False, group: str = "steps") -> Workload:
    """conv, pool, conv, pool, dense 128, dense 10."""
    norm: tuple[Spec, ...] = (("batch_norm",),) if normalised else ()
    layers = (
        conv(width), *norm, ("relu",), ("max_pool", 2, 2), conv(2 * width), *norm, ("relu",), ("max_pool", 2, 2),
        ("flatten",), ("dense", 128), ("relu",), ("dense", 10),
    )  # fmt: skip
    return Workload(name, "step", layers, batch, (size, size, 1), group)


def _block(features: int, stride: int = 1, wider: Spec | None = None) -> tuple[Spec, ...]:
    inner = (conv(features, stride=stride), ("batch_norm",), ("relu",), conv(features), ("batch_norm",))
    shortcut = (wider or conv(features, 1, stride, 0),) if stride > 1 else ()
    return ("residual", inner, shortcut), ("relu",)


def resnet(depth: int, batch: int, size: int = 32, width: int = 16) -> Workload:
    """What `funcnn.networks.resnet20` is for depth 20, trained with momentum."""

    def stage(features: int, stride: int) -> tuple[Spec, ...]:
        first = [] if stride == 1 else [("block", _block(features, stride, ("wider",)))]
        return (*first, ("repeat", ("block", _block(features)), (depth - 2) // 6 - len(first)))

    layers = (conv(width), ("batch_norm",), ("relu",), *stage(width, 1), *stage(2 * width, 2), *stage(4 * width, 2))
    name, rest = f"ResNet-{depth}, batch {batch}", (("global_avg_pool",), ("dense", 10))
    return Workload(name, "step", (*layers, *rest), batch, (size, size, 3), "deep", bias=False, momentum=0.9)


def written_out(specs: Sequence[Spec], params: Sequence[Any]) -> tuple[tuple[Spec, ...], tuple[Any, ...]]:
    """The same network and parameters with the copies of every `repeat` one after the other."""
    pairs = [
        pair
        for spec, p in zip(specs, params, strict=True)
        for pair in ([(spec[1], _copy(p, i)) for i in range(spec[2])] if spec[0] == "repeat" else [(spec, p)])
    ]
    return tuple(spec for spec, _ in pairs), tuple(p for _, p in pairs)


def _copy(stacked: Any, i: int) -> Any:
    """Entry i of every array in a tree."""
    if isinstance(stacked, Mapping):
        return {name: _copy(a, i) for name, a in stacked.items()}
    return tuple(_copy(a, i) for a in stacked) if isinstance(stacked, tuple) else stacked[i]


class Way(NamedTuple):
    """How funcnn or JAX does the work.

    Attributes:
        gradients: by hand, or by `jax.grad`.
        lax: JAX's own convolution and pooling.
        epoch: an epoch in one program, not a step at a time.
        door: convolution and pooling of `funcnn.interop`, called as JAX's own are.
        repeat: copies of a block by `fn.repeat`, not written out.
        recompute: `fn.recompute` around every block.
    """

    gradients: Literal["manual", "auto"] = "manual"
    lax: bool = False
    door: bool = False
    epoch: bool = False
    repeat: bool = True
    recompute: bool = False


STEPS = (
    Workload("T1 lines8, batch 1", "step", (conv(1, padding=0), ("relu",), ("flatten",), ("dense", 10)), 1, (8, 8, 1), "steps"),
    Workload(
        "T2 mnist1k, batch 20", "step", (conv(16), ("relu",), ("max_pool", 2, 1), ("flatten",), ("dense", 10)), 20, (28, 28, 1), "steps"
    ),
    Workload(
        "T3 lines28, batch 10", "step",
        (
            conv(8), ("relu",), ("max_pool", 2, 2), conv(16), ("relu",), ("max_pool", 2, 2),
            ("flatten",), ("dense", 128), ("relu",), ("dense", 10),
        ),
        10, (28, 28, 1), "steps",
    ),
    Workload(
        "T4 fashion5k, batch 1", "step", (conv(1, 6, padding=0), ("relu",), ("max_pool", 2, 2), ("flatten",), ("dense", 10)),
        1, (28, 28, 1), "steps",
    ),
    middle("middle-sized, batch 128", 128),
    middle("the same with batch norm", 128, normalised=True),
    Workload(
        "small ResNet, batch 32", "step",
        (conv(16), ("batch_norm",), ("relu",), *_block(16), *_block(32, 2), *_block(64, 2), ("global_avg_pool",), ("dense", 10)),
        32, (32, 32, 3), "steps",
    ),
)  # fmt: skip
TUTORIALS = {STEPS[0].name: 1.25 / 4000, STEPS[1].name: 401 / 50, STEPS[2].name: 112 / 50, STEPS[3].name: 1.1e-3}
"""Seconds a step as measured with the tutorials' own programs, on another machine: 20 epochs of 200 images in 1.25 s, an epoch of 50
batches in 401 s and in 112 s, and 1.1 ms an image."""
TABLE = (
    layer("3x3", 20, 28, 28, 1, conv(16)), layer("3x3", 10, 14, 14, 8, conv(16)), layer("3x3", 128, 28, 28, 1, conv(32)),
    layer("3x3", 128, 14, 14, 32, conv(64)), layer("3x3", 32, 32, 32, 64, conv(64)), layer("3x3", 64, 8, 8, 256, conv(256)),
)  # fmt: skip
OTHERS = (
    layer("other", 32, 28, 28, 32, conv(64, stride=2)), layer("other", 32, 28, 28, 16, conv(32, 5)),
    layer("other", 32, 28, 28, 64, conv(64, 1)), layer("other", 32, 28, 28, 32, conv(32, groups=32)),
    layer("other", 16, 29, 31, 16, conv(32)), layer("other", 64, 28, 28, 3, conv(17)),
)  # fmt: skip
POOLS = (
    layer("pool", 128, 28, 28, 32, ("max_pool", 2, 2)), layer("pool", 128, 14, 14, 64, ("max_pool", 2, 2)),
    layer("pool", 32, 28, 28, 32, ("max_pool", 3, 2)), layer("pool", 20, 28, 28, 16, ("max_pool", 2, 1)),
)  # fmt: skip


TRANSPOSED = (
    transposed("jax-ml/jax#31662", (1, 64, 64, 32, 64), 1, (3, 3, 3), 2, 1, 1),
    transposed("as in jax-ml/jax#23783", (16, 64, 512), 1, (1024,), 512, 256),
    transposed("1-D decoder", (16, 256, 64), 32, (8,), 4, 2),
    transposed("DCGAN", (64, 8, 8, 256), 128, (4, 4), 2, 1),
    transposed("DCGAN, last", (64, 16, 16, 64), 3, (4, 4), 2, 1),
    transposed("filter bank", (4, 1024, 64), 1, (256,), 16, 120),
    transposed("filter bank, long hop", (16, 128, 64), 1, (256,), 64, 96),
    transposed("filter bank, short hop", (4, 2048, 32), 1, (256,), 4, 126),
    transposed("U-Net", (8, 32, 32, 128), 64, (2, 2), 2, 0),
)

DEPTHWISE = (
    depthwise("jax-ml/jax#23713", (1, 124, 124, 256), (3, 3)),
    depthwise("the same with 64 channels", (1, 124, 124, 64), (3, 3)),
    depthwise("a layer of jax-ml/jax#13800", (32, 1024, 512), (5,)),
    depthwise("MobileNet, stride 2", (32, 56, 56, 128), (3, 3), 2),
    depthwise("ConvNeXt", (16, 28, 28, 192), (7, 7)),
)


def neighbours(seed: int, count: int = 6) -> tuple[Workload, ...]:
    """Layers and steps beside those of the tables, drawn at random: what is tuned to the tables' shapes alone shows here."""
    rng = np.random.default_rng(seed)
    sizes = [
        (int(rng.integers(8, 97)), *map(int, rng.integers(7, 33, 2)), int(rng.integers(4, 97)), int(rng.integers(8, 129)))
        for _ in range(count)
    ]
    steps = [(int(rng.integers(48, 193)), int(4 * rng.integers(5, 9)), int(8 * rng.integers(2, 6))) for _ in range(count // 3)]
    return (
        *(layer("random", n, h, w, c, conv(o)) for n, h, w, c, o in sizes),
        *(middle(f"middle-sized, batch {b}, {s}x{s}, width {f}", b, s, f, group="random") for b, s, f in steps),
    )


class Prepared(NamedTuple):
    """A workload, compiled.

    Attributes:
        results: what it computes, to be compared: y, dw and dx of a layer; the first three losses of a training.
        first_seconds: of the first call, which compiles.
        run: does it once more, and waits.
        each: how many times it does it by that.
        program: of a compiled step "trace_s", "compile_s" and "temporary_mib", the memory beside its inputs and outputs.
    """

    results: Mapping[str, np.ndarray]
    first_seconds: float
    run: Callable[[], Any]
    each: int = 1
    program: Mapping[str, float] = {}


def cotangent(shape: Sequence[int]) -> np.ndarray:
    """dy of a single layer, the same for everyone: float32."""
    return np.random.default_rng(1).standard_normal(shape, "float32")


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result
