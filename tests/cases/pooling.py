"""Pooling."""

import funcnn as fn
from tests.cases.case import Case


def _pool_cases(pool, **options):
    return {
        "2x2": Case(pool((2, 2), **options), (4, 6, 2)),
        "odd": Case(pool((2, 2), **options), (5, 7, 2)),
        "overlapping": Case(pool((3, 3), stride=2, padding="SAME", **options), (6, 7, 2)),
        "stride 1": Case(pool((2, 2), stride=1, padding=((0, 1), (1, 0)), **options), (4, 5, 2)),
        "stride over window": Case(pool((1, 2), stride=3, **options), (5, 6, 2)),
        "one axis": Case(pool((3,), padding=1, **options), (8, 2)),
        "three axes": Case(pool((2, 1, 2), **options), (4, 2, 3, 2)),
    }


CASES = {
    **{f"max_pool: {name}": case for name, case in _pool_cases(fn.max_pool).items()},
    **{f"max_pool split: {name}": case for name, case in _pool_cases(fn.max_pool, ties="split").items()},
    **{f"avg_pool: {name}": case for name, case in _pool_cases(fn.avg_pool).items()},
    **{f"avg_pool uncounted: {name}": case for name, case in _pool_cases(fn.avg_pool, count_include_pad=False).items()},
    "global_avg_pool": Case(fn.global_avg_pool, (4, 5, 2), any_rank=True),
}
