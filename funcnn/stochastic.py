"""Layers that draw random numbers, always from a `jax.random` key, so that a seed means the same on NumPy and on JAX."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arguments import check_array, check_key, check_number, check_params
from funcnn.arrays import Array, rounded, widened
from funcnn.cpu import masked
from funcnn.layer import Layer, constructor


class DropoutTrain(NamedTuple):
    """What was kept, like x."""

    mask: Array


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
    rate = check_number("dropout", "rate", rate, "strictly between 0 and 1, the share dropped (for none, fn.identity)", lambda r: 0 < r < 1)

    def forward(params, state, x, *, key=None, train=False):
        check_params("dropout", params, {})
        check_params("dropout", state, {}, "state")
        check_array("dropout", "x", x, ("N", "..."))
        if not train:
            return x, state, DropoutEval(x[:0])
        mask = jax.random.bernoulli(check_key("dropout", key), jnp.float32(1 - rate), x.shape)  # like x; the same ones with float64 on
        mask = np.asarray(mask) if isinstance(x, np.ndarray) and not isinstance(mask, jax.core.Tracer) else mask
        return _drop(mask, x), state, DropoutTrain(mask)

    def backward(residuals, dy):
        """dx = mask dy / (1 - rate)."""
        if isinstance(residuals, DropoutEval):
            check_array("dropout", "dy", dy, ("N", *residuals.empty.shape[1:]))
            return (), dy
        check_array("dropout", "dy", dy, residuals.mask.shape)
        return (), _drop(residuals.mask, dy)

    def _drop(mask, x):
        return rounded(masked(mask, widened(x) / (1 - rate)), x)

    return Layer("dropout", lambda key, in_shape: ((), ()), forward, backward)
