"""`jax.lax.reduce_window` and Flax's pooling by funcnn's, for anybody's model. N H W C in, KH KW window, P Q output rows and columns."""

from collections.abc import Callable, Sequence
from math import inf, prod
from operator import index
from typing import Any

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.lax import reduce_window as by_lax

from funcnn.arrays import Array, PyTree, rounded, widened
from funcnn.convolution.geometry import Axis
from funcnn.interop.primitives import is_for_funcnn
from funcnn.interop.windows import largest_of_windows, sum_of_windows
from funcnn.pooling.windows import every_window_sees

MANY_TAPS = 256
"""Taps from which a window makes long programs."""


def max_pool(
    inputs: Array,
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str | Sequence[tuple[int, int]] = "VALID",
) -> Array:
    """`flax.linen.max_pool`: the largest entry of every window, of equal ones the first.

    Args:
        inputs: (N, H, W, C), with any number of spatial axes, and none or several in the place of N.
        window_shape: (KH, KW), one number for each spatial axis.
        strides: as many; None is 1 along every axis, as in Flax.
        padding: "VALID", "SAME", "SAME_LOWER", or (low, high) for each spatial axis; what is added is smaller than any number.

    Returns:
        (N, P, Q, C) of the inputs' dtype. Whatever `reduce_window` hands to JAX's own is handed to it here.

    Raises:
        ValueError: options that are not one for each spatial axis; TypeError and ValueError of JAX's own for others.
    """
    return _over_spatial("max_pool", inputs, -inf, lax.max, window_shape, strides, padding)


def avg_pool(
    inputs: Array,
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str | Sequence[tuple[int, int]] = "VALID",
    count_include_pad: bool = True,
) -> Array:
    """`flax.linen.avg_pool`: the mean of every window, that of halves summed in float32 and rounded once.

    Args:
        inputs, window_shape, strides, padding: as in `max_pool`; zeros are added.
        count_include_pad: whether the mean counts them.

    Returns:
        (N, P, Q, C) of the inputs' dtype; without `count_include_pad` of the default one if that is wider, as in Flax.

    Raises:
        ValueError, TypeError: as `max_pool`.
    """
    total = _over_spatial("avg_pool", widened(inputs), 0.0, lax.add, window_shape, strides, padding)
    if count_include_pad:
        return rounded(total / prod(window_shape), inputs)
    outer = inputs.ndim - len(window_shape) - 1
    count = _over_spatial("avg_pool", jnp.ones((*(1,) * outer, *inputs.shape[outer:-1], 1)), 0.0, lax.add, window_shape, strides, padding)
    dtype = jnp.promote_types(inputs.dtype, count.dtype)
    return total.astype(dtype) / count.astype(dtype)


def _over_spatial(
    name: str,
    x: Array,
    init: float,
    computation: Callable[..., Array],
    window: Sequence[int],
    strides: Sequence[int] | None,
    padding: str | Sequence[tuple[int, int]],
) -> Array:
    """`reduce_window` over the axes between the examples and the channels."""
    rank, strides = len(window), (1,) * len(window) if strides is None else strides
    if x.ndim < rank + 1 or len(strides) != rank or not (isinstance(padding, str) or len(padding) == rank):
        raise ValueError(
            f"{name}: expected inputs (N, spatial axes, C) with a window size, a stride and a padding for each of the spatial axes, "
            f"got inputs of shape {x.shape}, window_shape {window!r}, strides {strides!r} and padding {padding!r}"
        )
    outer = (1,) * (x.ndim - rank - 1)
    pads = padding if isinstance(padding, str) else [*((0, 0) for _ in outer), *padding, (0, 0)]
    return reduce_window(x, init, computation, (*outer, *window, 1), (*outer, *strides, 1), pads)


def reduce_window(
    operand: PyTree,
    init_value: PyTree,
    computation: Callable[..., Any],
    window_dimensions: Sequence[int],
    window_strides: Sequence[int] | None = None,
    padding: str | Sequence[tuple[int, int]] = "VALID",
    base_dilation: Sequence[int] | None = None,
    window_dilation: Sequence[int] | None = None,
) -> PyTree:
    """`jax.lax.reduce_window`, which for the largest and the sum of windows is funcnn's pooling, and so are all its gradients.

    That is `jax.lax.max` from -inf and `jax.lax.add` from 0, of one array of real floating-point numbers. All else is handed to JAX's own:
    other computations; `base_dilation`; windows of over 256 entries, which make long programs; windows of nothing but padding; arrays
    without entries; symbolic sizes (`jax.export`), but for those before the first axis that is pooled; explicit sharding.

    Args:
        operand, init_value, computation, window_dimensions, window_strides, padding, base_dilation, window_dilation: as there.

    Returns:
        What JAX's own returns. Of halves the sums are kept in float32 and rounded once.

    Raises:
        TypeError, ValueError: JAX's own, which is asked first.
    """
    options = computation, window_dimensions, window_strides, padding, base_dilation, window_dilation
    run = largest_of_windows if computation is lax.max else sum_of_windows if computation is lax.add else None
    like = jax.eval_shape(lambda operand: by_lax(operand, init_value, *options), operand)
    if not run or not _is_scalar(init_value, -inf if run is largest_of_windows else 0) or not isinstance(operand, np.ndarray | jax.Array):
        return by_lax(operand, init_value, *options)

    ones = (1,) * operand.ndim
    window, strides, between, dilations = (
        ones if each is None else tuple(map(index, each)) for each in (window_dimensions, window_strides, base_dilation, window_dilation)
    )
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(operand.shape, [(k - 1) * d + 1 for k, d in zip(window, dilations, strict=True)], strides, padding)
    pads = [tuple(map(index, each)) for each in padding]
    pooled = [i for i, each in enumerate(zip(window, strides, pads, strict=True)) if each != (1, 1, (0, 0))]
    if not pooled:
        return by_lax(operand, init_value, *options)
    first, last = pooled[0], pooled[-1] + 1
    sizes, rest = operand.shape[first:last], prod(operand.shape[last:])
    if not (
        is_for_funcnn(operand)
        and between == ones
        and all(isinstance(n, int) and n for n in (*sizes, rest, *like.shape[first:last]))
        and not any(isinstance(n, int) and n == 0 for n in operand.shape)
        and prod(window) <= MANY_TAPS
    ):
        return by_lax(operand, init_value, *options)
    each = zip(sizes, window[first:last], strides[first:last], dilations[first:last], pads[first:last], strict=True)
    axes = tuple(Axis(size, k, s, d, low, high) for size, k, s, d, (low, high) in each)
    if not all(map(every_window_sees, axes)):
        return by_lax(operand, init_value, *options)
    y = run(operand.reshape(prod(operand.shape[:first]), *sizes, rest), axes)
    return y.reshape(like.shape)


def _is_scalar(value: Any, wanted: float) -> bool:
    """Whether it is that number, and known."""
    return not isinstance(value, jax.core.Tracer) and np.shape(value) == () and bool(value == wanted)
