"""Resampling: rows in between, fewer rows, and channels as rows. N H W C in, P Q output rows and columns; any number of spatial axes."""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from operator import add
from typing import Any, Literal, NamedTuple

import numpy as np

from funcnn.arguments import check_array, check_flag, check_number, check_option
from funcnn.arrays import Array, namespace, rounded, widened
from funcnn.convolution.geometry import spatial_letters
from funcnn.layer import Layer, constructor, stateless

RANKS = {"nearest": None, "linear": None, "bilinear": 2, "trilinear": 3}
"""The spatial axes that a method is for; None: any number."""
MOST = 2**31
"""Rows that are too many."""
MANY = 16
"""Rows that go into one, above which they are taken at once: a program of so many parts would compile slowly."""


class Taps(NamedTuple):
    """Which rows make each row along one axis, and their shares: y[p] = sum_k weight[p, k] x[index[p, k]]; both (P, K)."""

    index: np.ndarray
    weight: np.ndarray


@constructor
def upsample(
    factor: float | Sequence[float] | None = None,
    *,
    size: int | Sequence[int] | None = None,
    method: Literal["nearest", "linear", "bilinear", "trilinear"] = "nearest",
    align_corners: bool = False,
) -> Layer:
    """More rows (or fewer), each the nearest one or a mixture of the two around its place: PyTorch's `interpolate`.

    Output p lies at p / factor ("nearest", rounded down), at (p + 1/2) / factor - 1/2 (linear: the centres of the pixels), or
    at p (H - 1) / (P - 1) where the corners are aligned; a place outside stands for the row at the edge. Where H = P, y = x.

    Args:
        factor: of the number of rows, P = floor(H * factor); one number, or one per spatial axis, whole or not. It, not P / H, says
            where the outputs lie, as in PyTorch (for `recompute_scale_factor=True` give the size).
        size: P itself, in place of a factor, which then is P / H exactly.
        method: "nearest", or "linear" along every axis; that is called "bilinear" over two axes and "trilinear" over three.
        align_corners: whether the first and last rows of x and y lie at the same places; not for "nearest".

    Returns:
        A layer from (N, H, W, C) to (N, P, Q, C); it keeps only its input's shape. Of halves it computes in float32.

    Raises:
        ValueError: an option out of range; no row left.
    """
    axes_of = _axes_of(factor, size, method)
    if check_flag("upsample", "align_corners", align_corners) and method == "nearest":
        raise ValueError('upsample: expected align_corners with a linear method, got "nearest"; the nearest row has no corners to align')
    taps_of = _nearest if method == "nearest" else partial(_linear, align_corners=align_corners)

    def forward(params, x):
        """y[p] = sum over rows h of weight[p, h] x[h], along every axis."""
        axes = axes_of(x)
        y = widened(x)
        for i, a in enumerate(axes, 1):
            y = mixed(y, i, taps_of(a)) if a.out != a.size else y
        return rounded(y, x), x[:0]  # (N, P, Q, C)

    def backward(empty, dy):
        """dx[h] = sum over outputs p of weight[p, h] dy[p], along every axis: a gather too."""
        axes = axes_of(empty)
        check_array("upsample", "dy", dy, ("N", *(a.out for a in axes), empty.shape[-1]))
        dx = widened(dy)
        for i, a in reversed(list(enumerate(axes, 1))):
            dx = mixed(dx, i, transposed(taps_of(a), a.size)) if a.out != a.size else dx
        return (), rounded(dx, dy)  # (N, H, W, C)

    return stateless("upsample", forward, backward)


class Axis(NamedTuple):
    """`size` rows in, `out` rows out, and the factor where that was given."""

    size: int
    out: int
    factor: float | None


def _axes_of(factor: Any, size: Any, method: Any) -> Callable[[Array], list[Axis]]:
    """Of x, which it checks, its axes; the options are checked at once."""
    if not isinstance(method, str) or method not in RANKS:
        raise ValueError(f'upsample: expected method "nearest", "linear", "bilinear" or "trilinear", got {method!r}')
    if (factor is None) == (size is None):
        raise ValueError(f"upsample: expected a factor or a size, got factor {factor!r} and size {size!r}")
    given, rank = factor if size is None else size, RANKS[method]
    if isinstance(given, tuple | list) and (not given or (rank and len(given) != rank)):
        raise ValueError(f"upsample: expected one number per spatial axis{f', that is {rank}' if rank else ''}, got {given!r}")
    values = given if isinstance(given, tuple | list) else (given,) * (rank or 1)
    if size is None:
        values = [check_number("upsample", "every factor", v, "a number above 0", lambda v: 0 < v < MOST) for v in values]
    else:
        values = [check_option("upsample", "every size", v) for v in values]
    any_rank = rank is None and not isinstance(given, tuple | list)
    letters = ("H", "...") if any_rank else spatial_letters(len(values))

    def of(x: Array) -> list[Axis]:
        check_array("upsample", "x", x, ("N", *letters, "C"))
        each = zip(x.shape[1:-1], values * (x.ndim - 2) if any_rank else values, strict=True)
        axes = [Axis(n, int(n * v), v) if size is None else Axis(n, int(v), None) for n, v in each]
        if not all(a.size >= 1 and 1 <= a.out < MOST for a in axes):
            outs = tuple(a.out for a in axes)
            raise ValueError(f"upsample: expected at least one row of x and of y along every axis, got {x.shape[1:-1]} to {outs}")
        return axes

    return of


def _nearest(axis: Axis) -> Taps:
    """The row at p / factor, rounded down as PyTorch does it in float64, and exact where it can be.

    In float32 PyTorch misses a row here and there (2 rows to 82). As in PyTorch over two axes, twice as many rows are each row twice, by
    whatever factor.
    """
    size, out, factor = axis
    p = np.arange(out)
    if factor is None or factor.is_integer() or out == 2 * size:
        row = p * size // out
    else:
        row = np.floor((p * (1 / factor)).astype("float32")).astype("int64")
    return Taps(np.minimum(row, size - 1)[:, None], np.ones((out, 1)))


def _linear(axis: Axis, *, align_corners: bool) -> Taps:
    """The two rows around the place of every output, by their nearness."""
    size, out, factor = axis
    p, step = np.arange(out), size / out if factor is None else 1 / factor
    between_corners = (size - 1) / (out - 1) if out > 1 else 0.0
    place = p * between_corners if align_corners else np.maximum((p + 0.5) * step - 0.5, 0)
    row = np.minimum(place.astype("int64"), size - 1)
    share = np.clip(place - row, 0, 1)  # of the next row
    return Taps(np.stack([row, np.minimum(row + 1, size - 1)], 1), np.stack([1 - share, share], 1))


def transposed(taps: Taps, size: int) -> Taps:
    """The taps of the way back: which outputs each of the `size` rows went into."""
    used = np.flatnonzero(taps.weight)
    rows = taps.index.reshape(-1)[used]
    used, counts = used[np.argsort(rows, kind="stable")], np.bincount(rows, minlength=size)  # by rows; (H,)
    k = np.arange(counts.max())[None]  # (1, K)
    first = (np.cumsum(counts) - counts)[:, None]  # (H, 1)
    at = used[np.minimum(first + np.minimum(k, np.maximum(counts[:, None] - 1, 0)), len(used) - 1)]  # (H, K), the last one again at the end
    return Taps(at // taps.index.shape[1], np.where(k < counts[:, None], taps.weight.reshape(-1)[at], 0))


def mixed(x: Array, axis: int, taps: Taps) -> Array:
    """y[p] = sum_k weight[p, k] x[index[p, k]] along an axis: (..., P, ...)."""
    xp, (out, k) = namespace(x), taps.index.shape
    after = (1,) * (x.ndim - axis - 1)
    weight = xp.asarray(taps.weight, x.dtype)  # (P, K)
    if k > MANY:
        rows = xp.take(x, taps.index, axis, mode="clip")  # (..., P, K, ...)
        return (rows * weight.reshape(*(1,) * axis, out, k, *after)).sum(axis + 1)
    each = (xp.take(x, taps.index[:, i], axis, mode="clip") * weight[:, i].reshape(*(1,) * axis, out, *after) for i in range(k))
    return reduce(add, each)


@constructor
def pixel_shuffle(factor: int, *, order: Literal["CRD", "DCR"] = "CRD") -> Layer:
    """Channels as rows and columns (Shi et al. 2016, arXiv:1609.05158): PyTorch's `pixel_shuffle`, ONNX's DepthToSpace.

        y[n, h f + i, w f + j, c] = x[n, h, w, (c f + i) f + j]  for "CRD",  x[n, h, w, (i f + j) C + c]  for "DCR"

    Args:
        factor: f, by which the number of rows and columns grows.
        order: how the channels of x are counted: first by those of y and then by places, "CRD" (PyTorch), or by places first, "DCR"
            (TensorFlow's depth_to_space).

    Returns:
        A layer from (N, H, W, f^2 C) to (N, f H, f W, C), or f^D C channels over D spatial axes; it keeps only its input's shape.

    Raises:
        ValueError: an option out of range; channels that are no multiple of f^D.
    """
    factor, order = _checked_shuffle("pixel_shuffle", factor, order)

    def forward(params, x):
        """y[n, h f + i, w f + j, c] = x[n, h, w, (c f + i) f + j]."""
        check_array("pixel_shuffle", "x", x, ("N", "H", "...", "C"))
        places = factor ** (x.ndim - 2)
        if x.shape[-1] % places:
            raise ValueError(f"pixel_shuffle: expected channels in a multiple of {places}, got x of shape {x.shape}")
        return _to_rows(x, factor, order), x[:0]

    def backward(empty, dy):
        """dx[n, h, w, (c f + i) f + j] = dy[n, h f + i, w f + j, c]: `pixel_unshuffle`."""
        spatial = empty.shape[1:-1]
        check_array("pixel_shuffle", "dy", dy, ("N", *(n * factor for n in spatial), empty.shape[-1] // factor ** len(spatial)))
        return (), _to_channels(dy, factor, order)

    return stateless("pixel_shuffle", forward, backward)


@constructor
def pixel_unshuffle(factor: int, *, order: Literal["CRD", "DCR"] = "CRD") -> Layer:
    """Rows and columns as channels, the inverse of `pixel_shuffle`: PyTorch's `pixel_unshuffle`, ONNX's SpaceToDepth for "DCR".

    Args:
        factor, order: as in `pixel_shuffle`.

    Returns:
        A layer from (N, f H, f W, C) to (N, H, W, f^2 C), or f^D C channels over D spatial axes; it keeps only its input's shape.

    Raises:
        ValueError: an option out of range; rows that are no multiple of f.
    """
    factor, order = _checked_shuffle("pixel_unshuffle", factor, order)

    def forward(params, x):
        """y[n, h, w, (c f + i) f + j] = x[n, h f + i, w f + j, c]."""
        check_array("pixel_unshuffle", "x", x, ("N", "H", "...", "C"))
        if any(n % factor for n in x.shape[1:-1]):
            raise ValueError(f"pixel_unshuffle: expected rows in a multiple of {factor} along every axis, got x of shape {x.shape}")
        return _to_channels(x, factor, order), x[:0]

    def backward(empty, dy):
        """dx[n, h f + i, w f + j, c] = dy[n, h, w, (c f + i) f + j]: `pixel_shuffle`."""
        spatial = empty.shape[1:-1]
        check_array("pixel_unshuffle", "dy", dy, ("N", *(n // factor for n in spatial), empty.shape[-1] * factor ** len(spatial)))
        return (), _to_rows(dy, factor, order)

    return stateless("pixel_unshuffle", forward, backward)


def _checked_shuffle(name: str, factor: int, order: Any) -> tuple[int, Any]:
    if not isinstance(order, str) or order not in ("CRD", "DCR"):
        raise ValueError(f'{name}: expected order "CRD" or "DCR", got {order!r}')
    return check_option(name, "factor", factor), order


def _to_rows(x: Array, f: int, order: str) -> Array:
    """(N, H, W, f^2 C) to (N, f H, f W, C)."""
    n, *spatial, channels = x.shape
    d = len(spatial)
    c, places, by_places = channels // f**d, (f,) * d, order == "DCR"
    blocks = x.reshape(n, *spatial, *((*places, c) if by_places else (c, *places)))  # (N, H, W, C, f, f)
    inner = d + 1 + (not by_places)  # the first axis of places
    between = (axis for i in range(d) for axis in (1 + i, inner + i))
    moved = namespace(x).transpose(blocks, (0, *between, 2 * d + 1 if by_places else d + 1))  # (N, H, f, W, f, C)
    return moved.reshape(n, *(s * f for s in spatial), c)


def _to_channels(y: Array, f: int, order: str) -> Array:
    """(N, f H, f W, C) to (N, H, W, f^2 C)."""
    n, *spatial, c = y.shape
    d = len(spatial)
    blocks = y.reshape(n, *(part for s in spatial for part in (s // f, f)), c)  # (N, H, f, W, f, C)
    rows, places, channel = range(1, 2 * d, 2), range(2, 2 * d + 1, 2), 2 * d + 1
    moved = namespace(y).transpose(blocks, (0, *rows, *((*places, channel) if order == "DCR" else (channel, *places))))
    return moved.reshape(n, *(s // f for s in spatial), c * f**d)
