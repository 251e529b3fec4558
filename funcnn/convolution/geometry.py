"""Where the windows of a convolution or a pooling lie: padding, stride, dilation, output sizes; for any number of axes.

N examples, H W (or any other number of) spatial axes, C channels; KH KW window, P Q output rows and columns. Along one
axis, output p sees the inputs h = p * stride + k * dilation - low, for the taps k < window.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import product
from math import ceil, gcd
from operator import add
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from funcnn.arguments import check_flag, check_option
from funcnn.arrays import Array, namespace
from funcnn.cpu import stored

Padding: TypeAlias = Literal["SAME", "VALID", "SAME_LOWER"] | int | Sequence[tuple[int, int]]
"""A rule, or the rows added on all sides, or (low, high) for each spatial axis."""


class Axis(NamedTuple):
    """One spatial axis; negative padding crops. The last `beyond` of the `high` rows are what `ceil_mode` reaches over, no padding."""

    size: int
    window: int
    stride: int = 1
    dilation: int = 1
    low: int = 0
    high: int = 0
    beyond: int = 0

    @property
    def reach(self) -> int:
        """The inputs from the window's first tap to its last."""
        return (self.window - 1) * self.dilation + 1

    @property
    def out(self) -> int:
        """The number of outputs."""
        return (self.low + self.size + self.high - self.reach) // self.stride + 1

    def rounded_up(self) -> "Axis":
        """With one window more where some rows are left over, if it starts in the input or in the low padding: PyTorch's ceil_mode."""
        padded = self.low + self.size + self.high
        if (padded - self.reach) % self.stride == 0 or self.out * self.stride >= self.low + self.size:
            return self
        beyond = self.out * self.stride + self.reach - padded
        return self._replace(high=self.high + beyond, beyond=beyond)

    @property
    def hits(self) -> int:
        """The pairs of an output and a tap that see an input, not padding."""
        firsts = (k * self.dilation - self.low for k in range(self.window))  # what tap k sees at output 0
        return sum(max(min((self.size - 1 - f) // self.stride, self.out - 1) - max(-(f // self.stride), 0) + 1, 0) for f in firsts)


class Geometry(NamedTuple):
    """What a convolution algorithm needs to know of a problem, beside the arrays.

    With `groups` G, the C input and O output channels are G blocks each, and block g of the output sees only block g of the
    input: w (KH, KW, C / G, O). G = C is the depthwise convolution.
    """

    axes: tuple[Axis, ...]
    groups: int = 1


class Window(NamedTuple):
    """The checked options of a windowed layer, before an input's size is known."""

    name: str
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    padding: Literal["SAME", "VALID", "SAME_LOWER"] | tuple[tuple[int, int], ...]
    ceil_mode: bool = False

    @property
    def letters(self) -> tuple[str, ...]:
        """What messages call the spatial axes."""
        return spatial_letters(len(self.sizes))

    def over(self, in_sizes: Sequence[int]) -> Geometry:
        """The geometry over an input of spatial sizes `in_sizes`; ValueError where a window does not fit."""
        axes, fits = (), True
        for i, (size, k, s, d) in enumerate(zip(in_sizes, self.sizes, self.strides, self.dilations, strict=True)):
            total = max((ceil(size / s) - 1) * s + (k - 1) * d + 1 - size, 0)
            few, more = total // 2, total - total // 2
            rules = {"VALID": (0, 0), "SAME": (few, more), "SAME_LOWER": (more, few)}
            axis = Axis(size, k, s, d, *(rules[self.padding] if isinstance(self.padding, str) else self.padding[i]))
            axis = axis.rounded_up() if self.ceil_mode else axis
            padded = axis.low + size + axis.high
            axes = (*axes, axis._replace(stride=min(s, max(padded, 1))))  # a larger one would be no other, only with more remainders
            fits = fits and size >= 1 and axes[-1].out >= 1
        if not fits:
            raise ValueError(
                f"{self.name}: expected an input at least as large as the window, got windows that reach over "
                f"{tuple(a.reach for a in axes)} on a padded input of {tuple(a.low + a.size + a.high for a in axes)}; "
                f'pad it, padding="SAME", or use a smaller window'
            )
        return Geometry(axes)

    def transposed(self, out_sizes: Sequence[int], more: Sequence[int]) -> Geometry:
        """The geometry whose OUTPUT has the spatial sizes `out_sizes`, with `more` inputs at the end that no window needs to see.

        It has (out - 1) stride - low - high + reach + more inputs, where a rule pads out * stride. ValueError where none is left.
        """
        if self.padding in ("SAME", "SAME_LOWER"):
            return self.over([out * s for out, s in zip(out_sizes, self.strides, strict=True)])
        pairs = ((0, 0),) * len(self.sizes) if isinstance(self.padding, str) else self.padding
        axes = ()
        for out, k, s, d, (low, high), extra in zip(out_sizes, self.sizes, self.strides, self.dilations, pairs, more, strict=True):
            axis = Axis((out - 1) * s + (k - 1) * d + 1 - low - high + extra, k, s, d, low, high - extra)
            axes = (*axes, axis)
        if any(a.size < 1 for a in axes) or any(out < 1 for out in out_sizes):
            raise ValueError(
                f"{self.name}: expected an output of at least one row along every axis, got {tuple(a.size for a in axes)} "
                f"of an input of {tuple(out_sizes)}; pad less, as padding takes rows away here"
            )
        return Geometry(axes)


def spatial_letters(rank: int) -> tuple[str, ...]:
    """What messages call that many spatial axes."""
    return tuple("HWD"[:rank]) if rank <= 3 else tuple(f"S{i}" for i in range(rank))


def window(
    name: str,
    sizes: Sequence[int],
    stride: int | Sequence[int],
    padding: Padding,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> Window:
    """Check the options of the layer `name`; a single stride or dilation is meant for every axis."""
    if not isinstance(sizes, tuple | list) or not sizes:
        raise ValueError(f"{name}: expected a window size per spatial axis, such as (3, 3), got {sizes!r}")
    sizes = tuple(check_option(name, "every window size", k) for k in sizes)

    strides, dilations = (per_axis(name, *option, len(sizes)) for option in (("stride", stride), ("dilation", dilation)))
    padding = _checked_padding(name, padding, len(sizes))
    return Window(name, sizes, strides, dilations, padding, check_flag(name, "ceil_mode", ceil_mode))


def per_axis(name: str, what: str, value: int | Sequence[int], rank: int, low: int = 1) -> tuple[int, ...]:
    """`value`, which is one for each of `rank` axes or one for all, as one for each, or raise unless all are at least `low`."""
    values = value if isinstance(value, tuple | list) else (value,) * rank
    if len(values) != rank:
        raise ValueError(f"{name}: expected one {what} per spatial axis, that is {rank}, got {value!r}")
    return tuple(check_option(name, f"every {what}", v, low) for v in values)


def _checked_padding(name: str, padding: Padding, rank: int) -> Literal["SAME", "VALID", "SAME_LOWER"] | tuple[tuple[int, int], ...]:
    if isinstance(padding, str) and (padding == "SAME" or padding == "VALID" or padding == "SAME_LOWER"):
        return padding
    if isinstance(padding, int | np.integer) and not isinstance(padding, bool) and padding >= 0:
        return ((int(padding), int(padding)),) * rank
    if isinstance(padding, tuple | list) and len(padding) == rank and all(isinstance(p, tuple | list) and len(p) == 2 for p in padding):
        low_high = ((check_option(name, "padding", low, 0), check_option(name, "padding", high, 0)) for low, high in padding)
        return tuple(low_high)
    fix = '; conv alone takes "REFLECT", "EDGE", "CIRCULAR", "CAUSAL" too, else put fn.pad before it' if isinstance(padding, str) else ""
    raise ValueError(
        f'{name}: expected padding "SAME", "VALID", "SAME_LOWER", a whole number of at least 0 or {rank} pairs (low, high), '
        f"got {padding!r}{fix}"
    )


def pad(x: Array, axes: Sequence[Axis], value: float = 0) -> Array:
    """x (N, H, W, C) with `value` around it, or cropped where a padding is negative: (N, low + H + high, ..., C).

    A crop may be larger than x, where the padding of the other side makes up for it: all is `value` then.
    """
    kept, widths = (), ((0, 0),)
    for a in axes:
        inside, padded = range(a.size)[max(-a.low, 0) : max(a.size + a.high, 0)], a.low + a.size + a.high
        low = min(max(a.low, 0), padded)
        kept, widths = (*kept, slice(inside.start, inside.stop)), (*widths, (low, padded - low - len(inside)))
    x, widths = x[:, *kept], (*widths, (0, 0))
    return namespace(x).pad(x, widths, constant_values=value) if any(map(any, widths)) else x


def offsets(axes: Sequence[Axis]) -> list[tuple[int, ...]]:
    """The taps (kh, kw) of a window in row-major order."""
    return list(product(*[range(a.window) for a in axes]))


def tap(x_padded: Array, axes: Sequence[Axis], k: tuple[int, ...]) -> Array:
    """What the tap k sees at every output: (N, P, Q, C), a strided slice of the padded input."""
    seen = ()
    for a, i in zip(axes, k, strict=True):
        first = i * a.dilation
        seen = (*seen, slice(first, first + (a.out - 1) * a.stride + 1, a.stride))
    return x_padded[:, *seen]


def untap(dy: Array, axes: Sequence[Axis], k: tuple[int, ...]) -> Array:
    """dy (N, P, Q, O) moved to where the tap k saw x: (N, H, W, O), 0 elsewhere; strides of 1."""
    first = [i * a.dilation - a.low for a, i in zip(axes, k, strict=True)]
    return pad(dy, [Axis(a.out, 1, low=f, high=a.size - a.out - f) for a, f in zip(axes, first, strict=True)])


def add_taps(products: Array, axes: Sequence[Axis], o: int) -> Array:
    """The sum over taps k of what each sees in its own O channels of the padded `products` (..., KH * KW * O): (N, P, Q, O)."""

    def run(products: Array) -> Array:
        return reduce(add, (tap(products[..., i * o : (i + 1) * o], axes, k) for i, k in enumerate(offsets(axes))))

    return stored(run, products)


def columns(x_padded: Array, axes: Sequence[Axis]) -> Array:
    """What all taps see, joined: (N, P, Q, KH * KW * C)."""
    return namespace(x_padded).concatenate([tap(x_padded, axes, k) for k in offsets(axes)], axis=-1)


def by_rows(axes: Sequence[Axis]) -> tuple[tuple[Axis, ...], tuple[Axis, ...]]:
    """A window over a padded input in two steps: within every row, over all axes but the first; then across the rows of that."""
    first, *rest = axes
    rows = first.low + first.size + first.high
    return (Axis(rows, 1), *rest), (first._replace(size=rows, low=0, high=0), *(Axis(a.out, 1) for a in rest))


def adjoint(axes: Sequence[Axis], gather: Callable[[tuple[slice, ...], tuple[Axis, ...]], Array]) -> Array:
    """The input gradient (N, H, W, C), as a gather: input h collects from the outputs p whose windows hold it.

        dx[h] = sum over the taps k and outputs p with p * stride + k * dilation = h + low

    The inputs h = m * stride + r with one remainder r see the same taps, so each r is a problem of stride 1 over the
    outputs: no zeros are multiplied and nothing is scattered.

    Args:
        axes: the axes of the forward pass.
        gather: for one remainder per axis, `(taps, axes) -> (N, M, ..., C)`: m collects, over its `taps` in REVERSED
            order, from an input of P outputs padded as `axes` say. All remainders are equally long.
    """
    choices = [[_remainder(a, r) for r in range(a.stride)] for a in axes]
    parts = [None if None in choice else gather(*map(tuple, zip(*choice, strict=True))) for choice in product(*choices)]  # pyrefly: ignore
    some = next(part for part in parts if part is not None)
    xp = namespace(some)
    parts = [xp.zeros_like(some) if part is None else part for part in parts]  # (N, M0, M1, C) each
    for d, axis in reversed(list(enumerate(axes))):  # m * stride + r: the remainders of one axis between each other
        groups = [parts[i : i + axis.stride] for i in range(0, len(parts), axis.stride)]
        parts = [_between_each_other(group, 1 + d) for group in groups]
    return parts[0][:, *(slice(a.size) for a in axes)]


def _between_each_other(parts: list[Array], axis: int) -> Array:
    """Arrays (..., M, ...) as one (..., M * len(parts), ...) that takes from each in turn."""
    if len(parts) == 1:
        return parts[0]
    shape = parts[0].shape
    return namespace(*parts).stack(parts, axis=axis + 1).reshape(*shape[:axis], shape[axis] * len(parts), *shape[axis + 1 :])


def _remainder(axis: Axis, r: int) -> tuple[slice, Axis] | None:
    """The taps that reach inputs h = m * stride + r, and the axis of the stride-1 problem over the outputs; None: no tap."""
    step = axis.stride // gcd(axis.stride, axis.dilation)
    first = next((k for k in range(min(step, axis.window)) if (k * axis.dilation - axis.low - r) % axis.stride == 0), None)
    if first is None:
        return None
    taps, dilation = slice(first, axis.window, step), axis.dilation * step // axis.stride
    shift = (first * axis.dilation - axis.low - r) // axis.stride  # tap first + j * step sees output m - shift - j * dilation
    count, window = ceil(axis.size / axis.stride), len(range(axis.window)[taps])
    low = shift + (window - 1) * dilation
    return taps, Axis(axis.out, window, 1, dilation, low, count - axis.out - shift)


def overlap_add(piece: Callable[[tuple[int, ...]], Array], axes: Sequence[Axis]) -> Array:
    """The adjoint of taking taps: dx (N, H, W, C) is the sum of every tap's `piece(k)` (N, P, Q, C) put where the tap saw it."""

    def gather(taps: tuple[slice, ...], inner: tuple[Axis, ...]) -> Array:
        ranges = [range(a.window)[t] for a, t in zip(axes, taps, strict=True)]
        total = None
        for j, k in zip(offsets(inner), product(*ranges), strict=True):
            shifted = [
                a._replace(low=a.low - (a.window - 1 - i) * a.dilation, high=a.high - i * a.dilation) for a, i in zip(inner, j, strict=True)
            ]
            part = pad(piece(k), shifted)
            total = part if total is None else total + part
        return total

    return adjoint(axes, gather)
