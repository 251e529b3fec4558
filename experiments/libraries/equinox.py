"""Networks of Equinox in series, without batch norm: of one example (C, H, W), and `jax.vmap` of that."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

import funcnn as fn
from experiments.benchmark.workloads import Spec
from experiments.libraries.walk import Network
from funcnn.arrays import Array

KEY = jax.random.key(0)


def _layer(spec: Spec, p: Any, bias: bool) -> Any:
    match spec:
        case ("conv", features, kernel, stride, padding, groups):
            made = eqx.nn.Conv2d(p["w"].shape[2] * groups, features, kernel, stride, padding, groups=groups, use_bias=bias, key=KEY)
            return _begun(made, p["w"].transpose(3, 2, 0, 1), p["b"][:, None, None] if bias else None)
        case ("dense", features):
            return _begun(eqx.nn.Linear(p["w"].shape[0], features, key=KEY), p["w"].T, p["b"])
        case ("max_pool" | "avg_pool" as pool, window, stride):
            return {"max_pool": eqx.nn.MaxPool2d, "avg_pool": eqx.nn.AvgPool2d}[pool](window, stride)
        case ("relu",):
            return eqx.nn.Lambda(jax.nn.relu)
        case ("flatten",):
            return eqx.nn.Lambda(lambda x: jnp.moveaxis(x, 0, -1).reshape(-1))  # as the others have it
    raise ValueError(f"equinox: unknown layer {spec!r}")


def _begun(module: Any, weight: Array, bias: Array | None) -> Any:
    """The module with these parameters."""
    given = tuple(jnp.asarray(a) for a in (weight, bias) if a is not None)
    return eqx.tree_at(lambda m: (m.weight, m.bias)[: len(given)], module, given)


def network(specs: Sequence[Spec], params: Sequence[Any], bias: bool, x: Array, through: bool) -> Network:
    module = eqx.nn.Sequential([_layer(spec, p, bias) for spec, p in zip(specs, params, strict=True)])
    drawn, rest = eqx.partition(module, eqx.is_inexact_array)

    def apply(params, state, x):
        with fn.interop.replacing_lax() if through else nullcontext():
            return jax.vmap(eqx.combine(params, rest))(jnp.moveaxis(x, -1, 1)), state

    return Network(apply, drawn)
