"""Any function of JAX as a layer; the laws that all layers obey are in `tests/test_laws.py`, by `tests/cases/interop.py`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcnn as fn
from funcnn import checking, training
from funcnn.interop import from_apply, from_equinox, from_flax

KEY = jax.random.key(3)


def attend(params, x):
    """Self-attention over positions: x (N, L, C)."""
    q, k, v = jnp.split(x @ params["qkv"][None], 3, axis=-1)
    weights = jax.nn.softmax(jnp.einsum("nqc,nkc->nqk", q, k), axis=-1)
    return jnp.einsum("nqk,nkc->nqc", weights, v)


def attend_init(key, in_shape):
    return {"qkv": jax.random.normal(key, (in_shape[-1], 3 * in_shape[-1])) / 3}


ATTENTION = from_apply(attend_init, attend)
NET = fn.serial(fn.conv(4, (3,)), fn.residual(ATTENTION), fn.dropout(0.2), fn.flatten, fn.dense(2))


def close(got, expected, tolerance):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


@pytest.mark.slow
def test_a_network_around_a_function_has_the_gradient_of_jax_grad():
    x = jax.random.normal(KEY, (3, 6, 2))
    params, state = NET.init(KEY, (6, 2))

    @jax.jit
    def by_hand(params, x):
        y, _, residuals = NET.forward(params, state, x, key=KEY, train=True)
        return NET.backward(residuals, jnp.cos(y))

    def by_grad(params, x):
        return jax.grad(lambda p, x: jnp.sin(NET.apply(p, state, x, key=KEY, train=True)[0]).sum(), (0, 1))(params, x)

    close(by_hand(params, x), jax.jit(by_grad)(params, x), 1e-5)


@pytest.mark.slow
def test_numpy_in_numpy_out_in_their_dtype():
    params, _ = fn.to_numpy(ATTENTION.init(KEY, (6, 2)), "float64")
    x = np.random.default_rng(0).standard_normal((3, 6, 2))
    for dtype in ("float64", "float32"):
        given = fn.to_numpy((params, x), dtype)
        y, _, residuals = ATTENTION.forward(given[0], (), given[1])
        dparams, dx = ATTENTION.backward(residuals, y)
        assert {type(a) for a in (y, dx, dparams["qkv"])} == {np.ndarray}
        assert {str(a.dtype) for a in (y, dx, dparams["qkv"])} == {dtype}


@pytest.mark.parametrize("key", [jax.random.key(1), jax.random.PRNGKey(1)], ids=["typed", "raw"])
def test_numpy_stays_numpy_whatever_the_key(key):
    noisy = from_apply(
        lambda key, in_shape: ((), {"calls": np.zeros((), "int32")}),
        lambda params, state, x, *, key, train: (x + jax.random.normal(key, x.shape, x.dtype), {"calls": state["calls"] + 1}),
        name="noisy", stateful=True,
    )  # fmt: skip
    y, state, residuals = noisy.forward((), {"calls": np.zeros((), "int32")}, np.zeros((2, 3)), key=key, train=True)
    assert (type(y), y.dtype, type(state["calls"])) == (np.ndarray, "float64", np.ndarray)
    assert noisy.backward(residuals, y)[1].dtype == "float64"
    assert abs(y).min() > 0


@pytest.mark.slow
def test_the_checker_says_that_it_is_automatic_and_compares_it_with_slopes():
    report = checking.check_layer(fn.serial(fn.conv(2, (3,)), ATTENTION), (3, 2))
    assert report.ok, report
    assert any("backward is automatic" in why and "attend" in why for why in report.skipped)
    of_function = {row.oracle for row in report.rows if row.layer.endswith("attend")}
    assert "jax.vjp" not in of_function
    assert "differences" in of_function
    assert "jax.vjp" in {row.oracle for row in report.rows if row.layer.endswith("conv")}


def test_the_checker_sees_a_function_whose_own_gradient_is_wrong():
    """`jax.vjp` of it, which is its backward, would agree with itself."""
    wrong = jax.custom_jvp(jnp.sin)
    wrong.defjvp(lambda primals, tangents: (jnp.sin(primals[0]), 1.001 * jnp.cos(primals[0]) * tangents[0]))
    report = checking.check_layer(from_apply(lambda key, in_shape: (), lambda params, x: wrong(x), name="sine"), (5,))
    assert not report.ok
    assert {row.leaf for row in report.wrong} == {"x"}


def test_the_summary_says_that_it_is_automatic():
    summary = fn.summary(fn.serial(ATTENTION, fn.recompute(ATTENTION)), (6, 2))
    assert [layer.name for layer in summary.layers] == ["automatic(attend)", "recompute(automatic(attend))"]
    assert [layer.parameters for layer in summary.layers] == [12, 12]
    assert "automatic(attend)" in str(summary)


def test_it_is_named_as_the_function_and_shows_as_the_call():
    assert ATTENTION.name == "attend"
    assert repr(ATTENTION) == "from_apply(attend_init, attend)"
    assert from_apply(attend_init, lambda params, x: x).name == "from_apply"
    assert from_apply(attend_init, attend, name="heads").name == "heads"


@pytest.mark.slow
def test_a_training_by_hand_and_by_jax_grad_is_the_same():
    x, labels = jax.random.normal(KEY, (8, 6, 2)), jnp.arange(8, dtype="int32") % 2
    losses = {}
    for gradients in ("manual", "auto"):
        trainer = training.Trainer(NET, optax.sgd(0.1), batch_size=8, gradients=gradients)
        ts, step, losses[gradients] = training.init(trainer, KEY, (6, 2)), training.make_step(trainer), []
        for _ in range(3):
            ts, metrics = step(ts, x, labels)
            losses[gradients].append(float(metrics["loss"]))
    np.testing.assert_allclose(losses["manual"], losses["auto"], rtol=1e-5)
    assert len(set(losses["manual"])) == 3


def test_what_it_refuses():
    x = jnp.ones((3, 6, 2))
    params, _ = ATTENTION.init(KEY, (6, 2))
    with pytest.raises(TypeError, match=r"^from_apply: expected apply to be a function, got dict$"):
        from_apply(attend_init, params)
    with pytest.raises(TypeError, match=r"^attend: expected every entry of params of a floating-point dtype, got int32"):
        ATTENTION.forward({"qkv": jnp.ones((2, 6), "int32")}, (), x)
    with pytest.raises(KeyError) as raised:
        ATTENTION.forward({"kqv": params["qkv"]}, (), x)
    assert raised.value.__notes__ == ["in the function that is the layer attend"]
    with pytest.raises(ValueError, match=r"^mean: expected what mean returns of shape \(3, \.\.\.\), got \(6, 2\)$"):
        from_apply(lambda key, in_shape: (), lambda params, x: x.mean(0), name="mean").forward((), (), x)
    with pytest.raises(TypeError, match=r"^attend: expected apply to return \(y, state\), got an array"):
        from_apply(lambda key, s: ({}, {}), lambda p, s, x, *, key, train: x, name="attend", stateful=True).forward({}, {}, x)
    with pytest.raises(ValueError, match=r"^attend: expected dy of shape \(3, 6, 2\), got \(3, 6\)"):
        ATTENTION.backward(ATTENTION.forward(params, (), x)[2], jnp.ones((3, 6)))


@pytest.mark.peers
@pytest.mark.slow
def test_a_flax_module_is_a_layer():
    linen = pytest.importorskip("flax.linen")

    class Block(linen.Module):
        rate: float

        @linen.compact
        def __call__(self, x, train):
            x = linen.Conv(4, (3, 3), use_bias=False)(x)
            x = linen.BatchNorm(use_running_average=not train, momentum=0.9)(x)
            x = linen.Dropout(self.rate, deterministic=not train)(linen.gelu(x))
            return linen.Dense(3)(x.reshape(x.shape[0], -1))

    module = Block(rate=0.3)
    layer = from_flax(module, lambda m, x, train: m(x, train))
    x, dy = jax.random.normal(KEY, (4, 5, 6, 2)), jax.random.normal(KEY, (4, 3))
    params, state = layer.init(KEY, (5, 6, 2))
    assert (layer.name, set(params), set(state)) == ("Block", {"Conv_0", "BatchNorm_0", "Dense_0"}, {"batch_stats"})
    for train in (True, False):

        def theirs(params, x, train=train):
            y, moved = module.apply({"params": params, **state}, x, train, mutable=["batch_stats"], rngs={"dropout": KEY})
            return y, moved

        y, new, residuals = layer.forward(params, state, x, key=KEY, train=train)
        expected, pull, moved = jax.vjp(theirs, params, x, has_aux=True)
        close((y, new, layer.backward(residuals, dy)), (expected, moved if train else state, pull(dy)), 1e-6)
    with jax.numpy_dtype_promotion("standard"):  # as Flax needs in float64, where its dropout draws other numbers
        checking.check_layer(from_flax(Block(rate=0.0), lambda m, x, train: m(x, train)), (3, 4, 2)).raise_if_wrong()


@pytest.mark.peers
def test_an_nnx_module_is_a_layer():
    nnx = pytest.importorskip("flax.nnx")

    class Model(nnx.Module):
        def __init__(self, *, rngs):
            self.conv = nnx.Conv(2, 4, (3, 3), rngs=rngs)
            self.dense = nnx.Linear(4, 3, rngs=rngs)

        def __call__(self, x):
            return self.dense(nnx.relu(self.conv(x)).mean((1, 2)))

    layer = from_flax(nnx.bridge.to_linen(Model))
    params, state = layer.init(KEY, (5, 6, 2))
    x, dy = jax.random.normal(KEY, (4, 5, 6, 2)), jax.random.normal(KEY, (4, 3))
    y, _, residuals = layer.forward(params, state, x)
    expected, pull = jax.vjp(lambda params, x: layer.apply(params, state, x)[0], params, x)
    close((y, layer.backward(residuals, dy)), (expected, pull(dy)), 1e-6)


@pytest.mark.peers
def test_an_equinox_module_is_a_layer():
    eqx = pytest.importorskip("equinox")
    keys = jax.random.split(KEY, 2)
    linear = [eqx.nn.Linear(*sizes, key=key) for sizes, key in zip(((5, 8), (8, 3)), keys, strict=True)]
    module = eqx.nn.Sequential([linear[0], eqx.nn.Lambda(jax.nn.tanh), eqx.nn.Dropout(0.4), linear[1]])
    layer = from_equinox(module, lambda m, x, key: m(x, key=key))
    params, state = layer.init(KEY, (5,))
    x = jax.random.normal(KEY, (4, 5))
    close(layer.apply(params, state, x)[0], jax.vmap(eqx.nn.inference_mode(module))(x), 1e-6)
    close(layer.apply(params, state, x, key=KEY, train=True)[0], jax.vmap(lambda x, k: module(x, key=k))(x, jax.random.split(KEY, 4)), 1e-6)
    with jax.numpy_dtype_promotion("standard"):  # as Equinox needs in float64, where its dropout draws other numbers
        checking.check_layer(from_equinox(eqx.nn.MLP(5, 3, 8, 1, jax.nn.tanh, key=KEY)), (5,)).raise_if_wrong()
    with pytest.raises(ValueError, match=r"^from_equinox: expected a module without state, got BatchNorm"):
        from_equinox(eqx.nn.BatchNorm(3, "batch", mode="ema"))
    with pytest.raises(TypeError, match=r"^from_equinox: expected an equinox\.Module, got Layer$"):
        from_equinox(ATTENTION)
