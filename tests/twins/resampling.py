"""Padding, cropping and resampling; and convolution of what is padded by rows of its own."""

import funcnn as fn
from tests.twins.twin import Twin, first, kernel, last

NAMES = {"edge": "replicate"}


def _pad(x, widths, **options):
    import torch

    flat = [n for pair in reversed(widths) for n in pair]  # the last axis first
    return last(torch.nn.functional.pad(first(x), flat, **options))


def _padded(in_shape, *widths, mode="constant", value=0.0):
    options = {"value": value} if mode == "constant" else {"mode": NAMES.get(mode, mode)}
    return Twin(fn.pad(widths, mode=mode, value=value), in_shape, lambda p, x: _pad(x, widths, **options))


def _upsampled(in_shape, factor=None, **options):
    def theirs(params, x):
        import torch

        corners = {"align_corners": options["align_corners"]} if "align_corners" in options else {}
        mode = {"size": options.get("size"), "mode": options.get("method", "nearest")}
        return last(torch.nn.functional.interpolate(first(x), scale_factor=factor, **mode, **corners))

    return Twin(fn.upsample(factor, **options), in_shape, theirs)


def _shuffled(name, in_shape):
    def theirs(params, x):
        import torch

        return last(getattr(torch.nn.functional, name)(first(x), 2))

    return Twin(getattr(fn, name)(2), in_shape, theirs)


def _convolved(padding, in_shape, kernel_size, widths, mode, **options):
    """The convolution of x padded with `widths` by PyTorch's mode."""

    def theirs(params, x):
        import torch

        convolve = getattr(torch.nn.functional, f"conv{len(kernel_size)}d")
        return last(convolve(first(_pad(x, widths, mode=mode)), kernel(params["w"]), params["b"], **options))

    return Twin(fn.conv(3, kernel_size, padding=padding, **options), in_shape, theirs)


TWINS = {
    "pad": _padded((4, 5, 2), (0, 3), (2, 1), value=0.5),
    "pad reflect": _padded((4, 5, 2), (3, 2), (0, 4), mode="reflect"),
    "pad reflect: one axis": _padded((4, 2), (1, 3), mode="reflect"),
    "pad reflect: three axes": _padded((2, 3, 2, 2), (1, 0), (2, 2), (1, 1), mode="reflect"),
    "pad edge": _padded((4, 3, 2), (6, 2), (0, 1), mode="edge"),
    "pad edge: three axes": _padded((2, 1, 3, 2), (1, 0), (2, 3), (4, 4), mode="edge"),
    "pad circular": _padded((4, 3, 2), (4, 1), (0, 3), mode="circular"),
    "pad circular: one axis": _padded((4, 2), (1, 3), mode="circular"),
    "crop": Twin(fn.crop(((1, 2), (0, 3))), (5, 6, 2), lambda p, x: x[:, 1:-2, :-3]),
    "upsample": _upsampled((3, 4, 2), 2.0),
    "upsample: one axis, uneven": _upsampled((5, 2), 2.5),
    "upsample: uneven": _upsampled((5, 6, 2), (1.5, 0.7)),
    "upsample: by size": _upsampled((3, 4, 3, 2), size=(7, 2, 3)),
    "upsample linear: one axis": _upsampled((5, 2), 1.7, method="linear", align_corners=False),
    "upsample bilinear": _upsampled((3, 4, 2), 2.0, method="bilinear", align_corners=False),
    "upsample bilinear: as many rows": _upsampled((4, 5, 2), (1.2, 3.0), method="bilinear", align_corners=False),
    "upsample bilinear: fewer": _upsampled((5, 6, 2), size=(2, 1), method="bilinear", align_corners=False),
    "upsample bilinear: corners": _upsampled((3, 4, 2), 2.0, method="bilinear", align_corners=True),
    "upsample trilinear": _upsampled((2, 3, 4, 2), (2.0, 1.5, 0.8), method="trilinear", align_corners=False),
    "upsample trilinear: corners": _upsampled((2, 3, 4, 2), size=(5, 1, 4), method="trilinear", align_corners=True),
    "pixel_shuffle": _shuffled("pixel_shuffle", (3, 2, 8)),
    "pixel_unshuffle": _shuffled("pixel_unshuffle", (4, 6, 3)),
    "conv REFLECT": _convolved("REFLECT", (4, 5, 2), (3, 4), ((1, 1), (1, 2)), "reflect"),
    "conv REFLECT: strided": _convolved("REFLECT", (5, 4, 2), (3, 3), ((1, 1), (1, 1)), "reflect", stride=2),
    "conv EDGE": _convolved("EDGE", (3, 2, 4, 2), (3, 1, 2), ((1, 1), (0, 0), (0, 1)), "replicate"),
    "conv CIRCULAR": _convolved("CIRCULAR", (6, 2), (3,), ((2, 2),), "circular", stride=3, dilation=2),
    "conv CAUSAL": _convolved("CAUSAL", (7, 2), (3,), ((4, 0),), "constant", stride=2, dilation=2),
}
