"""Where a gradient checker goes wrong itself: ill-conditioned, wide, kinked, at the end of a domain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnn as fn
from funcnn.checking import GradientError, check_layer, check_pair, check_vjp

X = np.random.default_rng(4).standard_normal((3, 4))
WIDE = np.linspace(1, 2, 12).reshape(3, 4)  # float64, closed over below


@pytest.mark.slow
def test_closing_over_wide_arrays_breaks_nothing():
    """JAX 0.9 takes such an array for the dtype of the first time; the check must neither stumble nor leave that behind."""

    def function(a):
        return jnp.sin(a) * WIDE.astype(a.dtype) + jnp.where(WIDE > 0, jnp.zeros_like(a), a)

    check_vjp(function, X).raise_if_wrong()
    with jax.numpy_dtype_promotion("standard"):
        report = check_pair(lambda a: (jnp.sin(a) * WIDE, a), lambda a, dy: (dy * jnp.cos(a) * WIDE,), X)
        report.raise_if_wrong()
        assert any("64 bits" in why for why in report.skipped)
        assert (jnp.sin(jnp.asarray(X, "float32")) * WIDE).dtype == "float32"
        assert not check_pair(lambda a: (jnp.sin(a) * WIDE, a), lambda a, dy: (dy * jnp.cos(a),), X).ok


def test_odd_and_periodic_functions_are_not_linear():
    check_vjp(jnp.tanh, np.zeros(3)).raise_if_wrong()
    turns = lambda x: (np.cos(2 * np.pi * x), x)
    check_pair(turns, lambda x, dy: (-2 * np.pi * np.sin(2 * np.pi * x) * dy,), X).raise_if_wrong()
    assert not check_pair(turns, lambda x, dy: (0 * dy,), X).ok


def test_at_the_end_of_a_domain_a_wrong_gradient_does_not_pass():
    ends = np.asarray([1 - 1e-9, -1 + 1e-9])
    assert not check_pair(lambda x: (np.arcsin(x), x), lambda x, dy: (5 * dy / np.sqrt(1 - x**2),), ends).ok


def test_modes_that_differ_by_a_constant_are_both_checked():
    first, second = (np.arange(3.0, dtype="float32")[None] + k for k in (1, 2))

    def forward(params, state, x, *, key=None, train=False):
        return x * (first if train else second).astype(x.dtype), state, (x[:0],)

    layer = fn.Layer("scaled", lambda key, shape: ((), ()), forward, lambda r, dy: ((), dy * first.astype(dy.dtype)))
    assert {row.case for row in check_layer(layer, (3,)).wrong} == {"eval"}


def test_every_leaf_has_its_own_scale():
    def large_and_small(a, b):
        return (1e8 * np.sin(a), 1e-8 * np.cos(b)), (a, b)

    def back(factor):
        return lambda r, dy: (dy[0] * 1e8 * np.cos(r[0]), -factor * dy[1] * 1e-8 * np.sin(r[1]))

    check_pair(large_and_small, back(1.0), X, X).raise_if_wrong()
    (row,) = check_pair(large_and_small, back(1.0005), X, X).wrong
    assert row.leaf == "args[1]"
    assert not check_pair(lambda x: (np.sin(x) * 0, x), lambda x, dy: (dy * 1e-20,), X).ok


def layer_norm(x):
    xp = np if isinstance(x, np.ndarray) else jnp
    mean = x.mean(1, keepdims=True)
    inv_std = 1 / xp.sqrt(((x - mean) ** 2).mean(1, keepdims=True) + 1e-5)
    return (x - mean) * inv_std, ((x - mean) * inv_std, inv_std)


def layer_norm_back(residuals, dy):
    x_hat, inv_std = residuals
    return (inv_std * (dy - dy.mean(1, keepdims=True) - x_hat * (dy * x_hat).mean(1, keepdims=True)),)


def softmax(x):
    xp = np if isinstance(x, np.ndarray) else jnp
    e = xp.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True), e / e.sum(1, keepdims=True)


ILL = {
    "layer norm far from 0": (layer_norm, layer_norm_back, X + 1e4),
    "saturated softmax": (softmax, lambda p, dy: (p * (dy - (p * dy).sum(1, keepdims=True)),), 100 * X),
}


@pytest.mark.parametrize("case", ILL.values(), ids=ILL.keys())
@pytest.mark.parametrize("seed", range(2))
def test_conditioning_is_no_error(case, seed):
    forward, backward, x = case
    check_pair(forward, backward, x, seed=seed).raise_if_wrong()
    near = X if forward is softmax else x  # where it is saturated, nothing but rounding is left to be wrong
    assert not check_pair(forward, lambda r, dy: (backward(r, dy)[0] * 1.0005,), near, seed=seed).ok


def test_jax_own_gradient_of_a_variance_far_from_0_is_right():
    check_vjp(lambda a: jnp.var(a, 1), X + 1e6).raise_if_wrong()


def test_where_ties_cannot_be_that_is_said():
    log = fn.stateless("log", lambda p, x: ((np if isinstance(x, np.ndarray) else jnp).log(abs(x)), x), lambda x, dy: ((), dy / x))
    report = check_layer(log, (3,))
    report.raise_if_wrong()
    assert any(why.startswith("ties: expected finite outputs") for why in report.skipped)


def test_arguments_are_not_written_to():
    def forward(x):
        x *= 2
        return x, ()

    mine = X.copy()
    with pytest.raises(ValueError, match="read-only"):
        check_pair(forward, lambda _, dy: (2 * dy,), mine)
    np.testing.assert_array_equal(mine, X)

    def backward(x, dy):
        dy *= 2 * x
        return (dy,)

    with pytest.raises(GradientError, match=r"expected backward\(residuals, dy\) to run, got ValueError: .*read-only"):
        check_pair(lambda x: (x**2, x), backward, X).raise_if_wrong()


def test_an_overflow_in_low_precision_is_no_error():
    report = check_pair(lambda x: ((e := (np if isinstance(x, np.ndarray) else jnp).exp(x)), e), lambda e, dy: (e * dy,), X + 95)
    report.raise_if_wrong()
    assert "jitted: forward overflows in float32" in report.skipped


def test_without_a_forward_mode_the_rest_is_compared():
    cube = jax.custom_vjp(lambda x: x**3)
    cube.defvjp(lambda x: (x**3, x), lambda x, dy: (3 * x**2 * dy,))
    report = check_pair(lambda x: (cube(x), x), lambda x, dy: (3 * x**2 * dy,), X)
    report.raise_if_wrong()
    assert {row.oracle for row in report.rows} >= {"jax.vjp", "differences", "jitted"}
    assert any(why.startswith("adjoint: forward has no forward mode") for why in report.skipped)


def test_kinks_hide_no_error_from_numpy_code():
    """JAX cannot see into it, and at ties any slope between both sides' would do: so it is also checked where nothing ties."""
    x = np.random.default_rng(5).integers(-2, 3, (20, 20)).astype("float64")

    def forward(x):
        return np.maximum(np.asarray(x, x.dtype), 0), x

    check_pair(forward, lambda x, dy: (dy * (x > 0),), x).raise_if_wrong()
    report = check_pair(forward, lambda x, dy: (dy * (x > 0) * (np.arange(20) != 3)[:, None],), x)
    assert any(row.case == "apart" and not row.ok for row in report.rows)


# What cannot be checked
