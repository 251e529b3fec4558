"""Layers made of layers."""

import funcnn as fn
from tests.cases.case import Case

CASES = {
    "identity": Case(fn.identity, (3, 4), any_rank=True),
    # no bias before batch_norm: its gradient is zero, and a relative error of rounding noise says nothing
    "serial": Case(
        fn.serial(fn.conv(3, (3, 3), bias=False), fn.batch_norm(), fn.relu, fn.dropout(0.5), fn.flatten, fn.dense(3)), (4, 5, 2)
    ),
    "serial of none": Case(fn.serial(), (4,), any_rank=True),
    "parallel: sum": Case(fn.parallel(fn.conv(2, (3, 3)), fn.conv(2, (1, 1)), fn.identity), (4, 5, 2)),
    "parallel: concatenate": Case(fn.parallel(fn.conv(3, (3, 3)), fn.batch_norm(), merge="concatenate"), (4, 5, 2)),
    "residual": Case(fn.residual(fn.conv(2, (3, 3), bias=False), fn.batch_norm(), fn.relu, fn.dropout(0.2)), (4, 5, 2)),
    "residual: shortcut": Case(fn.residual(fn.conv(4, (3, 3), stride=2), shortcut=fn.conv(4, (1, 1), stride=2)), (4, 5, 2)),
}
