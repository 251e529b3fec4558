"""Dense layers and reshaping."""

import funcnn as fn
from tests.cases.case import Case

CASES = {
    "dense": Case(fn.dense(4), (5,)),
    "flatten": Case(fn.flatten, (3, 4, 2), any_rank=True),
}
