"""What the five tutorials do otherwise, as layers, losses and initial values of funcnn; each wrong where its docstring says so.

With them an experiment trains a tutorial's own system, `--as-written`. Their gradients are used with gradients="manual": the
forward passes are right, so that `jax.grad` would mend what is wrong.
"""

import jax
import numpy as np
from jax.nn.initializers import Initializer, normal

import funcnn as fn
from funcnn.arrays import Array, namespace
from funcnn.checking.mutation.mutants import max_pool_all_ties as max_pool_all_ties
from funcnn.checking.mutation.mutants import relu_unmasked as relu_unmasked


def position_bias(b_init: Initializer = normal(1.0)) -> fn.Layer:
    """One bias for every output position and channel (T4): not wrong, but no convolution any more: 529 parameters beside 36."""

    def init(key, in_shape):
        return {"b": b_init(key, in_shape)}

    def forward(params, x):
        return x + params["b"][None], ()  # (N, H, W, C)

    def backward(residuals, dy):
        """db = sum_n dy_n,  dx = dy."""
        return {"b": dy.sum(0)}, dy

    return fn.stateless("position_bias", forward, backward, init)


def cross_entropy_over_classes(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Cross-entropy divided by the number of classes K, its gradient too (T4): the learning rate is 1 / K of what it says."""
    loss, dlogits = fn.softmax_cross_entropy(logits, labels)
    return loss / logits.shape[1], dlogits / logits.shape[1]


def he_of_the_last_axis(key: Array, shape: tuple[int, ...], dtype=None, out_sharding=None) -> Array:
    """sqrt(2 / prod(shape[1:])) N(0, 1) (T2). Wrong for a dense w (D, O): that is sqrt(2 / O), where He et al. say sqrt(2 / D)."""
    return np.float32(np.sqrt(2 / np.prod(shape[1:]))) * jax.random.normal(key, shape, dtype or "float32")


LARGEST_LOSS = float(-np.log(1e-10))


def clipped_cross_entropy(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Cross-entropy of probabilities cut off at 1e-10, so that no example's loss exceeds 23.0.

    Inferred: T2 prints 18.01 with 12.1 % right, a mean of 20.5 over the wrong ones, too little for weights that large unless it is bounded.
    The gradient is the uncut one, p - t: right, but of another function than the loss that is printed.
    """
    _, dlogits = fn.softmax_cross_entropy(logits, labels)
    xp, z = namespace(logits, labels), logits - logits.max(1, keepdims=True)  # (N, K)
    at_label = xp.where(xp.arange(z.shape[1])[None] == labels[:, None], z, 0).sum(1)
    losses = xp.log(xp.exp(z).sum(1)) - at_label
    return xp.where(losses > LARGEST_LOSS, LARGEST_LOSS, losses).mean(), dlogits
