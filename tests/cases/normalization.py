"""Normalisation."""

import funcnn as fn
from tests.cases.case import Case

CASES = {
    "batch_norm: images": Case(fn.batch_norm(), (4, 5, 3), any_rank=True),
    "batch_norm: vectors": Case(fn.batch_norm(momentum=0.5, epsilon=0.1), (3,), any_rank=True),
}
