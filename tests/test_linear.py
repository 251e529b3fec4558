"""Learned offsets and factors, and reshaping: what is one for which entries, and what cannot be."""

import jax
import numpy as np
import pytest

import funcnn as fn

KEY = jax.random.key(0)
X = np.random.default_rng(0).standard_normal((2, 4, 5, 3))
SHAPES = {"channel": (3,), "position": (4, 5, 1), "entry": (4, 5, 3)}


@pytest.mark.parametrize(("per", "shape"), SHAPES.items(), ids=SHAPES.keys())
def test_an_offset_and_a_factor_for_each(per, shape):
    rng = np.random.default_rng(1)
    dy, v = rng.standard_normal(X.shape), rng.standard_normal(shape)
    for layer, leaf, first in ((fn.bias(per=per), "b", 0), (fn.scale(per=per), "scale", 1)):
        np.testing.assert_array_equal(layer.init(KEY, X.shape[1:])[0][leaf], np.full(shape, first, "float32"))
        y, _, residuals = layer.forward({leaf: v}, (), X)
        dparams, dx = layer.backward(residuals, dy)
        np.testing.assert_allclose(y, X * v if first else X + v)
        np.testing.assert_allclose(dx, dy * v if first else dy)
        each = (dy * X if first else dy).sum(0)
        np.testing.assert_allclose(
            dparams[leaf], {"channel": each.sum((0, 1)), "position": each.sum(-1, keepdims=True), "entry": each}[per]
        )


@pytest.mark.parametrize("per", SHAPES)
@pytest.mark.parametrize("shape", [(1,), (3,), (1, 1, 1), (1, 5, 1), (4, 1, 3)])
def test_axes_of_one_entry_are_kept(per, shape):
    x = np.ones((2, *shape))
    for layer in (fn.bias(per=per), fn.scale(per=per)):
        params = fn.to_numpy(layer.init(KEY, shape)[0], "float64")
        y, _, residuals = layer.forward(params, (), x)
        dparams, dx = layer.backward(residuals, y)
        assert y.shape == dx.shape == x.shape
        assert jax.tree.map(np.shape, dparams) == jax.tree.map(np.shape, params)


def test_float32_params_of_a_half_x_stay_float32():
    x = np.asarray(jax.random.normal(KEY, (64, 4, 4, 2), "bfloat16"))
    for layer in (fn.prelu(), fn.prelu(shared=True), *(make(per=per) for make in (fn.bias, fn.scale) for per in SHAPES)):
        params = fn.to_numpy(layer.init(KEY, (4, 4, 2))[0])
        for run in (lambda f: f, jax.jit):
            y, _, residuals = run(layer.forward)(params, (), x)
            dparams, dx = run(layer.backward)(residuals, y)
            assert y.dtype == dx.dtype == "bfloat16"
            assert {d.dtype.name for d in jax.tree.leaves(dparams)} == {"float32"}
            exact = layer.backward(layer.forward(params, (), x.astype("float32"))[2], np.asarray(y, "float32"))[0]
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-2), dparams, exact)


def test_other_shapes_are_those_of_numpy():
    np.testing.assert_array_equal(fn.reshape(4, -1).apply((), (), X)[0], X.reshape(2, 4, 15))
    np.testing.assert_array_equal(fn.reshape(-1).apply((), (), X)[0], fn.flatten.apply((), (), X)[0])
    np.testing.assert_array_equal(fn.transpose(2, 0, 1).apply((), (), X)[0], X.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(fn.transpose(0).apply((), (), X[:, 0, 0])[0], X[:, 0, 0])
    assert fn.reshape(-1, 3).apply((), (), X[:0])[0].shape == (0, 20, 3)
    net = fn.serial(fn.transpose(2, 0, 1), fn.reshape(3, 20), fn.flatten, fn.dense(2))
    params, state = net.init(KEY, (4, 5, 3))
    assert net.apply(params, state, X.astype("float32"))[0].shape == (2, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fn.bias(per="row"), 'bias: expected per "channel", "position" or "entry", got \'row\''),
        (lambda: fn.scale(per=["channel"]), 'scale: expected per "channel", "position" or "entry", got [\'channel\']'),
        (lambda: fn.bias().init(KEY, ()), "bias: expected in_shape of shape (..., C), got ()"),
        (
            lambda: fn.bias(per="position").apply({"b": np.ones((4, 5, 3))}, (), X),
            "bias: expected params['b'] of shape (..., 1), got (4, 5, 3)",
        ),
        (lambda: fn.bias(per="entry").apply({"b": np.ones((4, 6, 3))}, (), X), "bias: expected x of shape (N, 4, 6, 3), got (2, 4, 5, 3)"),
        (
            lambda: fn.scale().apply({"scale": np.ones(4)}, (), X),
            "scale: expected x of shape (N, ..., 4), got (2, 4, 5, 3); channels come last; x.transpose(0, 2, 3, 1)",
        ),
        (lambda: fn.reshape(), "reshape: expected the sizes of one example, at most one of them -1, got ()"),
        (lambda: fn.reshape(-1, 3, -1), "reshape: expected the sizes of one example, at most one of them -1, got (-1, 3, -1)"),
        (lambda: fn.reshape((4, 15)), "reshape: expected every size but one -1 to be a whole number of at least 1, got (4, 15)"),
        (lambda: fn.reshape(0, 3), "reshape: expected every size but one -1 to be a whole number of at least 1, got 0"),
        (lambda: fn.reshape(4, 2.0), "reshape: expected every size but one -1 to be a whole number of at least 1, got 2.0"),
        (
            lambda: fn.reshape(4, 16).apply((), (), X),
            "reshape: expected x of 64 entries an example for shape (4, 16), got 60 in (2, 4, 5, 3)",
        ),
        (
            lambda: fn.reshape(7, -1).apply((), (), X),
            "reshape: expected x of a multiple of 7 entries an example for shape (7, -1), got 60 in (2, 4, 5, 3)",
        ),
        (lambda: fn.transpose(), "transpose: expected the axes of one example in some order, counted from 0, got ()"),
        (lambda: fn.transpose(1, 2, 3), "transpose: expected the axes of one example in some order, counted from 0, got (1, 2, 3)"),
        (lambda: fn.transpose(0, 0), "transpose: expected the axes of one example in some order, counted from 0, got (0, 0)"),
        (lambda: fn.transpose((1, 0)), "transpose: expected the axes of one example in some order, counted from 0, got ((1, 0),)"),
        (lambda: fn.transpose([1, 0]), "transpose: expected the axes of one example in some order, counted from 0, got ([1, 0],)"),
        (lambda: fn.transpose(0.0, 1), "transpose: expected the axes of one example in some order, counted from 0, got (0.0, 1)"),
        (lambda: fn.transpose(1, 0).apply((), (), X), "transpose: expected x of shape (N, S0, S1), got (2, 4, 5, 3)"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        make()
    assert str(caught.value).startswith(message)
