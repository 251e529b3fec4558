"""Layers that draw random numbers."""

import funcnn as fn
from tests.cases.case import Case

CASES = {
    "dropout": Case(fn.dropout(0.3), (5, 6), any_rank=True),
    "spatial_dropout": Case(fn.spatial_dropout(0.3), (4, 5, 3), any_rank=True),
    "spatial_dropout: one axis": Case(fn.spatial_dropout(0.6), (4, 3), any_rank=True, slow=True),
    "drop_path": Case(fn.drop_path(0.3), (4, 5, 3), any_rank=True),
    "drop_path: vectors": Case(fn.drop_path(0.6), (6,), any_rank=True, slow=True),
}
