"""Layers that draw random numbers, always from a `jax.random` key, so that a seed means the same on NumPy and on JAX."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arguments import check_array, check_key, check_number, check_params
from funcnn.arrays import Array, rounded, widened
from funcnn.cpu import masked
from funcnn.layer import Layer, constructor


class DropoutTrain(NamedTuple):
    """What was kept, like x, with size 1 along the axes that are dropped as one; and the shape of x."""

    mask: Array
    empty: Array


class DropoutEval(NamedTuple):
    """Nothing was dropped; only the shape of x is kept."""

    empty: Array


@constructor
def dropout(rate: float) -> Layer:
    """In training, each entry is 0 with probability `rate`, else divided by 1 - rate (Srivastava et al. 2014); else y = x.

    Args:
        rate: the share that is DROPPED, strictly between 0 and 1.

    Returns:
        A layer of any shape, without parameters; in training it needs a key, and it keeps the mask.

    Raises:
        ValueError: a rate out of range; training without a key, or with something that is no key.
    """
    return _dropping("dropout", rate, ("N", "..."), lambda shape: shape)


@constructor
def spatial_dropout(rate: float) -> Layer:
    """In training, each channel of each example is 0 with probability `rate`, all of it, else divided by 1 - rate; else y = x.

    Args:
        rate: the share of channels that is DROPPED, strictly between 0 and 1.

    Returns:
        A layer from (N, ..., C) with one or more axes in space to the same, without parameters; in training it needs a key, and it
        keeps the mask (N, 1, ..., C). PyTorch calls it dropout1d, dropout2d and dropout3d.

    Raises:
        ValueError: as `dropout`.

    Source: Tompson et al. 2015, arXiv:1411.4280.
    """
    return _dropping("spatial_dropout", rate, ("N", "S0", "...", "C"), lambda shape: (shape[0], *(1,) * (len(shape) - 2), shape[-1]))


@constructor
def drop_path(rate: float) -> Layer:
    """In training, each example is 0 with probability `rate`, all of it, else divided by 1 - rate; else y = x.

    Stochastic depth, where it stands last in the branch of a `residual`: that branch is then left out.

    Args:
        rate: the share of examples that is DROPPED, strictly between 0 and 1.

    Returns:
        A layer of any shape, without parameters; in training it needs a key, and it keeps the mask (N, 1, ...). torchvision calls it
        stochastic_depth, mode "row".

    Raises:
        ValueError: as `dropout`.

    Source: Huang et al. 2016, arXiv:1603.09382.
    """
    return _dropping("drop_path", rate, ("N", "..."), lambda shape: (shape[0], *(1,) * (len(shape) - 1)))


def _dropping(name: str, rate: float, expected: tuple[str, ...], together: Callable[[tuple[int, ...]], tuple[int, ...]]) -> Layer:
    """Dropout of x as `expected`, whose mask has the shape `together(x.shape)`."""
    rate = check_number(name, "rate", rate, "strictly between 0 and 1, the share dropped (for none, fn.identity)", lambda r: 0 < r < 1)

    def forward(params, state, x, *, key=None, train=False):
        check_params(name, params, {})
        check_params(name, state, {}, "state")
        check_array(name, "x", x, expected)
        if not train:
            return x, state, DropoutEval(x[:0])
        shape = together(x.shape)
        mask = jax.random.bernoulli(check_key(name, key), jnp.float32(1 - rate), shape)  # the same ones with float64 on
        mask = np.asarray(mask) if isinstance(x, np.ndarray) and not isinstance(mask, jax.core.Tracer) else mask
        return _drop(mask, x), state, DropoutTrain(mask, x[:0])

    def backward(residuals, dy):
        """dx = mask dy / (1 - rate)."""
        n = "N" if isinstance(residuals, DropoutEval) else residuals.mask.shape[0]
        check_array(name, "dy", dy, (n, *residuals.empty.shape[1:]))
        return (), dy if isinstance(residuals, DropoutEval) else _drop(residuals.mask, dy)

    def _drop(mask, x):
        return rounded(masked(mask, widened(x) / (1 - rate)), x)  # like x

    return Layer(name, lambda key, in_shape: ((), ()), forward, backward)
