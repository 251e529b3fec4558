"""Wrong gradients of padding, cropping, resampling and of convolutions that pad by rows of x itself; and the right ones."""

import numpy as np

import funcnn as fn
from funcnn.arrays import namespace
from funcnn.checking.mutation import mutants as m
from funcnn.checking.mutation.mutants import Mutant, changed
from funcnn.layer import Layer
from funcnn.resampling import Taps, mixed, transposed

IMAGE, BOTH = (5, 6, 2), ((2, 2), (0, 0))
CONSTANT, REFLECT, EDGE = fn.pad(((2, 0), (0, 0))), fn.pad(BOTH, mode="reflect"), fn.pad(BOTH, mode="edge")
CIRCULAR, CROP = fn.pad(((2, 0), (0, 0)), mode="circular"), fn.crop(((2, 1), (0, 0)))
NEAREST, LINEAR, CORNERS = fn.upsample(2), fn.upsample(2, method="bilinear"), fn.upsample(2, method="bilinear", align_corners=True)
UNEVEN = fn.upsample(1.5, method="bilinear")
SHUFFLE, UNSHUFFLE = fn.pixel_shuffle(2), fn.pixel_unshuffle(2)
CONV, SAME = fn.conv(3, (3, 3), padding="CIRCULAR"), fn.conv(3, (3, 3))
STRIDED, CAUSAL = fn.conv(3, (3,), padding="REFLECT", stride=2), fn.conv(3, (3,), padding="CAUSAL")


def _as(name: str, right: Layer, other: Layer, in_shape: tuple[int, ...] = IMAGE, words: str = "") -> Mutant:
    """A layer with the backward pass of another one."""
    return Mutant(f"{right.name}: {name}", right._replace(backward=other.backward), right, in_shape, words)


def _change(name: str, right: Layer, how: m.Change, in_shape: tuple[int, ...] = IMAGE, words: str = "") -> Mutant:
    return Mutant(f"{right.name} dx: {name}", changed(right, "x", how), right, in_shape, words)


def _inside_alone(conv: Layer) -> Layer:
    """A convolution whose rows added give nothing back: the cut in place of the adjoint."""

    def backward(residuals, dy):
        return conv.backward(residuals, dy)[0], SAME.backward((residuals[0][:, 1:-1, 1:-1], *residuals[1:]), dy)[1]

    return conv._replace(backward=backward)


def _kept_unpadded(conv: Layer) -> Layer:
    """A convolution that forgot that x was padded when it made dw: of x with zeros around it."""

    def backward(residuals, dy):
        inside = residuals[0][:, 1:-1, 1:-1]
        return SAME.backward((inside, *residuals[1:]), dy)[0], conv.backward(residuals, dy)[1]

    return conv._replace(backward=backward)


def _neighbours(xp, g):
    """The rows of y between each other swapped."""
    return xp.flip(g.reshape(g.shape[0], -1, 2, *g.shape[2:]), 2).reshape(g.shape)


def _swapped(dy):
    """dx of a shuffle by 2 in which i and j are swapped."""
    n, h, w, c = dy.shape
    return namespace(dy).transpose(dy.reshape(n, h // 2, 2, w // 2, 2, c), (0, 1, 3, 5, 4, 2)).reshape(n, h // 2, w // 2, 4 * c)


def _between_corners(dy):
    """dx of rows that lie at p / 2: dy[2 h], and half of its neighbours."""
    for axis in (1, 2):
        p, size = np.arange(dy.shape[axis]), dy.shape[axis] // 2
        index, share = np.stack([p // 2, np.minimum(p // 2 + 1, size - 1)], 1), p % 2 / 2
        dy = mixed(dy, axis, transposed(Taps(index, np.stack([1 - share, share], 1)), size))
    return dy


WRONG: tuple[Mutant, ...] = (
    _as("reflect repeats the edge", REFLECT, fn.pad(BOTH, mode="symmetric")),
    _as("reflected rows give to the edge", REFLECT, EDGE),
    _as("rows added give nothing back", EDGE, fn.pad(BOTH), words="only the first and last row"),
    _as("the sides of circular swapped", CIRCULAR, fn.pad(((0, 2), (0, 0)), mode="circular"), words="rotated by 2 along row"),
    _as("circular turned around", CIRCULAR, fn.pad(((2, 0), (0, 0)), mode="symmetric")),
    _as("low and high swapped", CONSTANT, fn.pad(((0, 2), (0, 0))), words="shifted by 2 along row"),
    _as("low and high swapped", CROP, fn.crop(((1, 2), (0, 0))), words="rotated by 4 along row"),
    _change("edge divided by its copies", EDGE, m.where(1 / 3, slice(None), [0, -1]), words="first and last row .*factor 0.333"),
    _change("the sum over copies as a mean", NEAREST, m.times(0.25), words="factor 0.25; that is 1 /"),
    _change("only the first copy", NEAREST, m.instead(lambda xp, r, dy: dy[:, ::2, ::2])),
    _as("align_corners forgotten", CORNERS, LINEAR),
    _change("half a pixel forgotten", LINEAR, m.instead(lambda xp, r, dy: _between_corners(dy))),
    _as("the nearest row's", LINEAR, NEAREST),
    _as("the ratio of sizes for the factor", UNEVEN, fn.upsample(size=(7, 9), method="bilinear")),
    _change("off by a row", LINEAR, m.permuted(lambda xp, g: xp.roll(g, 1, 1)), words="rotated by 1 along row"),
    _as("the other order of channels", SHUFFLE, fn.pixel_shuffle(2, order="DCR"), (3, 2, 8)),
    _change("rows and columns swapped", SHUFFLE, m.instead(lambda xp, r, dy: _swapped(dy)), (3, 3, 8)),
    _as("the other order of channels", UNSHUFFLE, fn.pixel_unshuffle(2, order="DCR"), (4, 6, 2)),
    _change("two rows swapped", UNSHUFFLE, m.permuted(_neighbours), (4, 6, 2)),
    Mutant("conv CIRCULAR: rows added give nothing back", _inside_alone(CONV), CONV, IMAGE),
    Mutant("conv CIRCULAR: dw of x with zeros around it", _kept_unpadded(CONV), CONV, IMAGE),
    _as("EDGE for REFLECT", STRIDED, fn.conv(3, (3,), padding="EDGE", stride=2), (7, 2)),
    _as("CAUSAL from the other end", CAUSAL, fn.conv(3, (3,), padding=((0, 2),)), (7, 2), words="shifted"),
)

RIGHT: dict[str, tuple[Layer, tuple[int, ...]]] = {
    "pad": (fn.pad(((0, 3), (2, 1)), value=0.5), IMAGE),
    "pad reflect": (fn.pad(((3, 2), (0, 4)), mode="reflect"), IMAGE),
    "pad edge": (fn.pad(((6, 2), (0, 1)), mode="edge"), IMAGE),
    "pad circular": (fn.pad(((4, 1), (0, 3)), mode="circular"), IMAGE),
    "pad symmetric": (fn.pad(((4, 1), (0, 3)), mode="symmetric"), IMAGE),
    "crop": (fn.crop(((1, 2), (0, 3))), IMAGE),
    "upsample": (fn.upsample((3, 1.5)), (3, 4, 2)),
    "upsample linear": (fn.upsample((2, 0.7), method="bilinear"), (3, 4, 2)),
    "upsample corners": (fn.upsample(size=(7, 2), method="bilinear", align_corners=True), (3, 4, 2)),
    "pixel_shuffle": (fn.pixel_shuffle(2), (3, 2, 8)),
    "pixel_unshuffle": (fn.pixel_unshuffle(2, order="DCR"), (4, 6, 2)),
    "conv REFLECT": (fn.conv(3, (3, 4), padding="REFLECT", stride=2), IMAGE),
    "conv EDGE": (fn.conv(3, (3, 2), padding="EDGE"), IMAGE),
    "conv CIRCULAR": (fn.conv(4, (3, 3), padding="CIRCULAR", groups=2), IMAGE),
    "conv CAUSAL": (fn.conv(3, (3,), padding="CAUSAL", dilation=2), (7, 2)),
}
