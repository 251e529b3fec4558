"""Layers that draw random numbers."""

import funcnn as fn
from tests.cases.case import Case

CASES = {
    "dropout": Case(fn.dropout(0.3), (5, 6), any_rank=True),
}
