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
        "dilated": Case(pool((2, 3), stride=(1, 2), padding=((0, 1), (2, 1)), dilation=(3, 2), **options), (5, 6, 2)),
        "beyond the end": Case(pool((2, 3), stride=(3, 2), padding=((0, 0), (1, 1)), ceil_mode=True, **options), (4, 6, 2)),
    }


def _slow_but(name, cases):
    """All of them slow but that one."""
    return {n: case._replace(slow=n != name) for n, case in cases.items()}


def _adaptive_cases(pool, **options):
    return {
        "shared": Case(pool((3, 4), **options), (5, 6, 2)),
        "even": Case(pool(2, **options), (4, 6, 2), any_rank=True, slow=True),
        "more than there are": Case(pool((7, None), **options), (3, 4, 2), slow=True),
        "three axes": Case(pool((1, 3, 2), **options), (2, 4, 3, 2), slow=True),
    }


CASES = {
    **{f"max_pool: {name}": case for name, case in _pool_cases(fn.max_pool).items()},
    **{f"max_pool split: {name}": case for name, case in _pool_cases(fn.max_pool, ties="split").items()},
    **{f"avg_pool: {name}": case for name, case in _pool_cases(fn.avg_pool).items()},
    **{f"avg_pool uncounted: {name}": case for name, case in _pool_cases(fn.avg_pool, count_include_pad=False).items()},
    **{f"lp_pool: {name}": case for name, case in _slow_but("2x2", _pool_cases(fn.lp_pool)).items()},
    **{f"lp_pool p=3: {name}": case for name, case in _slow_but("overlapping", _pool_cases(fn.lp_pool, p=3)).items()},
    **{f"lp_pool p=1: {name}": case for name, case in _slow_but("beyond the end", _pool_cases(fn.lp_pool, p=1)).items()},
    **{f"adaptive_avg_pool: {name}": case for name, case in _adaptive_cases(fn.adaptive_avg_pool).items()},
    **{f"adaptive_max_pool: {name}": case for name, case in _adaptive_cases(fn.adaptive_max_pool).items()},
    **{f"adaptive_max_pool split: {name}": case for name, case in _adaptive_cases(fn.adaptive_max_pool, ties="split").items()},
    "global_avg_pool": Case(fn.global_avg_pool, (4, 5, 2), any_rank=True),
    "global_max_pool": Case(fn.global_max_pool, (4, 5, 2), any_rank=True),
    "global_lp_pool": Case(fn.global_lp_pool(), (4, 5, 2), any_rank=True),
    "global_lp_pool: p=1.5": Case(fn.global_lp_pool(p=1.5), (3, 2), any_rank=True, slow=True),
}
