"""Activations."""

import funcnn as fn
from tests.cases.case import Case

CASES = {
    "relu": Case(fn.relu, (5, 6), any_rank=True),
}
