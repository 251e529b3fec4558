"""Dense layers, learned offsets and factors, and reshaping."""

import funcnn as fn
from tests.cases.case import Case

CASES = {
    "dense": Case(fn.dense(4), (5,)),
    "bias": Case(fn.bias(), (4, 5, 3), any_rank=True),
    "bias: per position": Case(fn.bias(per="position"), (4, 5, 3), any_channels=True),
    "bias: per entry": Case(fn.bias(per="entry"), (4, 5, 3)),
    "bias: vectors": Case(fn.bias(per="entry"), (3,), any_rank=True, slow=True),
    "scale": Case(fn.scale(), (4, 5, 3), any_rank=True),
    "scale: per position": Case(fn.scale(per="position"), (4, 5, 3), any_channels=True),
    "scale: per entry": Case(fn.scale(per="entry"), (4, 1, 3)),
    "scale: vectors, per position": Case(fn.scale(per="position"), (3,), any_channels=True, slow=True),
    "flatten": Case(fn.flatten, (3, 4, 2), any_rank=True),
    "reshape": Case(fn.reshape(4, -1, 3), (3, 4, 2), any_rank=True),
    "reshape: to vectors": Case(fn.reshape(24), (3, 4, 2), slow=True),
    "transpose": Case(fn.transpose(2, 0, 1), (3, 4, 2)),
}
