"""Batch normalisation. M = all axes but the last, C channels."""

from typing import NamedTuple

import jax.numpy as jnp

from funcnn.arguments import check_array, check_in_shape, check_number, check_params
from funcnn.arrays import Array, aligned, namespace, rounded, widened
from funcnn.cpu import mean_rows, sum_rows
from funcnn.layer import Layer, constructor


class BatchNormTrain(NamedTuple):
    """What `backward` needs where the statistics are the batch's own; the last three (C,), the statistics of halves in float32."""

    x: Array
    mean: Array
    inv_std: Array
    scale: Array


class BatchNormEval(NamedTuple):
    """What `backward` needs where the statistics are constants; the last three (C,)."""

    x: Array
    mean: Array
    inv_std: Array
    scale: Array


@constructor
def batch_norm(*, momentum: float = 0.9, epsilon: float = 1e-5) -> Layer:
    """y = scale (x - mean) / sqrt(var + epsilon) + shift, per channel (Ioffe & Szegedy 2015, arXiv:1502.03167).

    In training, mean and (biased) var are those of the batch, and the running ones move: running = momentum * running +
    (1 - momentum) * batch, with the unbiased var, as PyTorch and ONNX do. Else they are the running ones.

    Args:
        momentum: the share of the running value that is kept, in [0, 1). PyTorch's momentum is 1 minus this.
        epsilon: added to the variance, above 0.

    Returns:
        A layer from (..., C) to (..., C) with params {"scale", "shift"} and state {"mean", "var"}, all (C,); it keeps x,
        the statistics and the scale. Of halves it computes in float32; y is like x, params and state may be float32, and keep
        their dtype. A variance above 65504, the largest float16, needs a state in float32.

    Raises:
        ValueError: an option out of range; training on a single value per channel, which has no variance.
    """
    allowed = "in [0, 1), the share of the running value kept"
    momentum = check_number("batch_norm", "momentum", momentum, allowed, lambda m: 0 <= m < 1)
    epsilon = check_number("batch_norm", "epsilon", epsilon, "above 0", lambda e: e > 0)

    def init(key, in_shape):
        check_in_shape("batch_norm", in_shape, ("...", "C"))
        c = in_shape[-1]
        return {"scale": jnp.ones(c), "shift": jnp.zeros(c)}, {"mean": jnp.zeros(c), "var": jnp.ones(c)}

    def forward(params, state, x, *, key=None, train=False):
        check_params("batch_norm", params, {"scale": ("C",), "shift": ("C",)})
        c = params["scale"].shape[0]
        check_params("batch_norm", params, {"scale": (c,), "shift": (c,)})
        check_params("batch_norm", state, {"mean": (c,), "var": (c,)}, "state")
        check_array("batch_norm", "x", x, ("N", "...", c))
        wide, mean, var, m = widened(x), widened(state["mean"]), widened(state["var"]), x.size // c
        if train:
            if isinstance(m, int) and m < 2:  # a symbolic size (`jax.export`) is known in the run alone
                raise ValueError(f"batch_norm: expected more than one value per channel in training, got x of shape {x.shape}")
            mean = mean_rows(wide)  # (C,)
            var = mean_rows(_square(wide - aligned(mean, x)), cheap=True)
            batch = {"mean": mean, "var": var * (m / (m - 1))}
            state = {name: rounded(momentum * widened(old) + (1 - momentum) * batch[name], old) for name, old in state.items()}
        inv_std, scale, shift = 1 / namespace(var).sqrt(var + epsilon), widened(params["scale"]), widened(params["shift"])
        y = (wide - aligned(mean, x)) * aligned(inv_std * scale, x) + aligned(shift, x)
        return rounded(y, x), state, (BatchNormTrain if train else BatchNormEval)(x, mean, inv_std, params["scale"])

    def backward(residuals, dy):
        """dshift = sum dy,  dscale = sum dy x^,  where x^ = (x - mean) / std and the sums go over the M values of a channel;
        in training  dx = scale / std (dy - dshift / M - x^ dscale / M),  else  dx = scale / std dy.
        """
        x, mean, inv_std, scale = residuals
        check_array("batch_norm", "dy", dy, x.shape)
        x_hat, given = (widened(x) - aligned(mean, x)) * aligned(inv_std, x), widened(dy)
        dshift, dscale = sum_rows(given), sum_rows(given * x_hat, cheap=True)  # (C,)
        if isinstance(residuals, BatchNormTrain):
            m = x.size // x.shape[-1]
            given = given - aligned(dshift / m, x) - x_hat * aligned(dscale / m, x)
        dx = given * aligned(inv_std * widened(scale), x)
        return {"scale": rounded(dscale, scale), "shift": rounded(dshift, scale)}, rounded(dx, x)

    return Layer("batch_norm", init, forward, backward)


def _square(x: Array) -> Array:
    return x * x
