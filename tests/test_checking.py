"""The table of agreement sees a gradient that is wrong by a factor of 1.0005, and calls right ones right."""

import jax
import numpy as np
import pytest

import funcnn as fn
from funcnn.checking import agreement
from funcnn.checking.oracles import by_vjp, distinct, slope

LAYERS = (fn.conv(3, (3, 3)), fn.batch_norm(), fn.relu, fn.max_pool((2, 2)), fn.dropout(0.4), fn.flatten, fn.dense(3))
KEY = jax.random.key(0)


def rows_of(layers):
    params, state = fn.serial(*layers).init(KEY, (6, 6, 1))
    return agreement(layers, params, state, jax.random.normal(KEY, (4, 6, 6, 1)).round(), key=KEY)


def test_right_gradients_agree():
    rows = rows_of(LAYERS)
    assert [(r.layer, r.leaf) for r in rows][:3] == [("0 conv", "b"), ("0 conv", "w"), ("0 conv", "x")]
    assert len(rows) == 13
    assert max(r.error for r in rows) <= 1e-14
    assert max(r.ulps for r in rows) <= 64
    assert max(r.difference_error for r in rows) <= 1e-6


def test_combinators_and_zero_gradients_have_rows_too():
    rows = rows_of((fn.residual(fn.conv(1, (3, 3)), fn.relu), fn.parallel(fn.identity), fn.relu))
    assert [r.leaf for r in rows] == ["0.0.b", "0.0.w", "x", "x", "x"]
    assert max(r.error for r in rows) <= 1e-14
    dead = agreement((fn.relu,), ((),), ((),), np.full((2, 3), -9.0), key=KEY)
    assert dead[0].error == dead[0].difference_error == 0


@pytest.mark.parametrize("i", range(len(LAYERS)), ids=[layer.name for layer in LAYERS])
def test_a_gradient_wrong_by_a_factor_is_seen_where_it_is(i):
    wrong = LAYERS[i]._replace(backward=lambda r, dy: jax.tree.map(lambda a: 1.0005 * a, LAYERS[i].backward(r, dy)))
    for row in rows_of((*LAYERS[:i], wrong, *LAYERS[i + 1 :])):
        seen = row.error > 1e-4 and row.ulps > 1e6 and row.difference_error > 1e-4
        assert seen == row.layer.startswith(f"{i} ")


def test_the_oracles_are_right_where_the_derivative_is_known():
    """d<x^3, dy> = 3 x^2 dy, in float64 whatever the global setting, which stays as it is."""
    rng = np.random.default_rng(0)
    x, v, dy = rng.standard_normal((3, 5))
    gradient = by_vjp(lambda x: x**3, x, dy)
    assert gradient.dtype == "float64"
    assert not jax.config.jax_enable_x64
    np.testing.assert_allclose(gradient, 3 * x**2 * dy, rtol=1e-14)
    np.testing.assert_allclose(slope(lambda x: x**3, x, v, dy, step=1e-4), (3 * x**2 * dy * v).sum(), rtol=1e-10)


def test_distinct_keeps_the_order_and_leaves_no_ties_and_no_zero():
    rng = np.random.default_rng(0)
    for x in (rng.integers(-3, 4, (20, 5)).astype("float64"), np.zeros((4, 4)), rng.standard_normal(7)):
        moved, spacing = distinct(x, rng), (np.ptp(x) or 1) / x.size
        assert moved.shape == x.shape
        assert (np.diff(np.sort(moved.ravel())) > 0.99 * spacing).all()
        assert np.abs(moved).min() > 0.49 * spacing
        assert (np.diff(x.ravel()[np.argsort(moved.ravel())]) >= 0).all()
