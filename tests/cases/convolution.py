"""Every algorithm in every geometry that it supports."""

import funcnn as fn
from funcnn.convolution.geometry import window
from funcnn.convolution.winograd import winograd3
from tests.cases.case import Case

ALGORITHMS = [a for a in vars(fn.convolution).values() if isinstance(a, fn.convolution.ConvAlgorithm) and a.name != "auto"]

GEOMETRIES = {  # features, window, options, the shape of an example
    "same": (4, (3, 3), {}, (5, 6, 2)),
    "one channel": (4, (3, 3), {}, (5, 6, 1)),
    "no bias": (3, (2, 3), {"bias": False}, (4, 5, 2)),
    "stride 2, even kernel": (3, (2, 4), {"stride": 2, "padding": "VALID"}, (7, 8, 2)),
    "stride, lower": (3, (3, 2), {"stride": (2, 3), "padding": "SAME_LOWER"}, (6, 7, 2)),
    "stride over window": (3, (1, 2), {"stride": 3, "padding": 1}, (5, 7, 2)),
    "uneven pairs": (3, (3, 3), {"padding": ((0, 3), (4, 1))}, (4, 5, 2)),
    "dilated": (3, (3, 2), {"dilation": (2, 1), "padding": 1}, (5, 4, 2)),
    "dilated, strided": (3, (3, 2), {"stride": (3, 4), "dilation": (2, 6), "padding": 2}, (7, 9, 2)),
    "1x1": (3, (1, 1), {}, (3, 4, 2)),
    "groups": (6, (2, 3), {"groups": 2, "stride": 2}, (4, 5, 4)),
    "depthwise": (3, (3, 3), {"groups": 3}, (4, 5, 3)),
    "depthwise, multiplied": (4, (3, 2), {"groups": 2, "stride": 2, "dilation": 2}, (5, 4, 2)),
    "one axis": (3, (3,), {"stride": 2}, (7, 2)),
    "three axes": (2, (2, 3, 2), {"stride": (1, 2, 1)}, (3, 4, 2, 2)),
}
SLOW = {  # what the same geometries show for another algorithm already
    *(f"conv direct: {n}" for n in ("one channel", "uneven pairs", "depthwise")),
    *(f"conv shifted: {n}" for n in ("no bias", "stride, lower", "stride over window", "uneven pairs", "1x1", "one axis", "dilated")),
    *(f"conv im2col: {n}" for n in ("no bias", "stride, lower", "1x1", "one axis")),
    *(f"conv {n}: same" for n in ("fft", "rowwise", "winograd2", "winograd4")),
    *(f"conv {n}: no bias" for n in ("fft", "kn2row", "rowwise")),
    *(f"conv {n}: one channel" for n in ("fft", "kn2row", "rowwise", "winograd2", "winograd4")),
    *(f"conv {n}: 1x1" for n in ("fft", "kn2row", "rowwise")),
    "conv kn2row: uneven pairs",
    *(f"conv phases: {n}" for n in ("same", "one channel", "no bias", "stride, lower", "uneven pairs", "dilated", "1x1", "one axis")),
}  # fmt: skip


def _conv_cases(algorithm):
    """The algorithm in every geometry that it supports."""
    for geometry_name, (features, size, options, in_shape) in GEOMETRIES.items():
        rest = {option: value for option, value in options.items() if option not in ("bias", "groups")}
        geometry = window("conv", size, **{"stride": 1, "padding": "SAME", **rest}).over(in_shape[:-1])
        if algorithm.supports(geometry._replace(groups=options.get("groups", 1))):
            name = f"conv {algorithm.name}: {geometry_name}"
            yield name, Case(fn.conv(features, size, algorithm=algorithm, **options), in_shape, slow=name in SLOW)


TRANSPOSED = {  # features, window, options, the shape of an example
    "strided": (3, (3, 3), {"stride": 2}, (3, 4, 2)),
    "stride 1": (3, (3, 3), {"padding": 1}, (4, 5, 2)),
    "output padding": (3, (2, 3), {"stride": (2, 3), "padding": ((1, 0), (0, 2)), "output_padding": (0, 2)}, (3, 4, 2)),
    "even kernel": (2, (4, 4), {"stride": 2, "bias": False}, (3, 2, 3)),
    "lower, stride over window": (2, (1, 2), {"stride": 3, "padding": "SAME_LOWER"}, (2, 3, 2)),
    "dilated": (2, (2, 3), {"stride": (2, 1), "dilation": (3, 2), "padding": "VALID", "output_padding": (2, 1)}, (3, 2, 2)),
    "groups": (4, (3, 2), {"groups": 2, "stride": 2}, (2, 3, 6)),
    "depthwise": (3, (3, 3), {"groups": 3, "stride": 2}, (3, 2, 3)),
    "one axis": (2, (8,), {"stride": 4, "padding": 2}, (5, 3)),
    "three axes": (2, (2, 3, 2), {"stride": (1, 2, 2), "padding": 1, "output_padding": (0, 1, 0)}, (3, 2, 3, 2)),
}


def _transposed_cases(algorithm):
    """The same of transposed convolution; fast are some of `auto`'s and `direct`'s."""
    for geometry_name, (features, size, options, in_shape) in TRANSPOSED.items():
        rest = {option: options[option] for option in ("stride", "dilation", "padding") if option in options}
        geometry = window("conv_transpose", size, **{"stride": 1, "padding": "SAME", **rest}).transposed(in_shape[:-1], (0,) * len(size))
        if algorithm.supports(geometry._replace(groups=options.get("groups", 1))):
            slow = algorithm.name not in ("auto", "direct") or geometry_name not in ("strided", "output padding", "even kernel")
            layer = fn.conv_transpose(features, size, algorithm=algorithm, **options)
            yield f"conv_transpose {algorithm.name}: {geometry_name}", Case(layer, in_shape, slow=slow)


CASES = {
    **{name: case for algorithm in ALGORITHMS for name, case in _conv_cases(algorithm)},
    **{name: case for algorithm in (fn.convolution.auto, *ALGORITHMS) for name, case in _transposed_cases(algorithm)},
    "conv winograd2: 5x5": Case(fn.conv(3, (5, 5), padding=((2, 3), (1, 0)), algorithm=fn.convolution.winograd2), (5, 6, 2)),
    "conv winograd3: 2x2": Case(fn.conv(3, (2, 2), padding=((2, 3), (1, 0)), algorithm=winograd3), (5, 6, 2)),
    "conv auto: one channel": Case(fn.conv(4, (3, 3), stride=2), (5, 6, 1)),
    "conv auto: several channels": Case(fn.conv(4, (3, 3)), (5, 6, 2)),
    "conv auto: blocks": Case(fn.conv(4, (4, 2), stride=2, padding=1), (7, 6, 2), slow=True),
    "conv auto: groups": Case(fn.conv(4, (3, 3), groups=2), (5, 6, 4)),
    "conv auto: depthwise": Case(fn.conv(4, (3, 3), groups=4), (5, 6, 4)),
}
assert set(CASES) >= SLOW

CASES |= {  # padding by rows of x itself
    "conv REFLECT": Case(fn.conv(3, (3, 4), padding="REFLECT"), (4, 5, 2)),
    "conv REFLECT: strided": Case(fn.conv(3, (4, 3), padding="REFLECT", stride=(2, 3)), (4, 6, 2), slow=True),
    "conv REFLECT: groups, no bias": Case(fn.conv(4, (3, 3), padding="REFLECT", groups=2, bias=False), (2, 5, 4), slow=True),
    "conv EDGE": Case(fn.conv(3, (2, 5), padding="EDGE", algorithm=fn.convolution.direct), (3, 2, 2), slow=True),
    "conv EDGE: three axes": Case(fn.conv(2, (3, 1, 2), padding="EDGE", stride=2), (2, 3, 2, 2), slow=True),
    "conv CIRCULAR": Case(fn.conv(3, (5, 5), padding="CIRCULAR", algorithm=fn.convolution.winograd2), (4, 3, 2), slow=True),
    "conv CIRCULAR: dilated": Case(fn.conv(3, (3, 2), padding="CIRCULAR", dilation=2, stride=2), (4, 5, 2), slow=True),
    "conv CAUSAL": Case(fn.conv(3, (3,), padding="CAUSAL"), (6, 2), slow=True),
    "conv CAUSAL: strided, dilated": Case(fn.conv(3, (3,), padding="CAUSAL", stride=2, dilation=3), (7, 2), slow=True),
}
