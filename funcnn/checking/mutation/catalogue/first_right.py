"""Right layers: what a gradient checker must not call wrong."""

from functools import partial
from typing import Any

import funcnn as fn
from funcnn.checking.mutation.mutants import cross_entropy, squared_error
from funcnn.layer import Layer

GEOMETRIES: dict[str, tuple[int, dict[str, Any]]] = {
    "same": (2, {}), "one channel": (1, {}), "strided": (2, {"stride": 2, "padding": "VALID"}), "dilated": (2, {"dilation": 2}),
    "uneven": (2, {"padding": ((0, 3), (4, 1))}), "groups": (4, {"groups": 2}), "depthwise": (4, {"groups": 4}),
}  # fmt: skip
"""Input channels and options of convolutions."""


def _right() -> dict[str, tuple[Layer, tuple[int, ...]]]:
    """Every kind of layer, algorithm and combinator, all of them right: (layer, in_shape)."""
    made: dict[str, tuple[Layer, tuple[int, ...]]] = {}
    for algorithm in (fn.convolution.direct, fn.convolution.shifted, fn.convolution.im2col, fn.convolution.auto):
        for name, (channels, options) in GEOMETRIES.items():
            made[f"conv {algorithm.name}: {name}"] = fn.conv(4, (3, 3), algorithm=algorithm, **options), (5, 6, channels)
    for algorithm in (
        fn.convolution.fft,
        fn.convolution.kn2row,
        fn.convolution.rowwise,
        fn.convolution.winograd2,
        fn.convolution.winograd4,
    ):
        for name in ("same", "uneven"):
            channels, options = GEOMETRIES[name]
            made[f"conv {algorithm.name}: {name}"] = fn.conv(4, (3, 3), algorithm=algorithm, **options), (5, 6, channels)
    made["conv auto: many channels"] = fn.conv(32, (3, 3)), (5, 6, 32)
    for name, pool in {
        "max_pool": fn.max_pool, "max_pool split": partial(fn.max_pool, ties="split"),
        "avg_pool": fn.avg_pool, "avg_pool uncounted": partial(fn.avg_pool, count_include_pad=False),
    }.items():  # fmt: skip
        made[name] = pool((2, 2)), (5, 6, 2)
        made[f"{name}: overlapping"] = pool((3, 3), stride=2, padding="SAME"), (5, 6, 2)
    block = (fn.conv(3, (3, 3), bias=False), fn.batch_norm(), fn.relu, fn.dropout(0.5))
    return made | {
        "global_avg_pool": (fn.global_avg_pool, (4, 5, 2)), "dense": (fn.dense(4), (5,)), "flatten": (fn.flatten, (3, 4, 2)),
        "relu": (fn.relu, (5, 6)), "dropout": (fn.dropout(0.3), (5, 6)), "batch_norm": (fn.batch_norm(), (4, 5, 3)),
        "batch_norm: vectors": (fn.batch_norm(momentum=0.5, epsilon=0.1), (3,)), "identity": (fn.identity, (3, 4)),
        "cross-entropy": (cross_entropy(), (3,)), "squared error": (squared_error(), (3,)),
        "cross-entropy: smoothed": (cross_entropy(label_smoothing=0.1), (3,)),
        "serial": (fn.serial(*block, fn.flatten, fn.dense(3)), (4, 5, 2)), "serial of none": (fn.serial(), (4,)),
        "parallel: sum": (fn.parallel(fn.conv(2, (3, 3)), fn.conv(2, (1, 1)), fn.identity), (4, 5, 2)),
        "parallel: concatenate": (fn.parallel(fn.conv(2, (3, 3)), fn.conv(2, (1, 1)), merge="concatenate"), (5, 6, 2)),
        "residual": (fn.residual(*block), (4, 5, 3)),
        "residual: shortcut": (fn.residual(fn.conv(4, (3, 3), stride=2), shortcut=fn.conv(4, (1, 1), stride=2)), (4, 5, 2)),
    }  # fmt: skip


RIGHT = _right()
