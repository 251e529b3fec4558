"""What people call: check a layer, a pair, or a function with a custom gradient."""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arguments import check_in_shape, check_option
from funcnn.arrays import Array, PyTree, to_numpy
from funcnn.checking.comparing import report_on
from funcnn.checking.points import draw, point_of_pair, point_of_vjp, points_of_layer
from funcnn.checking.report import Report
from funcnn.checking.trees import inexact, is_array
from funcnn.layer import Layer

Precision = Literal["float32", "bfloat16", "float64"]


def check_layer(
    layer: Layer,
    in_shape: Sequence[int],
    *,
    at: tuple[PyTree, PyTree, Array] | None = None,
    batch_size: int = 4,
    seed: int = 0,
    dtype: Precision = "float32",
) -> Report:
    """Check the hand-written `backward` of a layer or network, and of every layer inside, against every oracle.

    In training and evaluation mode, where these differ; at inputs whose entries are apart from each other and from 0, so that
    nothing is at a kink, and, for plain layers, at inputs full of ties and zeros, where `backward` must do what `jax.grad` of
    the plain forward pass does. Cotangents are random. Each inner layer is checked at the input that it gets in the network.

    Args:
        layer: a plain layer or a network.
        in_shape: the shape of one example.
        at: (params, state, x) to check at; by default they are drawn: normal x, initial params plus normal noise, the state
            after a step of training.
        batch_size: how many examples are drawn.
        seed: what is drawn.
        dtype: in which precision the jitted passes are compared with float64, beside all that is compared in float64.

    Returns:
        A Report with a row for each case, layer, leaf and oracle.

    Raises:
        TypeError, ValueError: arguments that are no layer, shape or precision; what the layer's forward pass raises.
    """
    if not isinstance(layer, Layer):
        raise TypeError(f"check_layer: expected a layer, got {type(layer).__name__}; for two functions use check_pair")
    check_option("check_layer", "batch_size", batch_size)
    _check_options(dtype)
    rng, key = np.random.default_rng(seed), jax.random.key(seed)
    if at is None:
        check_in_shape("check_layer", in_shape, ("...",))
        at = draw(layer, tuple(in_shape), key, batch_size, rng)
    at = (*to_numpy(at, "float64"), key)
    points = chain(*(points_of_layer(layer, at, train, dtype, rng) for train in (True, False)))
    return report_on(layer.name, points, rng)


def check_pair(forward: Callable, backward: Callable, *args: PyTree, seed: int = 0, dtype: Precision = "float32") -> Report:
    """Check `backward(residuals, dy) -> (darg, ...)` against `forward(*args) -> (y, residuals)`; residuals are trees of arrays.

    Args:
        forward: of NumPy or JAX arrays; what cannot be traced by JAX is compared with differences only.
        backward: one cotangent for each of the `args`, shaped like it; None for those of whole numbers.
        args: trees of arrays, floating-point ones to differentiate by; checked there, in float64. They are not written to.
        seed, dtype: as in `check_layer`.

    Returns:
        A Report; leaves are called args[0] and so on.

    Raises:
        TypeError: arguments that are no functions, or hold no floating-point array.
    """
    _check_functions("check_pair", forward, backward)
    point = point_of_pair(forward, backward, _arguments("check_pair", args, dtype), dtype)
    return report_on(getattr(forward, "__name__", "pair"), [point], np.random.default_rng(seed))


def check_vjp(function: Callable, *args: PyTree, seed: int = 0, dtype: Precision = "float32") -> Report:
    """Check the gradient that JAX has of `function`, such as one made by `jax.custom_vjp`, at `args`.

    Args:
        function: of JAX arrays. Where it is a `jax.custom_vjp` itself, its gradient is also compared, entry by entry, with that
            of the function it wraps; else only with differences and the complex step.
        args, seed, dtype: as in `check_pair`.

    Returns:
        A Report; leaves are called args[0] and so on.

    Raises:
        TypeError: as `check_pair`.
    """
    _check_functions("check_vjp", function)
    point = point_of_vjp(function, _arguments("check_vjp", args, dtype), dtype)
    return report_on(getattr(function, "__name__", "function"), [point], np.random.default_rng(seed))


def _check_options(dtype: str) -> None:
    if dtype not in ("float32", "bfloat16", "float64"):
        raise ValueError(f'checking: expected dtype "float32", "bfloat16" or "float64", got {dtype!r}')


def _check_functions(name: str, *functions: Callable) -> None:
    for function in functions:
        if not callable(function):
            raise TypeError(f"{name}: expected a function, got {type(function).__name__}")


def _arguments(name: str, args: tuple[PyTree, ...], dtype: str) -> tuple[PyTree, ...]:
    """The arguments in float64."""
    _check_options(dtype)
    for leaf in jax.tree.leaves(args):
        if not is_array(leaf):
            raise TypeError(f"{name}: expected arguments of NumPy or JAX arrays, got {type(leaf).__name__}; np.asarray makes one")
    if any(jnp.issubdtype(leaf.dtype, jnp.complexfloating) for leaf in jax.tree.leaves(args)):
        raise TypeError(f"{name}: expected real arguments, got complex ones")
    given = to_numpy(args, "float64")
    if not any(map(inexact, jax.tree.leaves(given))):
        raise TypeError(f"{name}: expected an argument of floating-point numbers to differentiate by, got none")
    return given
