"""What combinators refuse, and what they have in common with each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnn as fn
from funcnn import training
from funcnn.combinators import calls, divided

KEY = jax.random.key(3)
X = np.random.default_rng(0).standard_normal((4, 5)).astype("float32")
IMAGES = np.random.default_rng(0).standard_normal((3, 4, 6, 2)).astype("float32")
DENSE = fn.dense(5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fn.repeat(fn.dense, 2), r"repeat: expected layers, got function as argument 0; call it, dense\(\.\.\.\)"),
        (lambda: fn.repeat(DENSE, 0), "repeat: expected n to be a whole number of at least 1, got 0"),
        (lambda: fn.repeat(DENSE, 2.0), "repeat: expected n to be a whole number of at least 1, got 2.0"),
        (lambda: fn.recompute(3), "recompute: expected layers, got int as argument 0"),
        (lambda: fn.when_training(jax.nn.relu), "when_training: expected layers, got custom_jvp as argument 0"),
        (lambda: fn.named(fn.relu), r"named: expected a name for every layer, got the layer relu without; named\(name=layer\)"),
        (lambda: fn.named(a=fn.relu, b=3), "named: expected layers, got int as argument 1"),
        (lambda: fn.named({1: fn.relu}), r"named: expected names to be text, got \(1,\)"),
        (lambda: fn.named([("a", fn.relu), ("a", fn.tanh)]), r"named: expected a name of its own for every layer, got \('a', 'a'\)"),
        (lambda: fn.named({"a": fn.relu}, a=fn.tanh), r"named: expected a name of its own for every layer, got \('a', 'a'\)"),
        (lambda: fn.named([fn.relu, fn.tanh]), "named: expected pairs of a name and a layer, got relu"),
        (lambda: fn.parallel(fn.relu, merge="product"), 'parallel: expected merge "sum", "concatenate" or "multiply", got \'product\''),
    ],
)
def test_what_is_no_layer_is_refused(make, message):
    with pytest.raises((TypeError, ValueError), match="^" + message):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (fn.repeat(fn.dense(4), 2), (5,), r"repeat: expected a layer that keeps the shape \(5,\), got dense that makes it \(4,\)"),
        (fn.repeat(fn.conv(3, (2, 2)), 2), (4, 4, 2), r"repeat: expected a layer that keeps the shape \(4, 4, 2\), got conv that makes"),
        (fn.serial(fn.when_training(fn.dense(4))), (5,), r"when_training: expected a layer that keeps the shape \(4, 5\), got dense that"),
        (fn.parallel(fn.dense(4), DENSE, merge="multiply"), (5,), r"parallel: expected outputs that fit together for merge='multiply'"),
        (
            fn.parallel(fn.flatten, fn.identity, merge="multiply"),
            (2, 3),
            "parallel: expected outputs that fit together for merge='multiply'",
        ),
    ],
)
def test_layers_that_do_not_fit_are_named(layer, shape, message):
    with pytest.raises(ValueError, match="^" + message):
        layer.apply(*layer.init(KEY, shape), np.ones((4, *shape), "float32"), train=True)


def test_params_that_do_not_fit_are_named():
    net = fn.repeat(DENSE, 3)
    params, state = net.init(KEY, (5,))
    for wrong, got in ((jax.tree.map(lambda a: a[:2], params), r"\(2, "), (DENSE.init(KEY, (5,))[0], r"\(5,")):
        with pytest.raises(
            ValueError, match=rf"^repeat: expected every array in params to have a first axis of the 3 copies, got one of shape {got}"
        ):
            net.apply(wrong, state, X)
        with pytest.raises(ValueError, match=rf"^repeat: expected every array in params to have a first axis .* shape {got}"):
            fn.stages(net, wrong, state, jnp.asarray(X))
    both = fn.named(first=DENSE, second=DENSE)
    with pytest.raises(ValueError, match=r"^named: expected state to be a dict with \['first', 'second'\], got a dict with \['first'\]"):
        divided(both, state={"first": ()})
    params, state = both.init(KEY, (5,))
    for wrong in ({"first": params["first"]}, (params["first"], params["second"]), {**params, "third": ()}):
        with pytest.raises(ValueError, match=r"^named: expected params to be a dict with \['first', 'second'\], got "):
            both.apply(wrong, state, X)
    with pytest.raises(ValueError, match=r"^named: expected state to be a dict"):
        both.apply(params, (), X)
    with pytest.raises(ValueError, match=r"^named: expected state to be a dict"):
        fn.stages(both, params, (), X)


def test_a_repeated_layer_says_where_it_went_wrong():
    net = fn.repeat(fn.serial(fn.relu, fn.dropout(0.5)), 2)
    with pytest.raises(ValueError, match="dropout: expected one random key, got none") as error:
        net.apply(*net.init(KEY, (5,)), jnp.asarray(X), train=True)
    notes = [note for note in error.value.__notes__ if note.startswith("in layer")]
    assert notes == ["in layer 1 (dropout) of serial", "in layer 0 (serial) of repeat"]


@pytest.mark.parametrize("library", [np, jnp], ids=["NumPy", "JAX"])
def test_repeat_and_named_are_serial_by_other_names(library):
    """The same numbers for the same key: outputs, masks, states and gradients."""
    block = fn.residual(fn.conv(2, (3, 3), bias=False), fn.batch_norm(), fn.relu, fn.dropout(0.5))
    layers, x = [block] * 3, library.asarray(IMAGES)
    nets = {"serial": fn.serial(*layers), "repeat": fn.repeat(block, 3), "named": fn.named(zip("abc", layers, strict=True))}
    results = {}
    for name, net in nets.items():
        params, state = net.init(KEY, IMAGES.shape[1:])
        params, state = (params, state) if library is jnp else fn.to_numpy((params, state))
        y, new_state, residuals = net.forward(params, state, x, key=KEY, train=True)
        dparams, dx = net.backward(residuals, y)
        parts = net.divide or (lambda tree: tree)
        results[name] = [y, dx, *(parts(tree) for tree in (params, new_state, dparams))]
    for name in ("repeat", "named"):
        for a, b in zip(jax.tree.leaves(results[name]), jax.tree.leaves(results["serial"]), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_what_a_copy_keeps_is_kept_once():
    """No params, and ReLU's output, which is the next layer's input, once."""
    net = fn.repeat(fn.serial(fn.dense(5), fn.relu, fn.dense(5)), 4)
    params, state = fn.to_numpy(net.init(KEY, (5,)))
    (given, kept) = net.forward(params, state, X)[2]
    assert given is params
    assert [a.shape for a in kept.arrays] == [(4, 4, 5), (4, 4, 5)]


def test_an_eager_repeat_compiles_once(caplog):
    net = fn.repeat(fn.serial(fn.dense(5), fn.tanh), 3)
    params, state = net.init(KEY, (5,))
    x = jnp.asarray(X)
    compiled = []
    for _ in range(2):
        before = len(caplog.records)
        with jax.log_compiles(), caplog.at_level("WARNING"):
            _, _, residuals = net.forward(params, state, x)
            net.backward(residuals, x)
        compiled.append(sum("Finished XLA compilation" in r.getMessage() for r in caplog.records[before:]))
    assert compiled[0] > compiled[1] == 0


def test_copies_are_looked_into_like_layers():
    net = fn.named(stem=fn.dense(5), blocks=fn.repeat(fn.serial(DENSE, fn.tanh), 2))
    params, state = fn.to_numpy(net.init(KEY, (5,)))
    inside = calls(net, params, state, X)
    assert [call.layer.name for call in inside] == ["dense", "repeat"]
    copies = calls(*inside[1][:4])
    np.testing.assert_array_equal(copies[1].params[0]["w"], params["blocks"][0]["w"][1])
    np.testing.assert_allclose(copies[1].layer.apply(*copies[1][1:4])[0], net.apply(params, state, X)[0])


def test_an_ensemble_and_a_manual_vjp_of_what_is_repeated():
    net = fn.with_manual_vjp(fn.recompute(fn.repeat(fn.serial(DENSE, fn.batch_norm(), fn.tanh), 2)))
    params, state = jax.vmap(lambda key: net.init(key, (5,)))(jax.random.split(KEY, 3))

    def loss(net, params, state, x):
        return (net.apply(params, state, x, train=True)[0] ** 3).sum()

    def gradient(of):
        return jax.jit(jax.vmap(jax.grad(lambda p, s: loss(of, p, s, jnp.asarray(X)))))(params, state)

    plain = fn.repeat(fn.serial(DENSE, fn.batch_norm(), fn.tanh), 2)
    got, expected = (jnp.concatenate([a.ravel() for a in jax.tree.leaves(gradient(of))]) for of in (net, plain))
    np.testing.assert_allclose(got, expected, atol=1e-5 * float(abs(expected).max()))


def test_when_training_does_nothing_in_evaluation():
    net = fn.when_training(fn.dense(5))
    params, state = fn.to_numpy(net.init(KEY, (5,)))
    np.testing.assert_array_equal(net.apply(params, state, X)[0], X)
    assert not np.array_equal(net.apply(params, state, X, train=True)[0], X)


@pytest.mark.slow
@pytest.mark.usefixtures("optax_promotes")
def test_networks_of_all_combinators_train():
    import optax

    gate = fn.serial(fn.global_avg_pool, fn.dense(4), fn.sigmoid, fn.reshape(1, 1, 4))
    block = fn.recompute(fn.residual(fn.conv(4, (3, 3), bias=False), fn.batch_norm(), fn.relu))
    net = fn.named(
        noise=fn.when_training(fn.dropout(0.1)), stem=fn.conv(4, (3, 3)), blocks=fn.repeat(block, 3),
        gate=fn.parallel(fn.identity, gate, merge="multiply"), pool=fn.global_avg_pool, head=fn.dense(2),
    )  # fmt: skip
    labels = (IMAGES.mean((1, 2, 3)) > 0).astype("int32")
    for gradients in ("manual", "auto"):
        trainer = training.Trainer(net, optax.adam(0.03), 3, gradients=gradients)
        step, ts = training.make_step(trainer), training.init(trainer, KEY, IMAGES.shape[1:])
        losses = []
        for _ in range(30):
            ts, metrics = step(ts, IMAGES, labels)
            losses.append(float(metrics["loss"]))
        assert losses[-1] < 0.5 * losses[0]
