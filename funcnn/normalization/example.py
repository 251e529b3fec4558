"""Normalisation of every example by its own statistics. C channels, G groups of them."""

from collections.abc import Callable, Sequence
from functools import reduce
from math import prod
from operator import sub
from typing import NamedTuple

import jax.numpy as jnp

from funcnn.arguments import check_array, check_flag, check_in_shape, check_number, check_option, check_params
from funcnn.arrays import Array, aligned, namespace, rounded, widened
from funcnn.cpu import sum_rows
from funcnn.layer import Layer, constructor, stateless


@constructor
def layer_norm(*, axes: int = 1, epsilon: float = 1e-5, scale: bool = True, shift: bool = True) -> Layer:
    """y = scale (x - mean) / sqrt(var + epsilon) + shift, of the last axis of every example by itself (Ba et al. 2016, arXiv:1607.06450).

    Args:
        axes: how many of the last axes mean and (biased) var go over, which are also those of the params: 1 for the channels at
            every position (as in Flax and ConvNeXt), 3 for all of an image (PyTorch's `normalized_shape` of that length).
        epsilon: added to the variance, above 0.
        scale, shift: whether there are such params (PyTorch's weight and bias).

    Returns:
        A layer from (N, ..., C) to (N, ..., C) with params {"scale", "shift"}, all (C,), or of the shape of the last `axes`; it keeps
        x, the scale and the statistics, which are float32 of halves. The same in training and evaluation.

    Raises:
        ValueError: an option out of range; an example with fewer axes.
    """
    axes = check_option("layer_norm", "axes", axes)
    return _norm("layer_norm", axes, _over_last(axes), epsilon, scale, shift)


@constructor
def rms_norm(*, axes: int = 1, epsilon: float = 1e-6, scale: bool = True) -> Layer:
    """y = scale x / sqrt(mean(x^2) + epsilon): layer norm without a mean (Zhang & Sennrich 2019, arXiv:1910.07467).

    Args:
        axes, scale: as in `layer_norm`.
        epsilon: added to the mean square, above 0. PyTorch's default is the dtype's own, 1.2e-7 in float32.

    Returns, Raises: as `layer_norm`; the params are {"scale"}.
    """
    axes = check_option("rms_norm", "axes", axes)
    return _norm("rms_norm", axes, _over_last(axes), epsilon, scale, False, centred=False)


@constructor
def group_norm(groups: int, *, epsilon: float = 1e-5, scale: bool = True, shift: bool = True) -> Layer:
    """y = scale (x - mean) / sqrt(var + epsilon) + shift, of each group of channels of every example (Wu & He 2018, arXiv:1803.08494).

    Args:
        groups: G, which divides C; mean and (biased) var of a group go over all positions and its C / G neighbouring channels.
        epsilon, scale, shift: as in `layer_norm`.

    Returns:
        A layer from (N, ..., C) to (N, ..., C) with params {"scale", "shift"}, all (C,); it keeps what `layer_norm` does.

    Raises:
        ValueError: an option out of range; channels that do not divide.
    """
    groups = check_option("group_norm", "groups", groups)

    def check(shape):
        if shape[-1] % groups:
            raise ValueError(f"group_norm: expected channels in a multiple of the {groups} groups, got {shape[-1]}")

    def average(a):
        means = _over_positions(a)  # (N, 1, ..., C)
        grouped = means.reshape(a.shape[0], groups, a.shape[-1] // groups)  # (N, G, C / G)
        return namespace(a).broadcast_to(grouped.mean(-1, keepdims=True), grouped.shape).reshape(means.shape)

    return _norm("group_norm", 1, average, epsilon, scale, shift, check=check)


@constructor
def instance_norm(*, epsilon: float = 1e-5, scale: bool = True, shift: bool = True) -> Layer:
    """y = scale (x - mean) / sqrt(var + epsilon) + shift, of each channel of every example (Ulyanov et al. 2016, arXiv:1607.08022).

    Args:
        epsilon, scale, shift: as in `layer_norm`. PyTorch's has neither param by default, ONNX's, Flax's and Keras's have both.

    Returns:
        A layer from (N, H, ..., C) to (N, H, ..., C), as `group_norm` with a group for each channel.

    Raises:
        ValueError: an option out of range; no axis in space.
    """

    def check(shape):
        if len(shape) < 2:
            raise ValueError(
                f"instance_norm: expected examples of shape (H, ..., C), got {tuple(shape)}; a single value has no mean to lose"
            )

    return _norm("instance_norm", 1, _over_positions, epsilon, scale, shift, check=check)


class Normalized(NamedTuple):
    """What `backward` of a norm by an example's own statistics needs; these broadcast against x, and of the shift there is the dtype.

    The means are subtracted one after the other: the second is what rounding the first has left. None where a norm subtracts none.
    """

    x: Array
    means: tuple[Array, ...]
    inv_std: Array
    params: dict[str, Array]


def _norm(
    name: str, axes: int, average: Callable[[Array], Array], epsilon: float, scale: bool, shift: bool, *,
    centred: bool = True, check: Callable[[Sequence[int]], None] = lambda shape: None,
) -> Layer:  # fmt: skip
    """The norm whose mean and variance are an `average`, which broadcasts against its input, with params of the last `axes`."""
    epsilon = check_number(name, "epsilon", epsilon, "above 0", lambda e: e > 0)
    values = {entry: value for entry, value, wanted in (("scale", 1.0, scale), ("shift", 0.0, shift)) if check_flag(name, entry, wanted)}
    letters = ("C",) if axes == 1 else tuple(f"D{i}" for i in range(axes))

    def init(key, in_shape):
        check_in_shape(name, in_shape, ("...", *letters))
        check(in_shape)
        return {entry: jnp.full(in_shape[-axes:], value) for entry, value in values.items()}

    def forward(params, x):
        check_params(name, params, dict.fromkeys(values, letters))
        shape = next((params[entry].shape for entry in values), letters)
        check_params(name, params, dict.fromkeys(values, shape))
        check_array(name, "x", x, ("N", "...", *shape))
        check(x.shape[1:])
        above, means = widened(x), ()
        for _ in range(2 * centred):
            means = (*means, average(above))
            above = above - means[-1]  # like x
        inv_std = 1 / namespace(x).sqrt(average(above * above) + epsilon)
        y = above * inv_std * aligned(widened(params["scale"]), x) if scale else above * inv_std
        y = y + aligned(widened(params["shift"]), x) if shift else y
        return rounded(y, x), Normalized(x, means, inv_std, {e: params[e] if e == "scale" else params[e][:0] for e in values})

    def backward(residuals, dy):
        """dx = (g - mean(g) - x^ mean(g x^)) / std  with  g = scale dy,  x^ = (x - mean) / std  and the norm's own means (without
        mean(g) where it subtracts none);  dscale = sum dy x^,  dshift = sum dy,  over what has the same scale and shift.
        """
        x, means, inv_std, params = residuals
        check_array(name, "dy", dy, x.shape)
        x_hat, given = reduce(sub, means, widened(x)) * inv_std, widened(dy)  # like x
        by_entry = {"scale": given * x_hat, "shift": given}
        dparams = {entry: rounded(_sum_to(by_entry[entry], axes), params[entry]) for entry in values}
        given = given * aligned(widened(params["scale"]), x) if scale else given
        dx = given - x_hat * average(given * x_hat)
        return dparams or (), rounded((dx - average(given) if centred else dx) * inv_std, x)

    return stateless(name, forward, backward, init if values else None)


def _over_last(axes: int) -> Callable[[Array], Array]:
    return lambda a: _mean(a, range(a.ndim - axes, a.ndim))  # (N, ..., 1)


def _over_positions(a: Array) -> Array:
    return _mean(a, range(1, a.ndim - 1))  # (N, 1, ..., C)


def _mean(a: Array, axes: Sequence[int]) -> Array:
    """The mean over the axes, which stay; one after the other, as several short sums round less than a long one."""
    return reduce(lambda a, axis: a.mean(axis, keepdims=True), reversed(axes), a)


def _sum_to(a: Array, axes: int) -> Array:
    """The sum over all axes but the last `axes`."""
    shape = a.shape[a.ndim - axes :]
    return sum_rows(a.reshape(*a.shape[: a.ndim - axes], prod(shape)), cheap=True).reshape(shape)
