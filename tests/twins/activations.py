"""Activations."""

import funcnn as fn
from tests.twins.twin import Twin, first, last

THEIRS = {
    "relu": (fn.relu, "relu", {}),
    "relu6": (fn.relu6, "relu6", {}),
    "leaky_relu": (fn.leaky_relu(), "leaky_relu", {}),
    "leaky_relu: 0.2": (fn.leaky_relu(slope=0.2), "leaky_relu", {"negative_slope": 0.2}),
    "elu": (fn.elu(), "elu", {}),
    "elu: 0.7": (fn.elu(alpha=0.7), "elu", {"alpha": 0.7}),
    "celu": (fn.celu(), "celu", {}),
    "celu: 2.5": (fn.celu(alpha=2.5), "celu", {"alpha": 2.5}),
    "selu": (fn.selu, "selu", {}),
    "softplus": (fn.softplus, "softplus", {"threshold": 1e3}),
    "silu": (fn.silu, "silu", {}),
    "mish": (fn.mish, "mish", {}),
    "gelu": (fn.gelu, "gelu", {}),
    "gelu_tanh": (fn.gelu_tanh, "gelu", {"approximate": "tanh"}),
    "hard_swish": (fn.hard_swish, "hardswish", {}),
    "hard_tanh": (fn.hard_tanh, "hardtanh", {}),
    "sigmoid": (fn.sigmoid, "sigmoid", {}),
    "log_sigmoid": (fn.log_sigmoid, "logsigmoid", {}),
    "tanh": (fn.tanh, "tanh", {}),
    "softsign": (fn.softsign, "softsign", {}),
    "softmax": (fn.softmax, "softmax", {"dim": -1}),
    "log_softmax": (fn.log_softmax, "log_softmax", {"dim": -1}),
}
"""Ours, and the name and options of theirs in `torch.nn.functional`."""


def by_torch(name, **options):
    """`F.<name>` of x."""

    def theirs(p, x):
        from torch.nn import functional  # a peer, which need not be installed

        return getattr(functional, name)(x, **options)

    return theirs


def _prelu(p, x):
    from torch.nn import functional

    return last(functional.prelu(first(x), p["slope"]))


def _hard_sigmoid(p, x):
    """PyTorch's definition; the gradient of its own `hardsigmoid` takes 1 / 6 in float32, in float64 too."""
    from torch.nn import functional

    return functional.relu6(x + 3) / 6


TWINS = {
    **{name: Twin(layer, (5, 6), by_torch(theirs, **options)) for name, (layer, theirs, options) in THEIRS.items()},
    "hard_sigmoid": Twin(fn.hard_sigmoid, (5, 6), _hard_sigmoid),
    "prelu": Twin(fn.prelu(), (4, 5, 3), _prelu),
    "prelu: shared": Twin(fn.prelu(shared=True), (4, 5, 3), _prelu),
}
