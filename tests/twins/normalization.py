"""Normalisation."""

import funcnn as fn
from tests.twins.twin import Twin, first, last


def functional():
    """Imported where it is used: PyTorch need not be installed."""
    import torch.nn.functional as F

    return F


def weights(p):
    return {theirs: p[ours] for ours, theirs in (("scale", "weight"), ("shift", "bias")) if ours in p}


def batch(p, x):
    return last(functional().batch_norm(first(x), None, None, training=True, **weights(p)))


def over_last(norm, axes, **options):
    return lambda p, x: getattr(functional(), norm)(x, x.shape[x.ndim - axes :], **options, **weights(p))


def group(groups):
    return lambda p, x: last(functional().group_norm(first(x), groups, **weights(p)))


def instance(p, x):
    """Contiguous, as PyTorch's gradient of one example with channels last in memory is wrong."""
    return last(functional().instance_norm(first(x).contiguous(), **weights(p)))


def local_response(*options):
    return lambda p, x: last(functional().local_response_norm(first(x), *options))


PLAIN = {"scale": False, "shift": False}

TWINS = {
    "batch_norm": Twin(fn.batch_norm(), (4, 5, 3), batch),
    "layer_norm": Twin(fn.layer_norm(), (4, 5, 6), over_last("layer_norm", 1)),
    "layer_norm: of vectors, no shift": Twin(fn.layer_norm(shift=False, epsilon=0.1), (6,), over_last("layer_norm", 1, eps=0.1)),
    "layer_norm: over all of an image": Twin(fn.layer_norm(axes=3), (4, 5, 3), over_last("layer_norm", 3)),
    "layer_norm: over two axes, no params": Twin(fn.layer_norm(axes=2, **PLAIN), (4, 5, 3), over_last("layer_norm", 2)),
    "rms_norm": Twin(fn.rms_norm(), (4, 5, 6), over_last("rms_norm", 1, eps=1e-6)),
    "rms_norm: over all, no scale": Twin(fn.rms_norm(axes=2, scale=False), (5, 3), over_last("rms_norm", 2, eps=1e-6)),
    "group_norm": Twin(fn.group_norm(2), (4, 5, 6), group(2)),
    "group_norm: of vectors": Twin(fn.group_norm(3), (6,), group(3)),
    "group_norm: one group, three axes": Twin(fn.group_norm(1), (3, 2, 4, 6), group(1)),
    "group_norm: a group each, no params": Twin(fn.group_norm(6, **PLAIN), (4, 5, 6), group(6)),
    "instance_norm": Twin(fn.instance_norm(), (4, 5, 3), instance),
    "instance_norm: one axis, no params": Twin(fn.instance_norm(**PLAIN), (7, 3), instance),
    "instance_norm: three axes": Twin(fn.instance_norm(), (3, 2, 4, 3), instance),
    "local_response_norm": Twin(fn.local_response_norm(5), (4, 5, 8), local_response(5)),
    "local_response_norm: strong": Twin(fn.local_response_norm(3, alpha=2, beta=1.5, k=0.5), (4, 5, 8), local_response(3, 2, 1.5, 0.5)),
    "local_response_norm: even": Twin(fn.local_response_norm(4, alpha=1), (4, 5, 8), local_response(4, 1.0)),
    "local_response_norm: over all and one axis": Twin(fn.local_response_norm(9, alpha=1), (5, 4), local_response(9, 1.0)),
}
