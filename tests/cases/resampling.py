"""Padding, cropping and resampling."""

import funcnn as fn
from tests.cases.case import Case

CASES = {
    "pad": Case(fn.pad(((0, 3), (2, 1)), value=0.5), (4, 5, 2)),
    "pad: all sides": Case(fn.pad(1), (4, 5, 2), any_rank=True, slow=True),
    "pad reflect": Case(fn.pad(((3, 2), (0, 4)), mode="reflect"), (4, 5, 2)),
    "pad reflect: one axis": Case(fn.pad(2, mode="reflect"), (3, 2), any_rank=True, slow=True),
    "pad edge": Case(fn.pad(((6, 2), (0, 1)), mode="edge"), (4, 3, 2)),
    "pad edge: three axes": Case(fn.pad(1, mode="edge"), (2, 1, 3, 2), any_rank=True, slow=True),
    "pad circular": Case(fn.pad(((4, 1), (0, 3)), mode="circular"), (4, 3, 2)),
    "pad circular: three axes": Case(fn.pad(((1, 2), (0, 0), (3, 0)), mode="circular"), (2, 1, 3, 2), slow=True),
    "pad symmetric": Case(fn.pad(((4, 1), (0, 3)), mode="symmetric"), (4, 3, 2)),
    "crop": Case(fn.crop(((1, 2), (0, 3))), (5, 6, 2)),
    "crop: all sides": Case(fn.crop(1), (5, 3, 2), any_rank=True, slow=True),
    "upsample": Case(fn.upsample(2), (3, 4, 2), any_rank=True),
    "upsample: uneven": Case(fn.upsample((1.5, 0.7)), (5, 6, 2), slow=True),
    "upsample: by size": Case(fn.upsample(size=(7, 2, 3)), (3, 4, 3, 2), slow=True),
    "upsample: by many": Case(fn.upsample(size=40), (2, 3), any_rank=True, slow=True),
    "upsample linear": Case(fn.upsample((2, 3), method="bilinear"), (3, 4, 2)),
    "upsample linear: uneven": Case(fn.upsample(1.7, method="linear"), (4, 5, 2), any_rank=True, slow=True),
    "upsample linear: fewer": Case(fn.upsample(size=(2, 1), method="bilinear"), (5, 6, 2), slow=True),
    "upsample linear: one row": Case(fn.upsample(3, method="linear"), (1, 2), any_rank=True, slow=True),
    "upsample linear: by many": Case(fn.upsample(20, method="linear"), (3, 2), any_rank=True, slow=True),
    "upsample linear: three axes": Case(fn.upsample(size=(3, 2, 5), method="trilinear"), (2, 2, 3, 2), slow=True),
    "upsample corners": Case(fn.upsample(2, method="bilinear", align_corners=True), (3, 4, 2)),
    "upsample corners: fewer": Case(fn.upsample(size=(1, 3), method="linear", align_corners=True), (4, 5, 2), slow=True),
    "pixel_shuffle": Case(fn.pixel_shuffle(2), (3, 2, 8), any_rank=True),
    "pixel_shuffle: one axis": Case(fn.pixel_shuffle(3, order="DCR"), (4, 6), any_rank=True, slow=True),
    "pixel_unshuffle": Case(fn.pixel_unshuffle(2), (4, 6, 2), any_rank=True),
    "pixel_unshuffle: three axes": Case(fn.pixel_unshuffle(2, order="DCR"), (2, 4, 2, 3), any_rank=True, slow=True),
}
