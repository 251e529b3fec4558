"""The tutorials' mistakes are the ones that their docstrings name: the forward pass right, the backward pass wrong in just that way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnn as fn
from experiments.tutorials import mistakes

RNG = np.random.default_rng(0)
X = RNG.integers(-1, 3, (3, 5, 6, 2)).astype("float64")  # with ties
KEY = jax.random.key(0)


def passes(layer, dy=None, x=X, params=()):
    y, _, residuals = layer.forward(params, (), x)
    dy = RNG.standard_normal(y.shape) if dy is None else dy
    return y, dy, *layer.backward(residuals, dy)


def test_position_bias_is_no_mistake():
    params = fn.to_numpy(mistakes.position_bias().init(KEY, X.shape[1:])[0], "float64")
    assert params["b"].shape == X.shape[1:]
    y, dy, dparams, dx = passes(mistakes.position_bias(), params=params)
    np.testing.assert_array_equal(y, X + params["b"])
    np.testing.assert_allclose(dparams["b"], dy.sum(0))
    np.testing.assert_array_equal(dx, dy)


def test_the_unmasked_relu_lets_every_gradient_through():
    y, dy, _, dx = passes(mistakes.relu_unmasked)
    np.testing.assert_array_equal(y, np.maximum(X, 0))
    np.testing.assert_array_equal(dx, dy)
    right = passes(fn.relu, dy)[3]
    np.testing.assert_array_equal(np.where(X > 0, dx, 0), right)
    assert (dx != right).any()


@pytest.mark.parametrize("stride", [None, 1])
def test_every_tie_gets_the_whole_gradient(stride):
    """Tie-free it is right; else the sum of dx is dy times the number of winners, where it should be that of dy."""
    layer, right = mistakes.max_pool_all_ties((2, 2), stride=stride), fn.max_pool((2, 2), stride=stride)
    distinct = RNG.permutation(X.size).reshape(X.shape).astype("float64")
    y, dy, _, dx = passes(layer, x=distinct)
    expected = passes(right, dy, distinct)
    np.testing.assert_array_equal(y, expected[0])
    np.testing.assert_allclose(dx, expected[3])
    y, dy, _, dx = passes(layer)
    step = stride or 2
    winners = sum(
        dy * (X[:, i : i + step * y.shape[1] : step, j : j + step * y.shape[2] : step][:, : y.shape[1], : y.shape[2]] == y)
        for i in range(2)
        for j in range(2)
    )
    np.testing.assert_allclose(dx.sum(), winners.sum())
    assert abs(dx.sum() - dy.sum()) > 1e-3


def test_he_of_the_last_axis_is_34_times_too_large_for_the_tutorials_dense_layer():
    wrong = float(mistakes.he_of_the_last_axis(KEY, (11664, 10)).std())
    right = float(jax.nn.initializers.he_normal()(KEY, (11664, 10)).std())
    assert abs(wrong / right - np.sqrt(11664 / 10)) < 0.5
    assert round(wrong / right) == 34


def test_the_losses_are_scaled_and_cut_as_they_say():
    logits, labels = 40 * RNG.standard_normal((7, 10)), np.arange(7, dtype="int32")
    loss, dlogits = fn.softmax_cross_entropy(logits, labels)
    scaled, dscaled = mistakes.cross_entropy_over_classes(logits, labels)
    assert scaled == loss / 10
    np.testing.assert_array_equal(dscaled, dlogits / 10)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p = (p / p.sum(1, keepdims=True))[np.arange(7), labels]
    assert (p < 1e-10).any()
    cut, dcut = mistakes.clipped_cross_entropy(logits, labels)
    np.testing.assert_allclose(cut, -np.log(np.maximum(p, 1e-10)).mean(), rtol=1e-6)
    np.testing.assert_array_equal(dcut, dlogits)
    jitted = jax.jit(mistakes.clipped_cross_entropy)(jnp.asarray(logits, "float32"), jnp.asarray(labels))
    np.testing.assert_allclose(jitted[0], cut, rtol=1e-5)
    near = np.asarray([[20.0, 0]], "float32"), np.asarray([1], "int32")  # p = 2e-9, which 1 + (p - 1) would lose
    np.testing.assert_allclose(mistakes.clipped_cross_entropy(*near)[0], 20, rtol=1e-6)
