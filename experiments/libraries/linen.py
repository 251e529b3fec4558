"""Networks of `flax.linen`."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
from flax import linen

import funcnn as fn
from experiments.benchmark.workloads import Spec
from experiments.libraries.walk import Network, always, run
from funcnn.arrays import Array


def _layer(spec: Spec, p: Any, x: Array, bias: bool, through: bool) -> Array:
    match spec:
        case ("conv", features, kernel, stride, padding, groups):
            return linen.Conv(
                features, (kernel, kernel), stride, padding, feature_group_count=groups, use_bias=bias,
                conv_general_dilated=fn.interop.conv_general_dilated if through else None,
                kernel_init=always(p["w"]), bias_init=always(p.get("b")),
            )(x)  # fmt: skip
        case ("batch_norm",):
            return linen.BatchNorm(use_running_average=False, scale_init=always(p["scale"]), bias_init=always(p["shift"]))(x)
        case ("dense", features):
            return linen.Dense(features, kernel_init=always(p["w"]), bias_init=always(p["b"]))(x)
        case ("max_pool" | "avg_pool" as pool, window, stride):
            return getattr(fn.interop if through else linen, pool)(x, (window, window), (stride, stride), "VALID")
    raise ValueError(f"linen: unknown layer {spec!r}")


def network(specs: Sequence[Spec], params: Sequence[Any], bias: bool, x: Array, through: bool) -> Network:
    class FromSpecs(linen.Module):
        @linen.compact
        def __call__(self, x: Array) -> Array:
            return run(specs, params, x, partial(_layer, bias=bias, through=through))

    module = FromSpecs()
    variables = dict(module.init(jax.random.key(0), x))

    def apply(params, state, x):
        return module.apply({"params": params, **state}, x, mutable=list(state))

    return Network(apply, variables.pop("params"), variables)
