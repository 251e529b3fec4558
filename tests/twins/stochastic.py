"""Layers that draw random numbers: PyTorch's arithmetic, given the mask that JAX draws from the key of the laws."""

import jax
import numpy as np

import funcnn as fn
from tests.test_laws import KEY
from tests.twins.twin import Twin


def given(mask_shape, rate):
    """x where the mask is, divided by the share kept."""

    def theirs(p, x):
        mask = jax.random.bernoulli(KEY, np.float32(1 - rate), (len(x), *mask_shape))
        return x * x.new_tensor(np.asarray(mask).tolist()) / (1 - rate)

    return theirs


TWINS = {
    "dropout": Twin(fn.dropout(0.3), (4, 5, 3), given((4, 5, 3), 0.3)),
    "dropout: in evaluation": Twin(fn.dropout(0.3), (4, 5, 3), lambda p, x: x.clone(), train=False),
    "spatial_dropout": Twin(fn.spatial_dropout(0.3), (4, 5, 3), given((1, 1, 3), 0.3)),
    "spatial_dropout: in evaluation": Twin(fn.spatial_dropout(0.3), (4, 5, 3), lambda p, x: x.clone(), train=False),
    "drop_path": Twin(fn.drop_path(0.3), (4, 5, 3), given((1, 1, 1), 0.3)),
    "drop_path: in evaluation": Twin(fn.drop_path(0.3), (4, 5, 3), lambda p, x: x.clone(), train=False),
}
