"""Normalisation."""

import funcnn as fn
from tests.cases.case import Case

CASES = {
    "batch_norm: images": Case(fn.batch_norm(), (4, 5, 3), any_rank=True),
    "batch_norm: vectors": Case(fn.batch_norm(momentum=0.5, epsilon=0.1), (3,), any_rank=True),
    "layer_norm": Case(fn.layer_norm(), (4, 5, 6), any_rank=True),
    "layer_norm: vectors, no scale": Case(fn.layer_norm(scale=False, epsilon=0.1), (6,), any_rank=True, slow=True),
    "layer_norm: over all of an image": Case(fn.layer_norm(axes=3), (4, 5, 3), any_rank=True),
    "layer_norm: over two axes, no shift": Case(fn.layer_norm(axes=2, shift=False), (2, 5, 4), any_rank=True, slow=True),
    "rms_norm": Case(fn.rms_norm(), (4, 5, 6), any_rank=True),
    "rms_norm: over all, no scale": Case(fn.rms_norm(axes=3, scale=False), (4, 5, 3), any_rank=True, slow=True),
    "group_norm": Case(fn.group_norm(2), (4, 5, 6), any_rank=True),
    "group_norm: one group, vectors": Case(fn.group_norm(1, epsilon=0.1), (6,), any_rank=True, slow=True),
    "group_norm: no params, one axis": Case(fn.group_norm(3, scale=False, shift=False), (7, 6), any_rank=True, slow=True),
    "instance_norm": Case(fn.instance_norm(), (4, 5, 3), any_rank=True),
    "instance_norm: no params, three axes": Case(fn.instance_norm(scale=False, shift=False), (3, 2, 4, 2), any_rank=True, slow=True),
    "local_response_norm": Case(fn.local_response_norm(3, alpha=0.5, beta=0.6, k=2.0), (4, 5, 6), any_rank=True),
    "local_response_norm: even, over all": Case(fn.local_response_norm(8), (4, 3), any_rank=True, slow=True),
}
