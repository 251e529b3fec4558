"""Layers made of layers."""

import funcnn as fn
from tests.cases.case import Case

BLOCK = fn.residual(fn.conv(2, (3, 3), bias=False), fn.batch_norm(), fn.relu, fn.dropout(0.2))
GATED = fn.parallel(fn.batch_norm(), fn.serial(fn.conv(2, (3, 3)), fn.avg_pool((4, 5))), fn.conv(1, (1, 1)), merge="multiply")

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
    "parallel: multiply": Case(GATED, (4, 5, 2)),
    "named": Case(fn.named(conv=fn.conv(3, (3, 3), bias=False), norm=fn.batch_norm(), relu=fn.relu, drop=fn.dropout(0.2)), (4, 5, 2)),
    "repeat": Case(fn.repeat(BLOCK, 2), (4, 5, 2)),
    "repeat: of repeated": Case(fn.repeat(fn.repeat(fn.serial(fn.dense(4), fn.relu), 2), 2), (4,), slow=True),
    "recompute": Case(fn.recompute(BLOCK), (4, 5, 2)),
    "recompute: repeated": Case(fn.repeat(fn.recompute(BLOCK), 2), (4, 5, 2), slow=True),
    "when_training": Case(fn.when_training(fn.serial(fn.dropout(0.3), fn.dense(3))), (3,)),
}
