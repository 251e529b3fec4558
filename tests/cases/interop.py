"""Functions of JAX as layers. That they refuse bad params is for the functions themselves: these do."""

import jax
import jax.numpy as jnp

import funcnn as fn
from tests.cases.case import Case

DENSE = fn.dense(3)
BLOCK = fn.serial(fn.conv(2, (3, 3), bias=False), fn.batch_norm(), fn.relu, fn.dropout(0.2))


def tanh_dense(params, x):
    return jnp.tanh(DENSE.apply(params, (), x)[0])


def gated(params, x):
    if params != ():
        raise ValueError(f"gated: expected params (), got {type(params).__name__}")
    a, b = jnp.split(x, 2, axis=-1)
    return jax.nn.softplus(a) * jax.lax.erf(b)


BY_JAX = fn.interop.from_apply(BLOCK.init, BLOCK.apply, name="block", stateful=True)

CASES = {
    "from_apply": Case(fn.interop.from_apply(lambda key, in_shape: DENSE.init(key, in_shape)[0], tanh_dense), (5,)),
    "from_apply: stateful": Case(BY_JAX, (4, 5, 2)),
    "from_apply: repeated": Case(fn.repeat(BY_JAX, 2), (4, 5, 2), slow=True),
    "from_apply: recomputed": Case(fn.recompute(BY_JAX), (4, 5, 2), slow=True),
    "from_apply: in series": Case(fn.serial(fn.conv(2, (3, 3)), BY_JAX, fn.flatten, fn.dense(3)), (4, 5, 1), slow=True),
    "from_apply: of JAX's own": Case(fn.interop.from_apply(lambda key, in_shape: (), gated), (4, 6), any_rank=True),
}
