"""Optimizers as functions of the number of steps, as `training.Trainer(optimizer=...)` takes them."""

from collections.abc import Callable
from typing import Any

import jax
import optax


def one_cycle(rate: float, weight_decay: float = 0.0) -> Callable[[int], optax.GradientTransformation]:
    """AdamW whose learning rate rises to `rate` over the first fifth of the steps and falls to almost 0 (Smith & Topin 2018)."""

    def make(steps: int) -> optax.GradientTransformation:
        return optax.adamw(_cycle(steps, rate), weight_decay=weight_decay, mask=_matrices)

    return make


def sgd_one_cycle(rate: float, weight_decay: float = 0.0) -> Callable[[int], optax.GradientTransformation]:
    """The same for gradient descent with Nesterov's momentum 0.9, weight decay added to the gradient."""

    def make(steps: int) -> optax.GradientTransformation:
        decay = optax.add_decayed_weights(weight_decay, mask=_matrices)
        return optax.chain(decay, optax.sgd(_cycle(steps, rate), momentum=0.9, nesterov=True))

    return make


def _cycle(steps: int, rate: float) -> optax.Schedule:
    return optax.cosine_onecycle_schedule(steps, rate, 0.2, div_factor=25, final_div_factor=1e3)


def _matrices(params: Any) -> Any:
    """Which parameters decay: weights, not biases and scales."""
    return jax.tree.map(lambda p: p.ndim > 1, params)
