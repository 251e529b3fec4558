"""Networks of `flax.nnx`, of which `split` makes pure functions."""

from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx

import funcnn as fn
from experiments.benchmark.workloads import Spec
from experiments.libraries.walk import Network, always, run, with_params
from funcnn.arrays import Array


def _layer(spec: Spec, p: Any, bias: bool, through: bool) -> nnx.Module:
    rngs = nnx.Rngs(0)
    match spec:
        case ("conv", features, kernel, stride, padding, groups):
            return nnx.Conv(
                p["w"].shape[2] * groups, features, (kernel, kernel), stride, padding=padding, feature_group_count=groups, use_bias=bias,
                conv_general_dilated=fn.interop.conv_general_dilated if through else jax.lax.conv_general_dilated,
                kernel_init=always(p["w"]), bias_init=always(p.get("b")), rngs=rngs,
            )  # fmt: skip
        case ("batch_norm",):
            return nnx.BatchNorm(p["scale"].size, scale_init=always(p["scale"]), bias_init=always(p["shift"]), rngs=rngs)
        case ("dense", features):
            return nnx.Linear(p["w"].shape[0], features, kernel_init=always(p["w"]), bias_init=always(p["b"]), rngs=rngs)
    raise ValueError(f"nnx: unknown layer {spec!r}")


def network(specs: Sequence[Spec], params: Sequence[Any], bias: bool, x: Array, through: bool) -> Network:
    class FromSpecs(nnx.Module):
        def __init__(self) -> None:
            self.layers = nnx.List([_layer(spec, p, bias, through) for spec, p in with_params(specs, params)])

        def __call__(self, x: Array) -> Array:
            layers = iter(self.layers)

            def layer(spec: Spec, p: Any, x: Array) -> Array:
                match spec:
                    case ("max_pool" | "avg_pool" as pool, window, stride):
                        return getattr(fn.interop if through else nnx, pool)(x, (window, window), (stride, stride), "VALID")
                return next(layers)(x)

            return run(specs, params, x, layer)

    graph, drawn, state = nnx.split(FromSpecs(), nnx.Param, ...)

    def apply(params, state, x):
        module = nnx.merge(graph, params, state, copy=True)  # whose state moves in this trace
        return module(x), nnx.state(module, nnx.Not(nnx.Param))

    return Network(apply, drawn, state)
