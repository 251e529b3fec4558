"""Wrong gradients of transposed convolution, and right ones."""

import funcnn as fn
from funcnn.arrays import namespace
from funcnn.checking.mutation import mutants as m
from funcnn.checking.mutation.mutants import Mutant, changed, misled
from funcnn.convolution.winograd import winograd3
from funcnn.layer import Layer

IMAGE = (4, 3, 2)
CONV, SQUARE = fn.conv_transpose(3, (3, 3), stride=2), fn.conv_transpose(2, (4, 4), stride=2)
LOW, HIGH = (fn.conv_transpose(3, (3, 3), stride=2, padding=(pair, pair), output_padding=1) for pair in ((0, 2), (2, 0)))
GROUPS, DILATED = fn.conv_transpose(4, (3, 3), groups=2), fn.conv_transpose(3, (3, 3), dilation=2, padding=2)


def _shifted_by_output_padding() -> Layer:
    """The row that output padding adds taken for the first in place of the last."""
    return LOW._replace(backward=lambda residuals, dy: LOW.backward(residuals, namespace(dy).roll(dy, -1, (1, 2))))


def _dilation_forgotten() -> Layer:
    plain = fn.conv_transpose(3, (3, 3), padding=1)

    def backward(residuals, dy):
        return DILATED.backward(residuals, dy)[0], plain.backward(residuals, dy)[1]

    return DILATED._replace(backward=backward)


WRONG: tuple[Mutant, ...] = (
    Mutant(
        "conv_transpose dx: the kernel flipped",
        misled(CONV, m.kernel(lambda xp, w: xp.flip(w, (0, 1))), "x"),
        CONV,
        IMAGE,
        "right if w were flipped in space",
    ),
    Mutant(
        "conv_transpose dx: the kernel transposed in its channels",
        misled(SQUARE, m.kernel(lambda xp, w: w.swapaxes(2, 3)), "x"),
        SQUARE,
        IMAGE,
        "w were transposed in its channels",
    ),
    Mutant(
        "conv_transpose dw: the roles of x and dy not swapped",
        changed(SQUARE, "w", m.permuted(lambda xp, g: g.swapaxes(2, 3))),
        SQUARE,
        IMAGE,
        "input channel and output channel are swapped",
    ),
    Mutant(
        "conv_transpose dw: flipped",
        changed(CONV, "w", m.permuted(lambda xp, g: xp.flip(g, (0, 1)))),
        CONV,
        IMAGE,
        "flipped along kernel row and kernel column",
    ),
    Mutant(
        "conv_transpose dw: one remainder of the stride missing",
        changed(CONV, "w", m.where(0.0, slice(1, None, 2))),
        CONV,
        IMAGE,
        "kernel row 1.*missing",
    ),
    Mutant("conv_transpose: padding low and high swapped", LOW._replace(backward=HIGH.backward), LOW, IMAGE),
    Mutant("conv_transpose: output padding at the beginning", _shifted_by_output_padding(), LOW, IMAGE),
    Mutant("conv_transpose dx: the dilation forgotten", _dilation_forgotten(), DILATED, IMAGE),
    Mutant(
        "conv_transpose dw: groups mixed",
        changed(GROUPS, "w", m.permuted(lambda xp, g: xp.roll(g, 1, -1))),
        GROUPS,
        (3, 4, 4),
        "rotated by 1 along output channel",
    ),
    Mutant("conv_transpose db: divided by the stride", changed(CONV, "b", m.times(0.25)), CONV, IMAGE, "factor 0.25"),
)
RIGHT: dict[str, tuple[Layer, tuple[int, ...]]] = {
    "conv_transpose": (CONV, IMAGE),
    "conv_transpose: even": (SQUARE, IMAGE),
    "conv_transpose: pairs": (LOW, IMAGE),
    "conv_transpose: groups": (GROUPS, (3, 4, 4)),
    "conv_transpose: dilated": (DILATED, IMAGE),
    "conv_transpose: one axis": (fn.conv_transpose(2, (8,), stride=4, padding=2), (5, 3)),
    "conv_transpose: three axes": (fn.conv_transpose(2, (2, 2, 3), stride=2), (2, 3, 2, 2)),
    **{
        f"conv_transpose {a.name}": (fn.conv_transpose(2, (3, 3), padding=1, algorithm=a), IMAGE)
        for a in (fn.convolution.direct, fn.convolution.shifted, fn.convolution.im2col, fn.convolution.fft, fn.convolution.kn2row,
                  fn.convolution.rowwise, fn.convolution.winograd2, fn.convolution.winograd4, fn.convolution.phases)
    },
    "conv_transpose winograd3": (fn.conv_transpose(2, (2, 2), algorithm=winograd3), IMAGE),
    "conv phases: strided": (fn.conv(3, (4, 4), stride=2, padding=1, algorithm=fn.convolution.phases), (5, 6, 2)),
    "conv winograd3": (fn.conv(3, (2, 2), algorithm=winograd3), (5, 6, 2)),
}  # fmt: skip
