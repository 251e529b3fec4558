"""Activations."""

import funcnn as fn
from tests.cases.case import Case

PLAIN = (
    fn.relu, fn.sigmoid, fn.log_sigmoid, fn.tanh, fn.softsign, fn.hard_tanh, fn.hard_sigmoid, fn.relu6, fn.hard_swish, fn.selu,
    fn.softplus, fn.silu, fn.mish, fn.gelu, fn.gelu_tanh,
)  # fmt: skip
"""Element-wise, without options."""

CASES = {
    **{layer.name: Case(layer, (5, 6), any_rank=True) for layer in PLAIN},
    "leaky_relu": Case(fn.leaky_relu(slope=0.2), (5, 6), any_rank=True),
    "leaky_relu: falling": Case(fn.leaky_relu(slope=-1.5), (5, 6), any_rank=True, slow=True),
    "elu": Case(fn.elu(alpha=0.7), (5, 6), any_rank=True),
    "celu": Case(fn.celu(alpha=2.5), (5, 6), any_rank=True),
    "prelu": Case(fn.prelu(), (4, 5, 3), any_rank=True),
    "prelu: vectors": Case(fn.prelu(), (3,), any_rank=True, slow=True),
    "prelu: shared": Case(fn.prelu(shared=True), (4, 5, 3), any_rank=True, any_channels=True),
    "softmax": Case(fn.softmax, (4, 5, 3), any_rank=True),
    "softmax: vectors": Case(fn.softmax, (7,), any_rank=True, slow=True),
    "log_softmax": Case(fn.log_softmax, (4, 5, 3), any_rank=True),
    "log_softmax: vectors": Case(fn.log_softmax, (7,), any_rank=True, slow=True),
}
