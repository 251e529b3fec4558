"""What the libraries have in common: a network of plain data, walked in the order in which it runs."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from experiments.benchmark.workloads import Spec
from funcnn.arrays import Array, PyTree

Layer = Callable[[Spec, Any, Array], Array]
"""A layer of a library, of its spec and params (funcnn's), called on x."""


class Network(NamedTuple):
    """A network of a library.

    Attributes:
        apply: `(params, state, x) -> (logits, state)`, in training.
        params, state: with which it begins.
    """

    apply: Callable[[PyTree, PyTree, Array], tuple[Array, PyTree]]
    params: PyTree
    state: PyTree = ()


def run(specs: Sequence[Spec], params: Sequence[Any], x: Array, layer: Layer) -> Array:
    """The network on x (N, H, W, C), where `layer` runs what has parameters or a window."""
    for spec, p in zip(specs, params, strict=True):
        match spec:
            case ("residual", inner, shortcut):
                x = run(inner, p[0], x, layer) + run(shortcut, p[1], x, layer)
            case ("block", inner):
                x = run(inner, p, x, layer)
            case ("relu",):
                x = jax.nn.relu(x)
            case ("flatten",):
                x = x.reshape(x.shape[0], -1)
            case ("global_avg_pool",):
                x = x.mean((1, 2))
            case ("wider",):
                x = jnp.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (0, x.shape[3])))
            case _:
                x = layer(spec, p, x)
    return x


def with_params(specs: Sequence[Spec], params: Sequence[Any]) -> Iterator[tuple[Spec, Any]]:
    """The layers that have parameters, in the order in which they run."""
    for spec, p in zip(specs, params, strict=True):
        if spec[0] == "residual":
            yield from (pair for inner, q in zip(spec[1:], p, strict=True) for pair in with_params(inner, q))
        elif spec[0] == "block":
            yield from with_params(spec[1], p)
        elif isinstance(p, dict):
            yield spec, p


def always(a: Array | None) -> Callable[..., Array]:
    """An initialiser that gives `a`."""
    return lambda *_, **__: jnp.asarray(a)
