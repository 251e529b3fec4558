"""Pooling."""

import funcnn as fn
from tests.twins.twin import Twin, first, last


def torch_functional():
    from torch.nn import functional  # a peer, which need not be installed

    return functional


def pooled(name, *args, inside=lambda x: x, **options):
    """`F.<name>`, of x with the channels last, changed by `inside`."""
    return lambda p, x: last(getattr(torch_functional(), name)(inside(first(x)), *args, **options))


def over_all(name, *args, **options):
    """The same, where one position is left, as a matrix."""
    return lambda p, x: pooled(name, *args, **options)(p, x).flatten(1)


positive = {"inside": lambda x: x.abs()}
"""Odd p: PyTorch's p-norm leaves |x| to us."""

TWINS = {
    "max_pool": Twin(fn.max_pool((2, 2)), (5, 6, 2), pooled("max_pool2d", 2)),
    "max_pool: every option": Twin(
        fn.max_pool((3, 2), stride=(2, 1), padding=((1, 1), (0, 0)), dilation=(1, 2), ceil_mode=True),
        (6, 7, 2),
        pooled("max_pool2d", (3, 2), (2, 1), (1, 0), (1, 2), True),
    ),
    "max_pool: one axis": Twin(
        fn.max_pool((3,), stride=2, padding=1, dilation=2, ceil_mode=True), (8, 2), pooled("max_pool1d", 3, 2, 1, 2, True)
    ),
    "max_pool: three axes": Twin(
        fn.max_pool((2, 3, 2), stride=2, ceil_mode=True), (3, 4, 5, 2), pooled("max_pool3d", (2, 3, 2), 2, ceil_mode=True)
    ),
    "avg_pool": Twin(fn.avg_pool((2, 2)), (5, 6, 2), pooled("avg_pool2d", 2)),
    "avg_pool: every option": Twin(
        fn.avg_pool((3, 3), stride=2, padding=1, ceil_mode=True), (6, 7, 2), pooled("avg_pool2d", 3, 2, 1, True, True)
    ),
    "avg_pool: uncounted": Twin(
        fn.avg_pool((3, 3), stride=2, padding=1, ceil_mode=True, count_include_pad=False),
        (6, 7, 2),
        pooled("avg_pool2d", 3, 2, 1, True, False),
    ),
    "avg_pool: one axis": Twin(fn.avg_pool((4,), stride=3, padding=1, ceil_mode=True), (9, 2), pooled("avg_pool1d", 4, 3, 1, True)),
    "avg_pool: three axes": Twin(fn.avg_pool((2, 3, 2), stride=2, padding=1), (3, 4, 5, 2), pooled("avg_pool3d", (2, 3, 2), 2, 1)),
    "lp_pool": Twin(fn.lp_pool((2, 3)), (4, 6, 2), pooled("lp_pool2d", 2.0, (2, 3))),
    "lp_pool: p=3, overlapping": Twin(fn.lp_pool((3, 3), p=3, stride=2), (7, 5, 2), pooled("lp_pool2d", 3.0, 3, 2, **positive)),
    "lp_pool: p=4, one axis": Twin(fn.lp_pool((3,), p=4), (6, 2), pooled("lp_pool1d", 4.0, 3)),
    "lp_pool: p=1, three axes": Twin(fn.lp_pool((2, 2, 2), p=1), (2, 4, 2, 2), pooled("lp_pool3d", 1.0, 2, **positive)),
    "global_avg_pool": Twin(fn.global_avg_pool, (5, 6, 2), over_all("adaptive_avg_pool2d", 1)),
    "global_max_pool": Twin(fn.global_max_pool, (5, 6, 2), over_all("adaptive_max_pool2d", 1)),
    "global_max_pool: three axes": Twin(fn.global_max_pool, (2, 3, 4, 2), over_all("adaptive_max_pool3d", 1)),
    "global_lp_pool": Twin(fn.global_lp_pool(), (5, 6, 2), over_all("lp_pool2d", 2.0, (5, 6))),
    "global_lp_pool: p=3": Twin(fn.global_lp_pool(p=3), (9, 2), over_all("lp_pool1d", 3.0, 9, **positive)),
    "adaptive_avg_pool": Twin(fn.adaptive_avg_pool((3, 4)), (5, 6, 2), pooled("adaptive_avg_pool2d", (3, 4))),
    "adaptive_avg_pool: even": Twin(fn.adaptive_avg_pool((2, None)), (4, 6, 2), pooled("adaptive_avg_pool2d", (2, None))),
    "adaptive_avg_pool: one axis": Twin(fn.adaptive_avg_pool(7), (5, 2), pooled("adaptive_avg_pool1d", 7)),
    "adaptive_avg_pool: three axes": Twin(fn.adaptive_avg_pool(3), (2, 4, 6, 2), pooled("adaptive_avg_pool3d", 3)),
    "adaptive_max_pool": Twin(fn.adaptive_max_pool((3, 4)), (5, 6, 2), pooled("adaptive_max_pool2d", (3, 4))),
    "adaptive_max_pool: even": Twin(fn.adaptive_max_pool((2, None)), (4, 6, 2), pooled("adaptive_max_pool2d", (2, None))),
    "adaptive_max_pool: one axis": Twin(fn.adaptive_max_pool(7), (5, 2), pooled("adaptive_max_pool1d", 7)),
    "adaptive_max_pool: three axes": Twin(fn.adaptive_max_pool(3), (2, 4, 6, 2), pooled("adaptive_max_pool3d", 3)),
}
