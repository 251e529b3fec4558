"""Networks of Haiku, without batch norm."""

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import haiku as hk
import jax

import funcnn as fn
from experiments.benchmark.workloads import Spec
from experiments.libraries.walk import Network, always, run
from funcnn.arrays import Array


def _layer(spec: Spec, p: Any, x: Array, bias: bool) -> Array:
    match spec:
        case ("conv", features, kernel, stride, padding, groups):
            return hk.Conv2D(
                features, kernel, stride, padding=[(padding, padding)] * 2, feature_group_count=groups, with_bias=bias,
                w_init=always(p["w"]), b_init=always(p.get("b")),
            )(x)  # fmt: skip
        case ("dense", features):
            return hk.Linear(features, w_init=always(p["w"]), b_init=always(p["b"]))(x)
        case ("max_pool" | "avg_pool" as pool, window, stride):
            return getattr(hk, pool)(x, (1, window, window, 1), (1, stride, stride, 1), "VALID")
    raise ValueError(f"haiku: unknown layer {spec!r}")


def network(specs: Sequence[Spec], params: Sequence[Any], bias: bool, x: Array, through: bool) -> Network:
    net = hk.without_apply_rng(hk.transform(lambda x: run(specs, params, x, partial(_layer, bias=bias))))

    def apply(params, state, x):
        with fn.interop.replacing_lax() if through else nullcontext():
            return net.apply(params, x), state

    return Network(apply, net.init(jax.random.key(0), x))
