"""Who does the work: funcnn with hand-written gradients or `jax.grad`, JAX's own convolution and pooling; PyTorch in `pytorch.py`."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import optax

import funcnn as fn
from experiments.workloads import Spec, Workload
from funcnn import training
from funcnn.layer import stateless

How = Literal["manual", "auto", "lax", "epoch"]
RATE = 0.01
STEPS_OF_AN_EPOCH = 16


class Prepared(NamedTuple):
    """A workload, compiled.

    Attributes:
        results: what it computes, to be compared: y, dw and dx of a layer; the first three losses of a training.
        first_seconds: of the first call, which compiles.
        run: does it once more, and waits.
        each: how many times it does it by that.
    """

    results: Mapping[str, np.ndarray]
    first_seconds: float
    run: Callable[[], Any]
    each: int = 1


def lax_conv(features: int, kernel_size: Sequence[int], *, stride: int, padding: int, groups: int, bias: bool = True) -> fn.Layer:
    """`fn.conv` by `jax.lax.conv_general_dilated`, without a backward pass of its own."""
    ours = fn.conv(features, kernel_size, stride=stride, padding=padding, groups=groups, bias=bias)

    def forward(params, x):
        y = jax.lax.conv_general_dilated(
            x,
            params["w"],
            (stride, stride),
            [(padding, padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )  # (N, P, Q, O)
        return y + params["b"] if bias else y, ()

    return stateless("conv", forward, _by_jax_alone, lambda key, in_shape: ours.init(key, in_shape)[0])


def lax_max_pool(window: Sequence[int], *, stride: int) -> fn.Layer:
    """`fn.max_pool` by `jax.lax.reduce_window`."""

    def forward(params, x):
        return jax.lax.reduce_window(x, -np.inf, jax.lax.max, (1, *window, 1), (1, stride, stride, 1), "VALID"), ()  # (N, P, Q, C)

    return stateless("max_pool", forward, _by_jax_alone)


def _by_jax_alone(residuals, dy):
    raise NotImplementedError("its gradient is that of jax.grad")


def build(specs: Sequence[Spec], lax: bool, bias: bool = True) -> tuple[fn.Layer, ...]:
    """The layers of funcnn, or those of JAX, with the same parameters."""
    conv, max_pool = (lax_conv, lax_max_pool) if lax else (fn.conv, fn.max_pool)
    named = {"relu": fn.relu, "flatten": fn.flatten, "global_avg_pool": fn.global_avg_pool, "batch_norm": fn.batch_norm()}

    def one(spec: Spec) -> fn.Layer:
        match spec:
            case ("conv", features, kernel, stride, padding, groups):
                return conv(features, (kernel, kernel), stride=stride, padding=padding, groups=groups, bias=bias)
            case ("max_pool", window, stride):
                return max_pool((window, window), stride=stride)
            case ("dense", features):
                return fn.dense(features)
            case ("residual", inner, shortcut):
                return fn.residual(*map(one, inner), shortcut=fn.serial(*map(one, shortcut)))
            case (name,):
                return named[name]
        raise ValueError(f"build: unknown layer {spec!r}")

    return tuple(map(one, specs))


def cotangent(shape: Sequence[int], dtype: Any) -> jax.Array:
    """dy of a single layer, the same for everyone."""
    return jax.device_put(np.random.default_rng(1).standard_normal(shape, "float32")).astype(dtype)


def initial(workload: Workload) -> Any:
    """The parameters that everyone begins with, of single layers without bias: NumPy float32."""
    net = fn.serial(*build(workload.layers, lax=False, bias=workload.kind == "step"))
    return fn.to_numpy(net.init(jax.random.key(0), workload.in_shape)[0])


def prepare(workload: Workload, how: How) -> Prepared:
    """Compile a workload: with hand-written gradients, by `jax.grad`, with `jax.lax` and `jax.grad`, or many steps in one program."""
    return _layer(workload, how) if workload.kind == "layer" else _training(workload, how)


def _layer(workload: Workload, how: How) -> Prepared:
    (layer,), (params,) = build(workload.layers, how == "lax", bias=False), initial(workload)
    params, x = jax.tree.map(lambda a: jax.device_put(a).astype(workload.dtype), (params, workload.inputs()[0]))
    dy = cotangent(jax.eval_shape(lambda: layer.apply(params, (), x)[0]).shape, workload.dtype)

    @jax.jit
    def passes(params, x, dy):
        if how == "manual":
            y, _, residuals = layer.forward(params, (), x)
            return y, layer.backward(residuals, dy)
        y, pull = jax.vjp(lambda params, x: layer.apply(params, (), x)[0], params, x)
        return y, pull(dy)

    run = partial(passes, params, x, dy)
    seconds, (y, (dparams, dx)) = timed(lambda: jax.block_until_ready(run()))
    results = {"y": y, "dx": dx} | ({"dw": dparams["w"]} if dparams else {})
    return Prepared(fn.to_numpy(results, "float32"), seconds, lambda: jax.block_until_ready(run()))


def _training(workload: Workload, how: How) -> Prepared:
    net, optimizer = fn.serial(*build(workload.layers, how == "lax")), optax.sgd(RATE)
    parts = microbatches(workload) if how in ("manual", "epoch") else 1
    options = {
        "microbatches": parts,
        "gradients": "manual" if how in ("manual", "epoch") else "auto",
        "metrics": lambda outputs, targets: {},
    }
    x, labels = workload.inputs()
    ts = training.init(net, optimizer, jax.random.key(0), workload.in_shape)
    params = jax.tree.map(lambda a: jax.device_put(a).astype(workload.dtype), initial(workload))
    ts = ts._replace(params=params, opt_state=optimizer.init(params))
    each = STEPS_OF_AN_EPOCH if how == "epoch" else 1
    if how == "epoch":
        step = training.make_epoch(net, optimizer, batch_size=workload.batch, last_batch="drop", **options)
    else:
        step = training.make_step(net, optimizer, **options)
    x, labels = jax.device_put((np.concatenate([x] * each), np.concatenate([labels] * each)))
    x, at = x.astype(workload.dtype), [ts]

    def run():
        at[0], metrics = jax.block_until_ready(step(at[0], x, labels))
        return metrics["loss"]

    seconds, first = timed(run)
    losses = {} if how == "epoch" else {"losses": np.asarray([first, run(), run()], "float32")}
    return Prepared(losses, seconds, run, each)


def microbatches(workload: Workload) -> int:
    """Parts of at least 16 images, for networks without batch statistics."""
    if any(spec[0] in ("batch_norm", "residual") for spec in workload.layers):
        return 1
    return max(n for n in range(1, workload.batch // 16 + 1) if workload.batch % n == 0) if workload.batch >= 32 else 1


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result
