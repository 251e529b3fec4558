"""What a user sees: a layer is printed as the call that made it, and `help` says what there is and what it does."""

import contextlib
import inspect
import pydoc
import types

import jax
import numpy as np
import pytest
from jax.nn import initializers

import funcnn as fn
from funcnn import augmentation, checking, datasets, figures, training
from funcnn.layer import constructor

NAMES = {**vars(initializers), **vars(fn.convolution), **vars(fn)}
"""What stands in a `repr`."""

LAYERS = {
    "conv(16, (3, 3), stride=2)": fn.conv(16, (3, 3), stride=2),
    "conv(16, (3, 3))": fn.conv(features=np.int64(16), kernel_size=(3, 3), stride=1, w_init=initializers.he_normal()),
    "conv(4, (3, 3), padding=((0, 1), (1, 0)), bias=False)": fn.conv(4, (3, 3), bias=False, padding=((0, 1), (1, 0))),
    "conv(16, [3], algorithm=im2col)": fn.conv(16, [3], algorithm=fn.convolution.im2col),
    "conv(16, (3, 3), algorithm=winograd4)": fn.conv(16, (3, 3), algorithm=fn.convolution.winograd4),
    "conv(2, (1,), w_init=glorot_uniform(), b_init=ones)": fn.conv(2, (1,), w_init=initializers.xavier_uniform(), b_init=initializers.ones),
    "dense(3, w_init=normal(stddev=0.5))": fn.dense(3, w_init=initializers.normal(0.5)),
    "dense(3, w_init=variance_scaling(1.0, 'fan_in', 'uniform', in_axis=0))": fn.dense(
        3, w_init=initializers.variance_scaling(1.0, "fan_in", "uniform", in_axis=0)
    ),
    "relu": fn.relu,
    "identity": fn.identity,
    "batch_norm()": fn.batch_norm(momentum=0.9),
    "dropout(0.5)": fn.dropout(rate=0.5),
    "max_pool((2, 2), ties='split')": fn.max_pool((2, 2), ties="split"),
    "serial()": fn.serial(),
    "serial(dense(4), dense(4))": fn.serial(fn.dense(4), fn.dense(4)),
    "residual(relu, shortcut=conv(4, (1, 1)))": fn.residual(fn.relu, shortcut=fn.conv(4, (1, 1))),
    "parallel(relu, identity, merge='concatenate')": fn.parallel(fn.relu, fn.identity, merge="concatenate"),
    "with_manual_vjp(dense(3))": fn.with_manual_vjp(fn.dense(3)),
}


@pytest.mark.parametrize(("shown", "layer"), LAYERS.items(), ids=LAYERS.keys())
def test_a_layer_shows_as_the_call_that_made_it(shown, layer):
    assert repr(layer) == str(layer) == shown
    assert repr(eval(shown, dict(NAMES))) == shown


def resnet():
    def block(features, stride=1):
        shortcut = {} if stride == 1 else {"shortcut": fn.conv(features, (1, 1), stride=stride)}
        first = fn.conv(features, (3, 3), stride=stride)
        return fn.residual(first, fn.batch_norm(), fn.relu, fn.conv(features, (3, 3)), fn.batch_norm(), **shortcut), fn.relu

    blocks = (*block(16), *block(16), *block(16), *block(32, 2), *block(32), *block(32))
    return fn.serial(fn.conv(16, (3, 3)), fn.batch_norm(), fn.relu, *blocks, fn.global_avg_pool, fn.dense(10))


def test_a_long_network_takes_one_screen_and_is_the_same_when_made_from_what_is_shown():
    net = resnet()
    shown = """\
serial(
    conv(16, (3, 3)),
    batch_norm(),
    *3 * [relu, residual(conv(16, (3, 3)), batch_norm(), relu, conv(16, (3, 3)), batch_norm())],
    relu,
    residual(
        conv(32, (3, 3), stride=2),
        batch_norm(),
        relu,
        conv(32, (3, 3)),
        batch_norm(),
        shortcut=conv(32, (1, 1), stride=2),
    ),
    *2 * [relu, residual(conv(32, (3, 3)), batch_norm(), relu, conv(32, (3, 3)), batch_norm())],
    relu,
    global_avg_pool,
    dense(10),
)"""
    assert repr(net) == shown
    again = eval(shown, dict(NAMES))
    trees = [jax.eval_shape(lambda layer=layer: layer.init(jax.random.key(0), (8, 8, 3))) for layer in (net, again)]
    assert trees[0] == trees[1]


def test_layers_made_by_users_show_too():
    def gain(factor):
        return lambda key, shape: np.full(shape, factor, "float32")

    @constructor
    def scaled(x, factor=2, /, other=3, *more, last, **options):
        return fn.stateless("scaled", lambda p, x: (x, x), lambda r, dy: ((), dy))

    swish = fn.stateless("swish", lambda p, x: (x, x), lambda r, dy: ((), dy))
    assert repr(swish) == "swish"
    assert repr(fn.Layer("mine", fn.relu.init, fn.relu.forward, fn.relu.backward)) == "mine"
    assert repr(fn.serial(swish, fn.relu)) == "serial(swish, relu)"
    assert repr(scaled(np.ones(2), 2, 3, last=None, more_of_it="a")) == "scaled(<float64 of shape (2,)>, last=None, more_of_it='a')"
    for w_init in (gain(2), lambda key, shape: 0, jax.jit(fn.to_numpy), initializers.Initializer, swish.init):
        assert " at 0x" not in repr(fn.dense(3, w_init=w_init))


def test_a_layer_stays_a_static_value():
    net = fn.serial(fn.conv(4, [3, 3]), fn.relu)
    assert hash(net) == hash(net._replace())
    assert net == net._replace()
    assert net != net._replace(backward=fn.relu.backward)
    assert repr(net._replace(backward=fn.relu.backward)) == repr(net)
    params, state = net.init(jax.random.key(0), (4, 4, 1))
    traced = []

    def apply(net, params, x):
        traced.append(net)
        return net.apply(params, state, x)[0]

    jitted = jax.jit(apply, static_argnums=0)
    for _ in range(2):
        jitted(net, params, np.ones((1, 4, 4, 1), "float32"))
    assert len(traced) == 1


def test_the_default_initialisers_draw_what_jax_draws():
    key = jax.random.key(3)
    drawn = fn.dense(4).init(key, (5,))[0]["w"]
    np.testing.assert_array_equal(drawn, initializers.he_normal()(key, (5, 4)))
    shown = inspect.signature(fn.dense).parameters["w_init"].default
    np.testing.assert_array_equal(shown(key, (5, 4)), drawn)


def test_help_shows_no_addresses_and_what_each_does():
    public = {n: v for m in (fn, fn.convolution) for n, v in vars(m).items() if n[0] != "_" and not isinstance(v, types.ModuleType)}
    for name, value in public.items():
        if callable(value):
            assert " at 0x" not in pydoc.render_doc(value, renderer=pydoc.plaintext), name
    assert "algorithm: funcnn.convolution.algorithm.ConvAlgorithm = auto, w_init" in pydoc.render_doc(fn.conv, renderer=pydoc.plaintext)
    assert "= he_normal(), b_init" in str(inspect.signature(fn.dense))
    for layer in (fn.relu, fn.flatten, fn.identity, fn.global_avg_pool):
        page = pydoc.render_doc(layer, renderer=pydoc.plaintext)
        assert f"\n{layer.name}\n    y" in page
        assert "    dx" in page
    assert "\ndense(3)\n    y = x w + b.\n" in pydoc.render_doc(fn.dense(3), renderer=pydoc.plaintext)
    assert fn.Layer.__doc__.startswith("Three pure functions")


def test_help_of_the_library_lists_what_there_is():
    page = pydoc.render_doc(fn, renderer=pydoc.plaintext)
    for name, value in vars(fn).items():
        if name[0] != "_" and not isinstance(value, types.ModuleType):
            first = pydoc.getdoc(value).splitlines()[0]
            assert first
            assert f"\n    {name:<22}{first}\n" in page


@pytest.mark.parametrize("module", [fn, augmentation, checking, datasets, figures, training], ids=lambda m: m.__name__)
def test_no_signature_shows_an_address(module):
    for name, value in vars(module).items():
        if callable(value) and not name.startswith("_") and not isinstance(value, fn.Layer):
            with contextlib.suppress(ValueError):  # of what has none
                assert " at 0x" not in str(inspect.signature(value)), name
