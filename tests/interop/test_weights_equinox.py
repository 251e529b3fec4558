"""Weights from Equinox and back: its layers in all dimensions and a network with a flatten give its outputs, and the same weights again."""

import jax
import numpy as np
import pytest

import funcnn as fn
from funcnn import interop

eqx = pytest.importorskip("equinox")

pytestmark = [pytest.mark.peers, pytest.mark.usefixtures("x64", "compiled_quickly")]
KEY = jax.random.key(3)


def conv(n, *args, transposed=False, **options):
    kind = eqx.nn.ConvTranspose if transposed else eqx.nn.Conv
    return kind(n, *args, key=KEY, **options)


def linear(*args):
    return eqx.nn.Linear(*args, key=KEY)


def of(function):
    return eqx.nn.Lambda(function)


def normed(mode):
    def make():
        norm = eqx.nn.BatchNorm(4, "batch", mode=mode, momentum=0.8)
        return eqx.nn.Sequential([conv(2, 3, 4, 3, padding=1), norm, of(jax.nn.relu), of(lambda x: x.reshape(-1)), linear(4 * 5 * 6, 4)])

    return make


BATCH_NORM = fn.serial(fn.conv(4, (3, 3)), fn.batch_norm(), fn.relu, fn.flatten, fn.dense(4))
BOTH = {"transposed": True}
NETWORKS = {
    "1-D": (lambda: conv(1, 3, 4, 5, stride=2), fn.conv(4, (5,), stride=2, padding=0), (9, 3)),
    "3-D": (lambda: conv(3, 2, 4, (1, 3, 2)), fn.conv(4, (1, 3, 2), padding=0), (3, 4, 5, 2)),
    "grouped": (lambda: conv(2, 4, 6, 3, groups=2), fn.conv(6, (3, 3), padding=0, groups=2), (5, 6, 4)),
    "depthwise": (lambda: conv(2, 4, 8, 3, groups=4, use_bias=False), fn.conv(8, (3, 3), padding=0, groups=4, bias=False), (5, 6, 4)),
    "transposed": (lambda: conv(2, 3, 5, (2, 3), (2, 1), **BOTH), fn.conv_transpose(5, (2, 3), stride=(2, 1), padding=0), (3, 4, 3)),
    "transposed, as many channels": (lambda: conv(1, 3, 3, 4, 2, **BOTH), fn.conv_transpose(3, (4,), stride=2, padding=0), (5, 3)),
    "transposed, groups": (lambda: conv(2, 4, 6, 3, groups=2, **BOTH), fn.conv_transpose(6, (3, 3), padding=0, groups=2), (3, 4, 4)),
    "transposed, depthwise": (lambda: conv(2, 4, 4, 3, groups=4, **BOTH), fn.conv_transpose(4, (3, 3), padding=0, groups=4), (3, 4, 4)),
    "group norm": (lambda: eqx.nn.GroupNorm(2, 4), fn.group_norm(2), (3, 5, 4)),
    "layer norm over all": (lambda: eqx.nn.LayerNorm((4, 3, 5)), fn.layer_norm(axes=3), (3, 5, 4)),
    "prelu": (lambda: eqx.nn.PReLU(), fn.prelu(shared=True), (3, 5, 4)),
    "rms norm": (lambda: eqx.nn.RMSNorm(6, use_bias=False), fn.rms_norm(epsilon=1e-5), (6,)),
    "batch norm": (normed("batch"), BATCH_NORM, (5, 6, 3)),
    "batch norm, ema": (normed("ema"), BATCH_NORM, (5, 6, 3)),
}


def last(y):
    return np.moveaxis(np.asarray(y), 1, -1)


def evaluated(model, state, x):
    x = np.moveaxis(x, -1, 1)
    if state is None:
        return last(jax.vmap(model)(x))
    model = eqx.nn.inference_mode(model)
    return last(jax.vmap(lambda x: model(x, state)[0], axis_name="batch")(x))


def randomized(tree):
    rng = np.random.default_rng(5)
    return jax.tree.map(lambda a: jax.numpy.asarray(rng.uniform(0.3, 1.3, a.shape)) if eqx.is_inexact_array(a) else a, tree)


@pytest.mark.parametrize("name", NETWORKS)
def test_it_computes_the_same(name):
    make, net, in_shape = NETWORKS[name]
    x = np.random.default_rng(0).standard_normal((3, *in_shape))
    model, state = randomized(eqx.nn.make_with_state(make)())
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        if "batch norm" in name:
            for _ in range(3):  # so that the correction of its start matters
                state = jax.vmap(model, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(np.moveaxis(x, -1, 1), state)[1]
        given = (model, state) if "batch norm" in name else model
        params, ours = interop.params_from_equinox(net, given, in_shape)
        y = np.asarray(net.apply(*map(fn.to_numpy, (params, ours)), x)[0])
        np.testing.assert_allclose(y, evaluated(*(given if "batch norm" in name else (model, None)), x), rtol=1e-10, atol=1e-10)
        fresh = eqx.nn.make_with_state(make)()
        written = interop.params_to_equinox(net, params, ours, in_shape, like=fresh if "batch norm" in name else fresh[0])
        again = evaluated(*(written if "batch norm" in name else (written, None)), x)
    np.testing.assert_allclose(again, y, rtol=1e-10, atol=1e-10)
    assert jax.tree.structure(written) == jax.tree.structure(given)
    for a, b in zip(*map(jax.tree.leaves, (interop.params_from_equinox(net, written, in_shape), (params, ours))), strict=True):
        np.testing.assert_array_equal(a, b)
    jax.tree.leaves(fresh)  # the state that was given is still of use


def test_a_batch_norm_needs_its_state():
    model, _ = eqx.nn.make_with_state(normed("batch"))()
    with pytest.raises(
        ValueError, match=r"^params_from_equinox: expected \(module, state\), as layers.1 is a batch norm, got the module alone"
    ):
        interop.params_from_equinox(BATCH_NORM, model, (5, 6, 3))
