"""Networks of Equinox in series, without batch norm: of one example (C, H, W), and `jax.vmap` of that."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

import funcnn as fn
from experiments.benchmark.workloads import Spec
from experiments.libraries.walk import Network
from funcnn.arrays import Array

KEY = jax.random.key(0)


def _layer(spec: Spec, p: Any, bias: bool, through: bool) -> Any:
    match spec:
        case ("conv", features, kernel, stride, padding, groups):
            made = eqx.nn.Conv2d(p["w"].shape[2] * groups, features, kernel, stride, padding, groups=groups, use_bias=bias, key=KEY)
            return _begun(made, p["w"].transpose(3, 2, 0, 1), p["b"][:, None, None] if bias else None)
        case ("dense", features):
            return _begun(eqx.nn.Linear(p["w"].shape[0], features, key=KEY), p["w"].T, p["b"])
        case ("max_pool" | "avg_pool" as pool, window, stride):
            if through:
                function = getattr(fn.interop, pool)
                return eqx.nn.Lambda(lambda x: _channels_first(function(_channels_last(x), (window, window), (stride, stride), "VALID")))
            return {"max_pool": eqx.nn.MaxPool2d, "avg_pool": eqx.nn.AvgPool2d}[pool](window, stride)
        case ("relu",):
            return eqx.nn.Lambda(jax.nn.relu)
        case ("flatten",):
            return eqx.nn.Lambda(lambda x: _channels_last(x).reshape(-1))
    raise ValueError(f"equinox: unknown layer {spec!r}")


def _begun(module: Any, weight: Array, bias: Array | None) -> Any:
    """The module with these parameters."""
    given = tuple(jnp.asarray(a) for a in (weight, bias) if a is not None)
    return eqx.tree_at(lambda m: (m.weight, m.bias)[: len(given)], module, given)


def _channels_last(x: Array) -> Array:
    return jnp.moveaxis(x, 0, -1)


def _channels_first(x: Array) -> Array:
    return jnp.moveaxis(x, -1, 0)


def network(specs: Sequence[Spec], params: Sequence[Any], bias: bool, x: Array, through: bool) -> Network:
    module = eqx.nn.Sequential([_layer(spec, p, bias, through) for spec, p in zip(specs, params, strict=True)])
    drawn, rest = eqx.partition(module, eqx.is_inexact_array)
    return Network(lambda params, state, x: (jax.vmap(eqx.combine(params, rest))(jnp.moveaxis(x, -1, 1)), state), drawn)
