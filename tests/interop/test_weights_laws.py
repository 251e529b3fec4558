"""Laws of weights: there and back is where it was, bit for bit, for any network, by names and by order, in every convention."""

from collections import OrderedDict
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import funcnn as fn
from funcnn import interop, networks
from funcnn.interop.conventions import EQUINOX, FLAX, FLAX_TRANSPOSED, TORCH, units_of

DTYPES = ("float32", "float16", "bfloat16")


def random_trees(net, in_shape, seed=0, dtypes=("float32",)):
    """Any numbers, of any of the dtypes: each array has other ones."""
    rng = np.random.default_rng(seed)
    params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), in_shape))
    return jax.tree.map(lambda a: jnp.asarray(rng.standard_normal(a.shape), dtypes[rng.integers(len(dtypes))]), (params, state))


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for one, other in zip(*map(jax.tree.leaves, (a, b)), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def own(name):
    """A layer of a user's own, with parameters in a dict of dicts; and one that only turns what is in a vector around."""
    if name == "reversed":
        return fn.stateless("reversed", lambda params, x: (x[:, ::-1], x[:0]), lambda empty, dy: ((), dy[:, ::-1]))

    def init(key, in_shape):
        return {"first": {"gain": jnp.ones(in_shape)}, "second": {"gain": jnp.ones((2, 3))}}

    return fn.stateless("own", lambda params, x: (x * params["first"]["gain"][None], x[:0]), lambda r, dy: ({}, dy), init)


SPATIAL = {
    "conv": lambda c: fn.conv(2 * c, (3, 2), bias=c % 2 == 0),
    "conv1x1": lambda c: fn.conv(c, (1, 1)),
    "depthwise": lambda c: fn.conv(2 * c, (3, 3), groups=c, stride=2),
    "grouped": lambda c: fn.conv(4, (2, 3), groups=2 - c % 2),
    "conv_transpose": lambda c: fn.conv_transpose(c, (2, 3), stride=(2, 1)),
    "conv_transpose, groups": lambda c: fn.conv_transpose(2 * c, (2, 2), groups=c),
    "norm": lambda c: fn.batch_norm(),
    "layer_norm": lambda c: fn.layer_norm(),
    "layer_norm over all": lambda c: fn.layer_norm(axes=3),
    "rms_norm": lambda c: fn.rms_norm(),
    "group_norm": lambda c: fn.group_norm(1),
    "instance_norm": lambda c: fn.instance_norm(scale=False),
    "prelu": lambda c: fn.prelu(),
    "scale": lambda c: fn.scale(per="position"),
    "bias": lambda c: fn.bias(per="entry"),
    "pool": lambda c: fn.avg_pool((2, 1)),
    "residual": lambda c: fn.residual(fn.conv(c, (3, 3)), fn.batch_norm(), shortcut=fn.conv(c, (1, 1), bias=False)),
    "repeat": lambda c: fn.repeat(fn.repeat(fn.serial(fn.conv(c, (3, 3)), fn.batch_norm()), 2), 3),
    "named": lambda c: fn.named(b=fn.conv(c, (3, 3)), a=fn.named(z=fn.conv(c, (3, 3)), y=fn.scale())),
    "branches": lambda c: fn.parallel(fn.conv(2, (1, 1)), fn.identity, merge="concatenate"),
    "gate": lambda c: networks.squeeze_and_excitation(c),
    "recompute": lambda c: fn.recompute(fn.with_manual_vjp(fn.residual(fn.conv(c, (3, 3))))),
    "when_training": lambda c: fn.when_training(fn.recompute(fn.conv(c, (1, 1)))),
    "own": lambda c: own("own"),
}
VECTOR = {
    "dense": lambda c: fn.dense(c + 1),
    "norm": lambda c: fn.serial(fn.batch_norm(), fn.relu),
    "layer_norm": lambda c: fn.layer_norm(),
    "prelu": lambda c: fn.prelu(),
    "scale": lambda c: fn.scale(),
    "residual": lambda c: fn.residual(fn.dense(c), fn.tanh),
    "two": lambda c: fn.residual(fn.dense(c), fn.tanh, fn.dense(c), shortcut=fn.dense(c)),
    "branches": lambda c: fn.parallel(fn.dense(2), fn.identity, fn.dense(3), merge="concatenate"),
    "reversed": lambda c: own("reversed"),
}


@st.composite
def nets(draw):
    """A stack of layers: images, then vectors, or images again."""
    shape = (draw(st.integers(2, 5)), draw(st.integers(2, 5)), draw(st.integers(1, 3)))
    layers, x = [], shape

    def put(layer):
        nonlocal x
        params, state = jax.eval_shape(lambda: layer.init(jax.random.key(0), x))
        x = jax.eval_shape(lambda p, s: layer.apply(p, s, jnp.zeros((1, *x)))[0], params, state).shape[1:]
        layers.append(layer)

    for name in draw(st.lists(st.sampled_from(sorted(SPATIAL)), max_size=4)):
        if x[0] > 1 or name != "pool":
            put(SPATIAL[name](x[-1]))
    put(draw(st.sampled_from([fn.flatten, fn.global_avg_pool, fn.reshape(-1), fn.serial(fn.transpose(1, 2, 0), fn.flatten)])))
    for name in draw(st.lists(st.sampled_from(sorted(VECTOR)), max_size=4)):
        put(VECTOR[name](x[-1]))
    if draw(st.booleans()):
        put(fn.serial(fn.dense(12), fn.relu, fn.reshape(2, 2, 3), fn.conv_transpose(2, (2, 2))))
    return fn.serial(*layers), shape


FROM, TO = {}, {}
for transpose_kernel in (False, True):
    FROM[f"flax {transpose_kernel}"] = partial(interop.params_from_flax, transpose_kernel=transpose_kernel)
    TO[f"flax {transpose_kernel}"] = partial(interop.params_to_flax, transpose_kernel=transpose_kernel)
FROM["torch"], TO["torch"] = interop.params_from_torch, interop.params_to_torch


@pytest.mark.slow
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(nets(), st.integers(0, 99))
def test_there_and_back_for_any_network(drawn, seed):
    there_and_back(*drawn, seed)


@pytest.mark.parametrize("name", SPATIAL)
def test_there_and_back_for_every_kind(name):
    net = fn.serial(SPATIAL[name](2), fn.relu, SPATIAL[name](2) if name == "named" else fn.identity, fn.flatten)
    there_and_back(fn.serial(net, fn.dense(5), fn.batch_norm()), (4, 3, 2), 1)


def there_and_back(net, in_shape, seed):
    trees = random_trees(net, in_shape, seed, DTYPES)
    for kind, to in TO.items():
        theirs = to(net, *trees, in_shape)
        same(FROM[kind](net, theirs, in_shape), trees)
        same(to(net, *FROM[kind](net, theirs, in_shape), in_shape, like=theirs), theirs)
    given, layers = interop.params_to_torch(net, *trees, in_shape), {}
    for name in given:  # under other names, in order
        layers.setdefault(name.rpartition(".")[0], f"layer{len(layers)}x")
    renamed = OrderedDict((f"{layers[n.rpartition('.')[0]]}.{n.rpartition('.')[2]}", a) for n, a in given.items())
    same(interop.params_from_torch(net, renamed, in_shape), trees)
    for convention in (TORCH, EQUINOX, FLAX, FLAX_TRANSPOSED):
        for unit in units_of(convention, net, *jax.tree.map(np.asarray, trees), in_shape):
            for entry in unit.entries:
                theirs = entry.turn.there(np.asarray(entry.array))
                assert theirs.shape == entry.shape
                np.testing.assert_array_equal(entry.turn.back(theirs), entry.array)


# Orders: what channels first make of vectors, checked by running the network with theirs in that order


def test_rows_behind_a_flatten():
    """(H, W, C) is flattened as (C, H, W): w of theirs times that is ours times ours."""
    rng = np.random.default_rng(0)
    net, x = fn.serial(fn.flatten, fn.dropout(0.5), fn.dense(3)), rng.standard_normal((2, 3, 4, 5))
    params, state = jax.tree.map(np.asarray, random_trees(net, (3, 4, 5)))
    params = fn.to_numpy(params, "float64")
    theirs = interop.params_to_torch(net, params, state, (3, 4, 5))
    expected = np.moveaxis(x, -1, 1).reshape(2, -1) @ theirs["2.weight"].T + theirs["2.bias"]
    np.testing.assert_allclose(net.apply(params, state, x)[0], expected, rtol=1e-12)
    turned = fn.serial(fn.transpose(2, 0, 1), fn.flatten, fn.dense(3))
    as_they_are = interop.params_to_torch(turned, params, state, (3, 4, 5))
    np.testing.assert_array_equal(as_they_are["2.weight"], np.asarray(params[2]["w"]).T)
