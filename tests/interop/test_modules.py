"""Layers as modules of Flax and Equinox: the same numbers, gradients and states as the layer alone."""

import io
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcnn as fn
from funcnn.interop import to_equinox, to_flax
from funcnn.interop.modules import COLLECTIONS, from_dicts, structure, to_dicts
from tests.cases import CASES

pytestmark = pytest.mark.peers
KEY = jax.random.key(5)
NET = fn.serial(
    fn.conv(4, (3, 3), bias=False), fn.batch_norm(), fn.relu,
    fn.residual(fn.conv(4, (3, 3)), fn.relu), fn.flatten, fn.dropout(0.4), fn.dense(3),
)  # fmt: skip
BLOCK = fn.serial(fn.conv(2, (3, 3), bias=False), fn.batch_norm(), fn.tanh, fn.dropout(0.2))
X = jax.random.normal(KEY, (6, 5, 4, 2))
LABELS = jnp.arange(6, dtype="int32") % 3


def close(got, expected, tolerance=1e-5):
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


def doubled(layer):
    """Its `backward` is twice too large, which shows who runs it."""
    return layer._replace(backward=lambda residuals, dy: jax.tree.map(lambda a: 2 * a, layer.backward(residuals, dy)))


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items() if not case.slow])
def test_trees_become_dicts_and_are_again_exactly_what_they_were(case):
    for tree in structure(case.layer, case.in_shape):
        dicts = to_dicts(tree)
        assert jax.tree.structure(from_dicts(dicts, tree, "params")) == jax.tree.structure(tree)
        assert jax.tree.leaves(from_dicts(dicts, tree, "params")) == jax.tree.leaves(tree)
        text = str(jax.tree.structure(dicts))
        assert not tree or ("(" in text and "()" not in text and ", }" not in text)


def flax_trees(variables, layer=NET):
    params, state = structure(layer, X.shape[1:])
    return from_dicts(variables["params"], params, "params"), from_dicts(variables.get("batch_stats", {}), state, "batch_stats")


def test_a_layer_is_a_module_of_linen():
    pytest.importorskip("flax")
    module = to_flax(NET)
    variables = module.init(KEY, X)
    assert {kind: set(tree) for kind, tree in variables.items()} == {"params": {"0", "1", "3", "6"}, "batch_stats": {"1"}}
    params, state = flax_trees(variables)
    close(module.apply(variables, X), NET.apply(params, state, X)[0], 0)

    @jax.jit
    def theirs(params):
        def loss(params):
            given = {"params": params, "batch_stats": variables["batch_stats"]}
            y, moved = module.apply(given, X, train=True, mutable=["batch_stats"], rngs={"dropout": KEY})
            return fn.softmax_cross_entropy(y, LABELS)[0], moved

        return jax.value_and_grad(loss, has_aux=True)(params)

    (_, moved), grads = theirs(variables["params"])
    assert not np.array_equal(moved["batch_stats"]["1"]["mean"], variables["batch_stats"]["1"]["mean"])
    assert jax.tree.structure(grads) == jax.tree.structure(variables["params"])
    # batch norm's state does not know of dropout's key, which Flax folds
    close(moved["batch_stats"], to_dicts(NET.apply(params, state, X, key=KEY, train=True)[1]))


@pytest.mark.parametrize(("gradients", "factor"), [("manual", 2), ("auto", 1)])
def test_jax_grad_of_a_module_runs_what_was_said(gradients, factor):
    pytest.importorskip("flax")
    pytest.importorskip("equinox")
    layer = fn.dense(3)
    params, state = layer.init(KEY, (4,))
    x = X[:, 0, :, 0]
    expected = jax.grad(lambda p: jnp.sin(layer.apply(p, state, x)[0]).sum())(params)
    module = to_flax(doubled(layer), gradients=gradients)
    got = jax.grad(lambda p: jnp.sin(module.apply({"params": p}, x)).sum())(params)
    close(jax.tree.map(lambda a: a / factor, got), expected)
    import equinox as eqx

    grads = eqx.filter_grad(lambda m: jnp.sin(m(x)[0]).sum())(to_equinox(doubled(layer), params, gradients=gradients))
    close(jax.tree.map(lambda a: a / factor, grads.params), expected)


def test_inside_another_module_of_linen():
    linen = pytest.importorskip("flax.linen")

    class Outer(linen.Module):
        @linen.compact
        def __call__(self, x, train=False):
            x = linen.Conv(2, (1, 1))(x)
            x = to_flax(fn.serial(fn.conv(3, (3, 3)), fn.relu), name="backbone")(x)
            return linen.Dense(3)(to_flax(NET)(x, train) + to_flax(NET)(x, train))

    module = Outer()
    variables = module.init(KEY, X)
    assert set(variables["params"]) == {"Conv_0", "backbone", "FuncnnLayer_0", "FuncnnLayer_1", "Dense_0"}
    assert set(variables["batch_stats"]) == {"FuncnnLayer_0", "FuncnnLayer_1"}

    @jax.jit
    def step(variables):
        def loss(params):
            y, moved = module.apply({**variables, "params": params}, X, train=True, mutable=["batch_stats"], rngs={"dropout": KEY})
            return optax.softmax_cross_entropy_with_integer_labels(y, LABELS).mean(), moved

        (value, moved), grads = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        return {"params": jax.tree.map(lambda p, g: p - 0.1 * g, variables["params"], grads), **moved}, value

    losses = []
    for _ in range(10):
        variables, value = step(variables)
        losses.append(float(value))
    assert losses[-1] < losses[0] / 2


def test_in_the_transformations_of_linen():
    linen = pytest.importorskip("flax.linen")
    from flax import serialization

    class Deep(linen.Module):
        @linen.compact
        def __call__(self, x):
            def block(module, x, _):
                return module(x, True), None

            scanned = linen.scan(
                block, variable_axes={"params": 0, "batch_stats": 0}, split_rngs={"params": True, "dropout": True}, length=3
            )
            return scanned(to_flax(BLOCK, name="block"), x, None)[0]

    class Again(linen.Module):
        @linen.compact
        def __call__(self, x):
            inner = to_flax(BLOCK, name="block")
            return linen.remat(lambda module, x: module(x, True))(inner, x)

    for module, copies in ((Deep(), (3,)), (Again(), ())):
        variables = module.init({"params": KEY, "dropout": KEY}, X)
        assert variables["params"]["block"]["0"]["w"].shape == (*copies, 3, 3, 2, 2)
        assert jax.tree.structure(jax.eval_shape(module.init, {"params": KEY, "dropout": KEY}, X)) == jax.tree.structure(variables)

        def loss(params, module=module, variables=variables):
            y, _ = module.apply({**variables, "params": params}, X, mutable=["batch_stats"], rngs={"dropout": KEY})
            return jnp.square(y).mean()

        grads = jax.jit(jax.grad(loss))(variables["params"])
        assert all(jnp.abs(g).max() > 0 for g in jax.tree.leaves(grads))
        restored = serialization.from_bytes(variables, serialization.to_bytes(variables))
        close(restored, variables, 0)
        assert loss(restored["params"]) == loss(variables["params"])


@pytest.mark.parametrize("make", [fn.networks.resnet20, fn.networks.mobilenet, fn.networks.convnext], ids=lambda make: make.__name__)
@pytest.mark.slow
def test_whole_networks(make):
    """Deep ones repeat blocks."""
    pytest.importorskip("flax")
    pytest.importorskip("equinox")
    net, x = make(), jax.random.normal(KEY, (2, 32, 32, 3))
    module = to_flax(net)
    variables = jax.jit(module.init)(KEY, x)
    params, state = (
        from_dicts(variables.get(kind, {}), tree, kind) for kind, tree in zip(COLLECTIONS, structure(net, (32, 32, 3)), strict=True)
    )
    expected = net.apply(params, state, x)[0]
    close(module.apply(variables, x), expected)
    close(to_equinox(net, params)(x, state, inference=True)[0], expected)


def test_linen_tells_what_is_missing():
    pytest.importorskip("flax")
    module = to_flax(NET)
    variables = module.init(KEY, X)
    wrong = {**variables, "params": {**variables["params"], "0": {"kernel": variables["params"]["0"]["w"]}}}
    with pytest.raises(ValueError, match=r"^to_flax: expected the collection 'params' to hold \['0/w', .*\], got \['0/kernel', "):
        module.apply(wrong, X)
    with pytest.raises(ValueError, match=r"^serial: expected x of shape \(N, \.\.\.\), got \(\)"):
        module.apply(variables, jnp.float32(1))
    with pytest.raises(ValueError, match=r'^to_flax: expected gradients to be "manual" or "auto", got None'):
        to_flax(NET, gradients=None)
    with pytest.raises(TypeError, match=r"^to_flax: expected layers, got function as argument 0; call it, conv\(\.\.\.\)"):
        to_flax(fn.conv)


def test_a_layer_is_a_module_of_nnx_by_its_bridge():
    nnx = pytest.importorskip("flax.nnx")
    model = nnx.bridge.ToNNX(to_flax(NET), rngs=nnx.Rngs(0, dropout=1)).lazy_init(X)
    optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)
    before = jax.tree.map(jnp.copy, nnx.state(model, nnx.BatchStat))

    @nnx.jit
    def step(model, optimizer):
        def loss(model):
            y = model(X, train=True, mutable=["batch_stats"])
            return optax.softmax_cross_entropy_with_integer_labels(y, LABELS).mean()

        value, grads = nnx.value_and_grad(loss)(model)
        optimizer.update(model, grads)
        return value

    losses = [float(step(model, optimizer)) for _ in range(10)]
    assert losses[-1] < losses[0] / 2
    moved = nnx.state(model, nnx.BatchStat)
    assert all(not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(moved), strict=True))
    assert len(jax.tree.leaves(before)) == 2
    assert model(X).shape == (6, 3)


def test_a_layer_is_a_module_of_equinox():
    eqx = pytest.importorskip("equinox")
    params, state = NET.init(KEY, X.shape[1:])
    module = to_equinox(NET, params)
    close(eqx.filter(module, eqx.is_array).params, params, 0)
    assert len(jax.tree.leaves(eqx.filter(module, eqx.is_array))) == len(jax.tree.leaves(params))
    close(module(X, state, key=KEY), NET.apply(params, state, X, key=KEY, train=True), 0)
    close(module(X, state, inference=True), NET.apply(params, state, X), 0)
    close(eqx.nn.inference_mode(module)(X, state), NET.apply(params, state, X), 0)

    @eqx.filter_jit
    def step(module, state):
        def loss(module, state):
            y, state = module(X, state, key=KEY)
            return optax.softmax_cross_entropy_with_integer_labels(y, LABELS).mean(), state

        (value, state), grads = eqx.filter_value_and_grad(loss, has_aux=True)(module, state)
        return eqx.apply_updates(module, jax.tree.map(lambda g: -0.1 * g, grads)), state, value, grads

    def by_hand(params):
        return fn.softmax_cross_entropy(NET.apply(params, state, X, key=KEY, train=True)[0], LABELS)[0]

    trained, moved, losses = module, state, []
    for i in range(10):
        trained, moved, value, grads = step(trained, moved)
        losses.append(float(value))
        if i == 0:
            close(grads.params, jax.jit(jax.grad(by_hand))(params))
    assert losses[-1] < losses[0] / 2
    file = io.BytesIO()
    eqx.tree_serialise_leaves(file, trained)
    file.seek(0)
    close(eqx.tree_deserialise_leaves(file, module).params, trained.params, 0)


def test_without_flax_and_equinox_the_extra_is_named():
    code = (
        "import sys; sys.modules.update(flax=None, equinox=None)\nimport funcnn as fn\ntry: {}\nexcept ModuleNotFoundError as e: print(e)"
    )
    for call, name in (
        ("fn.interop.to_flax(fn.relu)", "flax"), ("fn.interop.from_flax(fn.relu)", "flax"),
        ("fn.interop.to_equinox(fn.relu, ())", "equinox"), ("fn.interop.from_equinox(fn.relu)", "equinox"),
    ):  # fmt: skip
        done = subprocess.run([sys.executable, "-W", "error", "-c", code.format(call)], capture_output=True, text=True, check=True)
        function = call.partition("(")[0].replace("fn.", "funcnn.")
        assert done.stdout.strip() == f"{function}: expected the extra `{name}`, got no {name}; install it, pip install 'funcnn[{name}]'"
