"""What each layer is, in a line of plain NumPy: the laws compare a layer with itself, so a wrong definition would obey them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcnn as fn
from funcnn import cpu, training

KEY = jax.random.key(0)
X = np.random.default_rng(0).standard_normal((64, 5, 4, 3))


def test_dropout_drops_its_rate_and_scales_the_rest():
    ones = np.ones((100, 1000))
    y, _, residuals = fn.dropout(0.3).forward((), (), ones, key=KEY, train=True)
    assert abs((y == 0).mean() - 0.3) < 0.01
    np.testing.assert_allclose(y[y != 0], 1 / 0.7)
    np.testing.assert_array_equal(fn.dropout(0.3).backward(residuals, ones)[1], y)
    np.testing.assert_array_equal(fn.dropout(0.3).apply((), (), X)[0], X)


def test_relu_is_the_maximum_with_zero_and_its_slope_at_zero_is_zero():
    np.testing.assert_array_equal(fn.relu.apply((), (), X)[0], np.maximum(X, 0))
    x = np.asarray([[-1.0, 0.0, 2.0]])
    _, _, residuals = fn.relu.forward((), (), x)
    np.testing.assert_array_equal(fn.relu.backward(residuals, np.ones((1, 3)))[1], [[0, 0, 1]])
    np.testing.assert_array_equal(jax.grad(lambda x: fn.relu.apply((), (), x)[0].sum())(jnp.asarray(x)), [[0, 0, 1]])


def test_global_pooling_is_the_mean_and_dense_the_affine_map():
    np.testing.assert_allclose(fn.global_avg_pool.apply((), (), X)[0], X.mean((1, 2)))
    w, b, x = X[0, :, 0], X[0, 0, 0], X[:7, 0, 0, :1].repeat(5, 1)
    np.testing.assert_allclose(fn.dense(3).apply({"w": w, "b": b}, (), x)[0], x @ w + b)


def test_batch_norm_normalises_and_keeps_the_unbiased_variance():
    params, state = {"scale": X[0, 0, 0], "shift": X[1, 0, 0]}, {"mean": np.ones(3), "var": np.full(3, 2.0)}
    y, new = fn.batch_norm(momentum=0.8, epsilon=1e-3).apply(params, state, X, train=True)
    mean, var = X.mean((0, 1, 2)), X.var((0, 1, 2))
    np.testing.assert_allclose(y, params["scale"] * (X - mean) / np.sqrt(var + 1e-3) + params["shift"])
    np.testing.assert_allclose(new["mean"], 0.8 + 0.2 * mean)
    np.testing.assert_allclose(new["var"], 1.6 + 0.2 * X.var((0, 1, 2), ddof=1))
    evaluated, _ = fn.batch_norm(epsilon=1e-3).apply(params, state, X)
    np.testing.assert_allclose(evaluated, params["scale"] * (X - 1) / np.sqrt(2 + 1e-3) + params["shift"])


def test_combinators_compose_add_and_join():
    conv = fn.conv(3, (3, 3))
    w, b = X[:3, :3, 0], X[0, 0, 0]
    p, z = {"w": w.reshape(3, 3, 1, 3).repeat(3, 2), "b": b}, None
    z = conv.apply(p, (), X)[0]
    np.testing.assert_allclose(fn.serial(conv, fn.relu).apply((p, ()), ((), ()), X)[0], np.maximum(z, 0))
    np.testing.assert_allclose(fn.residual(conv).apply(((p,), ()), (((),), ()), X)[0], z + X)
    np.testing.assert_allclose(fn.parallel(conv, fn.relu).apply((p, ()), ((), ()), X)[0], z + np.maximum(X, 0))
    joined = fn.parallel(conv, fn.relu, merge="concatenate").apply((p, ()), ((), ()), X)[0]
    np.testing.assert_allclose(joined, np.concatenate([z, np.maximum(X, 0)], -1))


def test_every_layer_and_every_step_draws_its_own_numbers():
    twins = (fn.serial(fn.dense(4), fn.dense(4)), fn.parallel(fn.dense(4), fn.dense(4)))
    for net in twins:
        (first, second), _ = net.init(KEY, (4,))
        assert not np.array_equal(first["w"], second["w"])
    normal = jax.nn.initializers.normal()
    drawn = fn.dense(4, w_init=normal, b_init=normal).init(KEY, (1,))[0]
    assert not np.array_equal(drawn["w"][0], drawn["b"])
    ones, drop = np.ones((8, 50)), fn.dropout(0.5)
    zeros = [fn.parallel(drop, drop, merge="concatenate").apply(((), ()), ((), ()), ones, key=KEY, train=True)[0] == 0]
    assert not np.array_equal(zeros[0][:, :50], zeros[0][:, 50:])
    twice = fn.serial(drop, drop).apply(((), ()), ((), ()), ones, key=KEY, train=True)[0]
    assert abs((twice == 0).mean() - 0.75) < 0.1
    seen = {"loss": lambda y, t: (y.sum(), y * 0), "metrics": lambda y, t: {"mask": (y == 0)}}
    trainer = training.Trainer(drop, optax.sgd(0.0), batch_size=8, last_batch="wrap", **seen)
    epoch, single = training.make_epoch(trainer), ones.astype("float32")
    ts, metrics = epoch(training.init(trainer, KEY, (50,)), single, single)
    masks = [metrics["mask"][0], epoch(ts, single, single)[1]["mask"][0]]
    assert not np.array_equal(*masks)


def test_a_manual_vjp_leaves_numpy_its_float64():
    x, params = np.ones((1, 1)), {"w": np.ones((1, 1)), "b": np.asarray([1e-12])}
    for layer in (fn.dense(1), fn.with_manual_vjp(fn.dense(1))):
        y, _ = layer.apply(params, (), x)
        assert y.dtype == "float64"
        np.testing.assert_allclose(y - 1, 1e-12, rtol=1e-3)


def test_the_gradient_has_the_dtype_of_the_params_in_training():
    net, sgd = fn.serial(fn.dense(3)), optax.sgd(0.1, momentum=0.9)
    for mode in ("manual", "auto"):
        trainer = training.Trainer(net, sgd, batch_size=4, gradients=mode)
        ts = training.init(trainer, KEY, (4,))
        half = jax.tree.map(lambda a: a.astype("bfloat16") if a.dtype == "float32" else a, ts._replace(key=()))._replace(key=ts.key)
        epoch = training.make_epoch(trainer)
        with jax.numpy_dtype_promotion("standard"):
            after, _ = epoch(half, np.ones((8, 4), "float32"), np.arange(8) % 3)
        assert {leaf.dtype.name for leaf in jax.tree.leaves(after.params)} == {"bfloat16"}


@pytest.mark.parametrize("shape", [(4, 5, 3), (3, 2, 4, 5), (2, 3), (0, 4, 3), (19, 2, 3), (8, 2, 2, 3)])
@pytest.mark.parametrize("dtype", ["float32", "complex64", "float16"])
def test_large_sums_over_rows_are_sums(shape, dtype, monkeypatch):
    monkeypatch.setattr(cpu, "LARGE", 0)
    monkeypatch.setattr(cpu, "LARGE_CHEAP", 0)
    a = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    for got in (cpu.sum_rows(b, cheap) for b in (a, jnp.asarray(a)) for cheap in (False, True)):
        assert got.dtype == dtype
        np.testing.assert_allclose(
            got, a.sum(tuple(range(a.ndim - 1))), rtol=5e-3 if dtype == "float16" else 1e-5, atol=5e-3 if dtype == "float16" else 1e-6
        )


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex128", "bfloat16"])
def test_masked_is_where_on_either_library(dtype):
    keep = np.array([True, False, True, False, False])
    for a in ([-1.0, -2.0, 0.5, 0.0, 3.0], [np.inf, np.nan, -np.inf, np.inf, -np.nan]):
        a = np.asarray(a).astype(jnp.dtype(dtype))
        expected = np.where(keep, a, np.zeros_like(a))
        for got in (cpu.masked(keep, a), cpu.masked(jnp.asarray(keep), jnp.asarray(a)) if dtype[-2:] != "28" else expected):
            np.testing.assert_array_equal(got, expected)
            assert not np.signbit(np.asarray(got).real[~keep]).any()
        assert cpu.masked(keep, a).dtype == a.dtype


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_statistics_do_not_overflow_where_the_sum_would(dtype):
    x = 3 + jax.random.normal(KEY, (64, 32, 32, 1), dtype)  # the sum is near 200,000
    for a in (x, np.asarray(x)):
        np.testing.assert_allclose(np.asarray(cpu.mean_rows(a), "float32"), [3], atol=0.05)


def test_a_pool_does_not_convolve_anew_for_each_of_its_taps():
    """As compiled: no loop both multiplies, as the convolution does, and compares, as the pool does."""
    net = fn.serial(fn.conv(8, (3, 3)), fn.relu, fn.max_pool((2, 2)), fn.conv(2, (3, 3)))
    params, state = net.init(jax.random.key(0), (12, 12, 1))
    program = jax.jit(lambda params, x: net.apply(params, state, x)[0]).lower(params, jnp.zeros((4, 12, 12, 1))).compile()
    loops = program.as_text().split("\n}\n")
    assert any(" multiply(" in loop for loop in loops)
    assert any(" compare(" in loop for loop in loops)
    assert not any(" multiply(" in loop and " compare(" in loop for loop in loops)
