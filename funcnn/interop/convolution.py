"""`jax.lax.conv_general_dilated` by funcnn's algorithms, for anybody's model. N H W C in, KH KW kernel, P Q O out, G groups."""

from collections.abc import Sequence
from math import ceil, prod
from operator import index
from typing import Any

import jax
from jax import lax
from jax import numpy as jnp
from jax.lax import conv_general_dilated as by_lax

from funcnn.arrays import Array
from funcnn.convolution.algorithm import swap_channels
from funcnn.convolution.auto import frequencies_pay, phases_pay
from funcnn.convolution.geometry import Axis, Geometry
from funcnn.interop.bilinear import convolve
from funcnn.interop.primitives import is_for_funcnn, merge, split, varying_alike

MANY_TAPS = 256
"""Taps from which a window that is not the Fourier transform's makes long programs."""
MANY_REMAINDERS = 64
"""Entries of a stride from which its gradient does, where it is no shuffle of blocks."""


def conv_general_dilated(
    lhs: Array,
    rhs: Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    batch_group_count: int = 1,
    precision: Any = None,
    preferred_element_type: Any = None,
    out_sharding: Any = None,
) -> Array:
    """`jax.lax.conv_general_dilated`, on a CPU by the algorithm of funcnn that is fastest for the shapes, and so are all its gradients.

    It goes into `flax.linen.Conv(conv_general_dilated=...)` and `flax.nnx.Conv(conv_general_dilated=...)`. It can be differentiated in
    either direction and again, batched by `jax.vmap` over either array or both, compiled, scanned, recomputed and divided over devices
    like any function of JAX. Programs for other platforms hold JAX's own convolution and its gradients.

    A call is handed to JAX's own, whole, where that is as good or all there is: numbers that are whole or complex; no spatial axes;
    arrays without entries; `lhs_dilation` and `window_strides` both above 1; sizes that are symbolic, but for the batch (`jax.export`);
    explicit sharding, or `out_sharding`; and what would be a long program: windows of over 256 taps, or blocks as long as the
    stride, that are not worth a Fourier transform; strides over more than 64 entries that do not divide the window.

    Args:
        lhs, rhs, window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count, batch_group_count,
            out_sharding: as there.
        precision: for platforms that know several. On a CPU 3x3 and 5x5 windows of many channels are computed by Winograd's algorithm in
            float32, whose rounding error is up to 2e-5 of the largest entry; in float64 by sums.
        preferred_element_type: the dtype of the result, in which everything is computed then.

    Returns:
        An array of the shape and dtype that JAX's own returns.

    Raises:
        TypeError, ValueError: JAX's own, which is asked first.
    """
    options = (
        window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count, batch_group_count, precision,
        preferred_element_type, out_sharding,
    )  # fmt: skip
    out = jax.eval_shape(lambda lhs, rhs: by_lax(lhs, rhs, *options), lhs, rhs)
    numbers, rank = lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers), lhs.ndim - 2
    strides, spread, dilations = (
        (1,) * rank if each is None else tuple(map(index, each)) for each in (window_strides, lhs_dilation, rhs_dilation)
    )
    transposed = max(spread, default=1) > 1
    if (
        out_sharding is not None
        or not is_for_funcnn(lhs, rhs, out)
        or not _sizes_known(lhs, rhs, out, numbers, batch_group_count)
        or min(strides + spread + dilations) < 1
        or (transposed and max(strides) > 1)
    ):
        return by_lax(lhs, rhs, *options)

    sizes, windows = [lhs.shape[i] for i in numbers.lhs_spec[2:]], [rhs.shape[i] for i in numbers.rhs_spec[2:]]
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(sizes, [(k - 1) * d + 1 for k, d in zip(windows, dilations, strict=True)], strides, padding)
    per_axis = zip(sizes, windows, spread if transposed else strides, dilations, padding, strict=True)
    groups = max(int(feature_group_count), int(batch_group_count))
    geometry = Geometry(tuple((_transposed if transposed else _axis)(*each) for each in per_axis), groups)
    o, c = (rhs.shape[i] for i in numbers.rhs_spec[:2])
    if _long(out, *((o // groups, c * groups) if transposed else (c, o)), geometry):
        return by_lax(lhs, rhs, *options)

    x = jnp.transpose(lhs, _channels_last(numbers.lhs_spec)).astype(out.dtype)
    w = jnp.transpose(rhs, (*numbers.rhs_spec[2:], *numbers.rhs_spec[1::-1])).astype(out.dtype)  # (KH, KW, C / G, O)
    if batch_group_count > 1:
        x = merge(jnp.moveaxis(split(x, 0, groups), 0, -2), x.ndim - 1)  # (G * N, H, W, C) as (N, H, W, G * C)
    x, w = varying_alike(x, w)
    precision = tuple(precision) if isinstance(precision, list) else precision
    if transposed:
        y = convolve(swap_channels(jnp.flip(w, range(rank)), groups), x, "x", geometry, precision)
    else:
        y = convolve(x, w, "y", geometry, precision)
    order = _channels_last(numbers.out_spec)
    return jnp.transpose(y, [order.index(i) for i in range(y.ndim)])


def _sizes_known(lhs: Array, rhs: Array, out: Any, numbers: lax.ConvDimensionNumbers, batch_groups: int) -> bool:
    """Whether there are spatial axes and entries, and all sizes are numbers, but for a batch that is not divided into groups."""
    batch, *rows = (lhs.shape[i] for i in numbers.lhs_spec)
    others = (*rows, *rhs.shape, *(out.shape[i] for i in numbers.out_spec[1:]))
    known = others if batch_groups == 1 else (batch, *others)
    return lhs.ndim > 2 and all(isinstance(n, int) for n in known) and all(n != 0 for n in (batch, *others))


def _channels_last(spec: Sequence[int]) -> tuple[int, ...]:
    """Where N, H, W, C are."""
    return spec[0], *spec[2:], spec[1]


def _axis(size: int, window: int, stride: int, dilation: int, pads: tuple[int, int]) -> Axis:
    low, high = map(index, pads)
    return Axis(size, window, min(stride, max(low + size + high, 1)), dilation, low, high)  # a larger one would be no other


def _transposed(size: int, window: int, stride: int, dilation: int, pads: tuple[int, int]) -> Axis:
    """That of the convolution which makes `size` rows, and whose input gradient is wanted: windows over rows with zeros in between."""
    low, high = map(index, pads)
    reach, between = (window - 1) * dilation + 1, (size - 1) * stride + 1
    out = low + between + high - reach + 1
    return Axis(out, window, stride, dilation, reach - 1 - low, reach - 1 - high)


def _long(out: Any, c: int, o: int, geometry: Geometry) -> bool:
    """Whether the program of it or of a gradient would be."""
    over_blocks = phases_pay(geometry)
    if prod(a.stride for a in geometry.axes) > MANY_REMAINDERS and not over_blocks:
        return True
    taps = prod(ceil(a.window / a.stride) if over_blocks else a.window for a in geometry.axes)
    return taps > MANY_TAPS and not frequencies_pay(out, c, o, geometry, MANY_TAPS)
