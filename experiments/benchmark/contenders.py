"""Who does the work: funcnn with hand-written gradients or `jax.grad`, JAX's own convolution and pooling; PyTorch in `pytorch.py`."""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any

import jax
import numpy as np
import optax

import funcnn as fn
from experiments.benchmark.workloads import Prepared, Spec, Way, Workload, cotangent, sizes_of, timed, written_out
from funcnn import networks, training
from funcnn.arrays import aligned
from funcnn.layer import stateless

STEPS_OF_AN_EPOCH = 16


def lax_conv(
    features: int, kernel_size: Sequence[int], *, stride: int, padding: int, groups: int, bias: bool = True,
    by: Callable = jax.lax.conv_general_dilated,
) -> fn.Layer:  # fmt: skip
    """`fn.conv` by `jax.lax.conv_general_dilated`, without a backward pass of its own."""
    spatial = "HWD"[: len(kernel_size)]
    layout = f"N{spatial}C"
    ours = fn.conv(features, kernel_size, stride=stride, padding=padding, groups=groups, bias=bias)

    def forward(params, x):
        y = by(
            x,
            params["w"],
            (stride,) * len(kernel_size),
            [(padding, padding)] * len(kernel_size),
            dimension_numbers=(layout, f"{spatial}IO", layout),
            feature_group_count=groups,
        )  # (N, P, Q, O)
        return y + aligned(params["b"], y) if bias else y, ()

    return stateless("conv", forward, _by_jax_alone, lambda key, in_shape: ours.init(key, in_shape)[0])


def lax_conv_transpose(
    features: int, kernel_size: Sequence[int], *, stride: int, padding: int, output_padding: int, bias: bool = True,
    by: Callable = jax.lax.conv_general_dilated,
) -> fn.Layer:  # fmt: skip
    """`fn.conv_transpose` by `jax.lax.conv_general_dilated`, which spreads its input, as Flax and Equinox do."""
    ours = fn.conv_transpose(features, kernel_size, stride=stride, padding=padding, output_padding=output_padding, bias=bias)
    spatial = "HWD"[: len(kernel_size)]
    layout = f"N{spatial}C"

    def forward(params, x):
        y = by(
            x,
            jax.numpy.flip(params["w"], tuple(range(len(kernel_size)))),
            (1,) * len(kernel_size),
            [(k - 1 - padding, k - 1 - padding + output_padding) for k in kernel_size],
            lhs_dilation=(stride,) * len(kernel_size),
            dimension_numbers=(layout, f"{spatial}OI", layout),
        )  # (N, H, W, F)
        return y + aligned(params["b"], y) if bias else y, ()

    return stateless("conv_transpose", forward, _by_jax_alone, lambda key, in_shape: ours.init(key, in_shape)[0])


def lax_max_pool(window: Sequence[int], *, stride: int) -> fn.Layer:
    """`fn.max_pool` by `jax.lax.reduce_window`."""

    def forward(params, x):
        return jax.lax.reduce_window(x, -np.inf, jax.lax.max, (1, *window, 1), (1, stride, stride, 1), "VALID"), ()  # (N, P, Q, C)

    return stateless("max_pool", forward, _by_jax_alone)


def lax_avg_pool(window: Sequence[int], *, stride: int) -> fn.Layer:
    """`fn.avg_pool` by `jax.lax.reduce_window`, as Flax does."""

    def forward(params, x):
        sums = jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, *window, 1), (1, stride, stride, 1), "VALID")  # (N, P, Q, C)
        return sums / prod(window), ()

    return stateless("avg_pool", forward, _by_jax_alone)


def door_pool(name: str, window: Sequence[int], *, stride: int) -> fn.Layer:
    """`fn.max_pool` or `fn.avg_pool` by the function of `funcnn.interop`."""
    pool = getattr(fn.interop, name)
    return stateless(name, lambda params, x: (pool(x, window, (stride, stride), "VALID"), ()), _by_jax_alone)


def _by_jax_alone(residuals, dy):
    raise NotImplementedError("its gradient is that of jax.grad")


Kit = tuple[Callable, Callable, Callable, Callable]
OURS: Kit = (fn.conv, fn.max_pool, fn.conv_transpose, fn.avg_pool)
LAX: Kit = (lax_conv, lax_max_pool, lax_conv_transpose, lax_avg_pool)


def door() -> Kit:
    """What JAX's own are replaced by."""
    conv, conv_transpose = (partial(make, by=fn.interop.conv_general_dilated) for make in (lax_conv, lax_conv_transpose))
    return conv, partial(door_pool, "max_pool"), conv_transpose, partial(door_pool, "avg_pool")


def kit_of(way: Way) -> Kit:
    return door() if way.door else LAX if way.lax else OURS


def build(specs: Sequence[Spec], kit: Kit = OURS, bias: bool = True, around: Callable = lambda block: block) -> tuple[fn.Layer, ...]:
    """The layers by the functions of the kit, and `around` every block; all kits have the same parameters."""
    conv, max_pool, conv_transpose, avg_pool = kit
    named = {
        "relu": fn.relu, "flatten": fn.flatten, "global_avg_pool": fn.global_avg_pool, "batch_norm": fn.batch_norm(),
        "wider": fn.serial(fn.avg_pool((1, 1), stride=2), networks._wider),
    }  # fmt: skip

    def one(spec: Spec) -> fn.Layer:
        match spec:
            case ("conv", features, kernel, stride, padding, groups):
                return conv(features, sizes_of(kernel), stride=stride, padding=padding, groups=groups, bias=bias)
            case ("conv_transpose", features, kernel, stride, padding, more):
                return conv_transpose(features, kernel, stride=stride, padding=padding, output_padding=more, bias=bias)
            case ("max_pool", window, stride):
                return max_pool((window, window), stride=stride)
            case ("avg_pool", window, stride):
                return avg_pool((window, window), stride=stride)
            case ("dense", features):
                return fn.dense(features)
            case ("residual", inner, shortcut):
                return fn.residual(*map(one, inner), shortcut=fn.serial(*map(one, shortcut)))
            case ("block", inner):
                return around(fn.serial(*map(one, inner)))
            case ("repeat", block, n):
                return fn.repeat(one(block), n)
            case (name,):
                return named[name]
        raise ValueError(f"build: unknown layer {spec!r}")

    return tuple(map(one, specs))


def initial(workload: Workload) -> Any:
    """The parameters that everyone begins with: NumPy float32."""
    net = fn.serial(*build(workload.layers, bias=workload.bias))
    return fn.to_numpy(net.init(jax.random.key(0), workload.in_shape)[0])


def prepare(workload: Workload, initial: Any, way: Way) -> Prepared:
    """Compile a workload that begins with the parameters `initial`."""
    return (_layer if workload.kind == "layer" else _training)(workload, initial, way)


def _layer(workload: Workload, initial: Any, way: Way) -> Prepared:
    (layer,), (params,) = build(workload.layers, kit_of(way), workload.bias), initial
    params, x = jax.tree.map(lambda a: jax.device_put(a).astype(workload.dtype), (params, workload.inputs()[0]))
    dy = jax.device_put(cotangent(jax.eval_shape(lambda: layer.apply(params, (), x)[0]).shape)).astype(workload.dtype)

    @jax.jit
    def passes(params, x, dy):
        if way.gradients == "manual":
            y, _, residuals = layer.forward(params, (), x)
            return y, layer.backward(residuals, dy)
        y, pull = jax.vjp(lambda params, x: layer.apply(params, (), x)[0], params, x)
        return y, pull(dy)

    run = partial(passes, params, x, dy)
    seconds, (y, (dparams, dx)) = timed(lambda: jax.block_until_ready(run()))
    results = {"y": y, "dx": dx} | ({"dw": dparams["w"]} if dparams else {})
    return Prepared(fn.to_numpy(results, "float32"), seconds, lambda: jax.block_until_ready(run()))


def _training(workload: Workload, initial: Any, way: Way) -> Prepared:
    specs, initial = (workload.layers, initial) if way.repeat else written_out(workload.layers, initial)
    around = {"around": fn.recompute} if way.recompute else {}
    net = fn.serial(*build(specs, kit_of(way), workload.bias, **around))
    optimizer = optax.sgd(workload.rate, momentum=workload.momentum)
    gradients = training.microbatched(microbatches(workload)) if way.gradients == "manual" else "auto"
    trainer = training.Trainer(net, optimizer, workload.batch, shuffle=False, gradients=gradients, metrics=_nothing)
    ts = training.init(trainer, jax.random.key(0), workload.in_shape)
    params = jax.tree.map(lambda a: jax.device_put(a).astype(workload.dtype), initial)
    ts = ts._replace(params=params, opt_state=optimizer.init(params))
    each = STEPS_OF_AN_EPOCH if way.epoch else 1
    step: Any = (training.make_epoch if way.epoch else training.make_step)(trainer)
    x, labels = workload.inputs()
    x, labels = jax.device_put((np.concatenate([x] * each), np.concatenate([labels] * each)))  # in every step the same batch
    x, at = x.astype(workload.dtype), [ts]

    def run():
        at[0], metrics = jax.block_until_ready(step(at[0], x, labels))
        return np.asarray(metrics["loss"], "float32").reshape(-1)

    traced, lowered = timed(lambda: step.lower(ts, x, labels))  # pyrefly: ignore
    compiled, program = timed(lowered.compile)
    seconds, first = timed(run)  # by the program that is there already
    losses = first if way.epoch else np.concatenate([first, *(run() for _ in range(workload.losses - 1))])
    memory = program.memory_analysis().temp_size_in_bytes / 2**20
    facts = {"trace_s": traced, "compile_s": compiled, "temporary_mib": memory}
    return Prepared({"losses": losses[: workload.losses]}, traced + compiled + seconds, run, each, facts)


def on_numpy(workload: Workload, conv: Callable, one_at_a_time: bool = False) -> Callable[[], Any]:
    """A training step run eagerly on NumPy with another `conv`; image by image, as the tutorials go, or the batch at once."""
    net = fn.serial(*build(workload.layers, (conv, *OURS[1:])))
    params, state = fn.to_numpy(net.init(jax.random.key(0), workload.in_shape), "float32")
    gradients = training.manual(net, fn.softmax_cross_entropy)
    (x, labels), size = workload.inputs(), 1 if one_at_a_time else workload.batch

    def run():
        for i in range(0, workload.batch, size):
            grads, *_ = gradients(params, state, x[i : i + size], labels[i : i + size], None)
            jax.tree.map(lambda p, g: p - workload.rate * g, params, grads)

    return run


def _nothing(outputs: Any, targets: Any) -> dict[str, Any]:
    return {}


def microbatches(workload: Workload) -> int:
    """Parts of at least 16 images, for networks without batch statistics."""
    if any(spec[0] in ("batch_norm", "residual", "repeat") for spec in workload.layers):
        return 1
    return max(n for n in range(1, workload.batch // 16 + 1) if workload.batch % n == 0) if workload.batch >= 32 else 1
