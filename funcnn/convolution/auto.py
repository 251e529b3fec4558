"""The default: the algorithm that was fastest for such a shape, for each of the three passes by itself.

The rule, measured on a CPU (`python -m experiments loops` for one layer by every algorithm, `speed` for whole steps):

1. Forward, one channel in a group and a small window: shifted slices, which fuse into one loop; so does any depthwise dw.
2. 3x3 and 5x5 windows of stride 1 in float32 with enough channels: Winograd's F(4x4, 3x3) and F(2x2, 5x5), a quarter and a
   third of the multiplications. They transform C + O numbers for every C * O products, and pay from 32 to 32 channels.
   Their rounding error is 10 times larger, up to 2e-5 (`winograd.py`). Not of 16-bit numbers, which they transform in float32,
   nor in float64, which is for those who want all digits, nor on GPUs, whose matrix units they keep from working, nor on NumPy,
   where each of their many small steps goes through memory.
3. Large windows in float32 and float64: the Fourier transform, for dw and on NumPy from 7x7, else from 11x11.
4. Else matrix products: of columns (im2col), of columns within rows (rowwise; on CPUs), or products first and shifts after
   (kn2row), by which of them moves the fewest numbers per position. The dw of many channels goes tap by tap, as its columns would
   need many times the input's memory.
5. On NumPy the rest goes tap by tap; one channel as columns, and so does the dw of few.
6. With strides that divide the window, or nearly, over blocks of inputs, whose phases are channels (`phases.py`): what is left has a
   stride of 1 and is chosen as above, windows of 2x2 blocks by F(3x3, 2x2) where 2. says so.
"""

from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from math import prod
from operator import attrgetter

import numpy as np

from funcnn.arrays import Array, namespace
from funcnn.convolution.algorithm import Pass, from_passes
from funcnn.convolution.algorithm import input_gradient as gradient_by
from funcnn.convolution.fft import fft
from funcnn.convolution.fft import forward as fft_forward
from funcnn.convolution.fft import weight_gradient as fft_gradient
from funcnn.convolution.geometry import Geometry
from funcnn.convolution.im2col import forward as im2col
from funcnn.convolution.im2col import weight_gradient as im2col_gradient
from funcnn.convolution.kn2row import forward as kn2row
from funcnn.convolution.kn2row import supports as kn2row_supports
from funcnn.convolution.phases import forward as phases
from funcnn.convolution.phases import input_gradient_by as phases_input
from funcnn.convolution.phases import supports as phases_supports
from funcnn.convolution.phases import weight_gradient as phases_gradient
from funcnn.convolution.phases import zeros_added
from funcnn.convolution.rowwise import forward as rowwise
from funcnn.convolution.rowwise import supports as rowwise_supports
from funcnn.convolution.rowwise import weight_gradient as rowwise_gradient
from funcnn.convolution.shifted import forward as shifted
from funcnn.convolution.shifted import weight_gradient as shifted_gradient
from funcnn.convolution.winograd import forward as winograd
from funcnn.convolution.winograd import weight_gradient as winograd_gradient
from funcnn.convolution.winograd import winograd2, winograd3, winograd4
from funcnn.cpu import at_least, by_platform, for_cpu

SMALL = 16
"""Taps from which a sum of slices is too much for one loop."""
TRANSFORMS_PAY = 16
"""Products C O for every number C + O that is transformed, from which Winograd's way is faster."""
FREQUENCIES_PAY = 80
"""Multiplications of a plain sum for every number that is transformed, from which the Fourier transform is faster, with WIDE windows."""
WIDE, WIDE_GRADIENT = 121, 49
"""Taps from which that is so, for y and for dw: below, its own products at every frequency are too many."""
MANY = 8
"""Channels from which the weight gradient goes tap by tap, on NumPy, and compiled where the columns are large."""
LARGE_COLUMNS = 2**20
"""Numbers in the columns from which that is so."""
TOO_MANY = 1024
"""Numbers per position from which rowwise's weight gradient moves too many."""
FEW_ZEROS = 5 / 4
"""Taps of whole blocks for every tap of a kernel up to which blocks are worth their zeros."""


def tile_that_pays(a: Array, c: int, o: int, geometry: Geometry, of_blocks: bool = False) -> int:
    """The size of the tiles of outputs with which Winograd's way pays on a CPU, 0 where it does not."""
    m = 4 if winograd4.supports(geometry) else 2 if winograd2.supports(geometry) else 3 if of_blocks and winograd3.supports(geometry) else 0
    if not m or a.dtype != "float32" or namespace(a) is np or min(axis.out for axis in geometry.axes) < 4:
        return 0
    return m if c * o >= TRANSFORMS_PAY * (c + o) else 0


def frequencies_pay(a: Array, c: int, o: int, geometry: Geometry, wide: int) -> bool:
    """Whether the Fourier transform is faster than any sum over taps on a CPU."""
    if _taps(geometry) < wide or not fft.supports(geometry) or a.dtype not in ("float32", "float64"):
        return False
    plain = _taps(geometry) * prod(axis.out for axis in geometry.axes) * c * o
    return plain >= FREQUENCIES_PAY * prod(axis.low + axis.size + axis.high for axis in geometry.axes) * (c + o)


def _taps(geometry: Geometry) -> int:
    return prod(map(attrgetter("window"), geometry.axes))


def _within_rows(c: int, o: int, geometry: Geometry) -> tuple[int, int]:
    """The numbers per position in rowwise's columns and in its products: KW C and KH O."""
    rows = geometry.axes[0].window
    return _taps(geometry) // rows * c, rows * o


def _forward_pass(x: Array, w: Array, geometry: Geometry, cpu: bool, of_blocks: bool = False) -> Pass:
    """Who makes y, and dx too."""
    *_, c, o = w.shape
    if namespace(x, w) is np:
        if cpu and frequencies_pay(x, c, o, geometry, WIDE_GRADIENT):
            return fft_forward
        return im2col if c == geometry.groups == 1 else shifted
    taps = _taps(geometry)
    m = tile_that_pays(x, c, o, geometry, of_blocks) if cpu else 0
    if m:
        return partial(winograd, m)
    if cpu and frequencies_pay(x, c, o, geometry, WIDE):
        return fft_forward
    if c == 1 and taps < SMALL:
        return shifted
    columns, products = _within_rows(c, o, geometry)
    moved = {im2col: (4 * taps * c if taps > 1 else c) + 2 * o}  # columns are written and read twice, products once
    if cpu and rowwise_supports(geometry):
        moved[rowwise] = 4 * columns + 2 * products
    if kn2row_supports(geometry):
        moved[kn2row] = c + 4 * taps * o  # products that are padded
    return min(moved, key=lambda run: moved[run])


def _gradient_pass(x: Array, dy: Array, geometry: Geometry, cpu: bool, of_blocks: bool = False) -> Pass:
    """Who makes dw."""
    c, o, taps, eager = x.shape[-1], dy.shape[-1], _taps(geometry), namespace(x, dy) is np
    m = tile_that_pays(x, c, o, geometry, of_blocks) if cpu else 0
    if m:
        return partial(winograd_gradient, m)
    if cpu and frequencies_pay(x, c, o, geometry, WIDE_GRADIENT):
        return fft_gradient
    if geometry.groups == c > 1 or (eager and c >= MANY):
        return shifted_gradient
    moved = 4 * sum(_within_rows(c, o, geometry))
    by_rows = cpu and not eager and rowwise_supports(geometry)
    if by_rows and moved < min(4 * taps * c + o, TOO_MANY):
        return rowwise_gradient
    return shifted_gradient if c >= MANY and at_least(dy.size // o * taps * c, LARGE_COLUMNS) else im2col_gradient


def phases_pay(geometry: Geometry) -> bool:
    """Whether the input gradient of a strided convolution is one problem over blocks, in place of one for each remainder."""
    strided = max(map(attrgetter("stride"), geometry.axes)) > 1
    return strided and phases_supports(geometry) and zeros_added(geometry) <= FEW_ZEROS


def _columns_pay(geometry: Geometry) -> bool:
    """Whether y and dw are made over blocks too: not where no windows overlap and few taps are joined sooner one by one."""
    return phases_pay(geometry) and (_taps(geometry) >= SMALL or any(a.window > a.stride for a in geometry.axes))


def _forward_shape(x: Array, w: Array, geometry: Geometry) -> tuple[int, ...]:
    return (x.shape[0], *(a.out for a in geometry.axes), w.shape[-1])


def _gradient_shape(x: Array, dy: Array, geometry: Geometry) -> tuple[int, ...]:
    return (*(a.window for a in geometry.axes), x.shape[-1] // geometry.groups, dy.shape[-1])


_asked: ContextVar[list[str] | None] = ContextVar("asked", default=None)
"""Where passes write who they are, while they are only asked for that."""


def _chosen(
    choose: Callable[..., Pass], shape: Callable[[Array, Array, Geometry], tuple[int, ...]], over_blocks: Pass | None = None, of: str = ""
) -> Pass:
    """The pass that `choose` says, for a CPU and for any other platform, its result of that `shape`; `over_blocks`, where that pays."""

    def run(first: Array, second: Array, geometry: Geometry) -> Array:
        if over_blocks and max(map(attrgetter("stride"), geometry.axes)) > 1 and _columns_pay(geometry):
            return over_blocks(first, second, geometry)
        names = _asked.get()
        if names is not None:
            names.append(of + _name(choose(first, second, geometry, for_cpu())))
            return namespace(first).zeros(shape(first, second, geometry), first.dtype)
        if namespace(first, second) is np:
            return choose(first, second, geometry, True)(first, second, geometry)
        here, elsewhere = (choose(first, second, geometry, cpu) for cpu in (True, False))
        if here is elsewhere:
            return here(first, second, geometry)
        return by_platform(lambda a, b: here(a, b, geometry), lambda a, b: elsewhere(a, b, geometry), first, second)

    return run


def _name(run: Pass) -> str:
    """Of the algorithm that a pass is of: that of its module, and the size of its tiles."""
    function, *tile = (run.func, *run.args) if isinstance(run, partial) else (run,)
    return function.__module__.rpartition(".")[2] + "".join(map(str, tile))


_of_blocks = _chosen(partial(_forward_pass, of_blocks=True), _forward_shape, of="phases of ")
_gradient_of_blocks = _chosen(partial(_gradient_pass, of_blocks=True), _gradient_shape, of="phases of ")
forward = _chosen(_forward_pass, _forward_shape, partial(phases, _of_blocks))
weight_gradient = _chosen(_gradient_pass, _gradient_shape, partial(phases_gradient, _gradient_of_blocks))


def input_gradient(w: Array, dy: Array, geometry: Geometry) -> Array:
    """dx, by one problem of stride 1 over blocks, or by one for each remainder."""
    return phases_input(_of_blocks, w, dy, geometry) if phases_pay(geometry) else gradient_by(forward, w, dy, geometry)


auto = from_passes("auto", forward, weight_gradient, input_pass=input_gradient)


def chosen(like: Array, w: Array, geometry: Geometry) -> tuple[str, ...]:
    """The algorithms of y, dx and dw, of as many examples and the dtype of `like`, a tracer: the passes run, but no algorithm does."""
    x, dy = (
        namespace(like).zeros((like.shape[0], *sizes, c), like.dtype)
        for sizes, c in (([a.size for a in geometry.axes], w.shape[-2] * geometry.groups), ([a.out for a in geometry.axes], w.shape[-1]))
    )
    found = []
    for run, first, second in ((auto.forward, x, w), (auto.input_gradient, w, dy), (auto.weight_gradient, x, dy)):
        names = []
        token = _asked.set(names)
        try:
            run(first, second, geometry)  # pyrefly: ignore
        finally:
            _asked.reset(token)
        found.append("+".join(dict.fromkeys(names)))
    return tuple(found)
