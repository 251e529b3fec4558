"""The training loop: what it computes, how often it compiles, and what it leaves alone."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcnn as fn
from funcnn import augmentation, training
from funcnn.training import Trainer, microbatched

pytestmark = pytest.mark.usefixtures("optax_promotes")
KEY = jax.random.key(0)
NET = fn.serial(fn.flatten, fn.dense(8), fn.batch_norm(), fn.relu, fn.dropout(0.3), fn.dense(3))  # quick to compile
X = np.asarray(jax.random.normal(jax.random.key(1), (22, 6, 6, 1)))
LABELS = np.arange(22, dtype="int32") % 3


def same(a, b):
    """Bit by bit."""

    def bits(tree):
        return [np.asarray(jax.random.key_data(v) if jnp.issubdtype(v.dtype, jax.dtypes.prng_key) else v) for v in jax.tree.leaves(tree)]

    return all(np.array_equal(u, v) for u, v in zip(bits(a), bits(b), strict=True))


def train(epochs=2, optimizer=None, net=NET, seed=0, x=X, targets=LABELS, **options):
    optimizer = optimizer or optax.adam(1e-2)
    options = {"batch_size": 5, "last_batch": "drop", **options}
    trainer = training.Trainer(net, optimizer, **options)
    epoch, ts = training.make_epoch(trainer), training.init(trainer, jax.random.key(seed), x.shape[1:])
    history = []
    for _ in range(epochs):
        ts, metrics = epoch(ts, x, targets)
        history.append(metrics)
    return ts, history, epoch


@pytest.mark.parametrize(("last_batch", "steps"), [("drop", 4), ("wrap", 5)])
def test_an_epoch_takes_the_chosen_number_of_full_batches_and_compiles_once(last_batch, steps):
    ts, history, epoch = train(epochs=3, last_batch=last_batch)
    assert ts.step == 3 * steps
    assert all(m["loss"].shape == m["accuracy"].shape == (steps,) for m in history)
    assert epoch._cache_size() == 1


@pytest.mark.parametrize(("last_batch", "most"), [("drop", 1), ("wrap", 2)])
def test_an_epoch_sees_every_example_as_often_as_promised(last_batch, most):
    """Example i is 8^i, so that the sum over an epoch counts, in base 8, how often each was seen."""
    x = 8.0 ** np.arange(7, dtype="float32")[:, None]
    counting = {"loss": lambda y, t: (t.sum(), y * 0), "metrics": lambda y, t: {}}
    orders = []
    for seed in range(4):
        _, history, _ = train(net=fn.identity, x=x, targets=x, batch_size=3, last_batch=last_batch, seed=seed, **counting)
        for metrics in history:
            total = sum(int(loss) for loss in metrics["loss"])
            counts = [total // 8**i % 8 for i in range(7)]
            assert max(counts) == most
            assert sorted(counts) == ([0] + [1] * 6 if last_batch == "drop" else [1] * 5 + [2] * 2)
            orders.append(metrics["loss"].tolist())
    assert len({tuple(order) for order in orders}) > 4


SEEN = {"net": fn.identity, "targets": np.zeros((22, 6, 6, 1), "float32"), "last_batch": "wrap"}
SEEN |= {"loss": lambda y, t: ((y - t).sum(), y * 0), "metrics": lambda y, t: {"seen": y}}


def test_without_shuffling_the_batches_come_in_order():
    _, history, _ = train(**SEEN, shuffle=False)
    for metrics in history:
        np.testing.assert_array_equal(metrics["seen"].reshape(25, 6, 6, 1), np.concatenate([X, X[:3]]))


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_batch_is_augmented_with_a_key_of_its_own(shuffle):
    keys = training.init(Trainer(fn.identity, optax.sgd(0.1)), KEY, (6, 6, 1)).key
    plain = train(**SEEN, shuffle=shuffle, epochs=1)[1][0]["seen"]
    noisy = train(**SEEN, shuffle=shuffle, epochs=1, augment=lambda key, x: x + jax.random.normal(key, (5, 1, 1, 1)))[1][0]["seen"]
    noise = [jax.random.normal(jax.random.fold_in(jax.random.fold_in(keys, 2), step), (5, 1, 1, 1)) for step in range(5)]
    np.testing.assert_allclose(noisy, plain + jnp.stack(noise), rtol=1e-6, atol=1e-6)


def test_a_training_that_is_taken_up_again_sees_the_batches_it_would_have_seen():
    augment, optimizer = augmentation.chain(augmentation.flip(), augmentation.shift(1)), optax.adam(1e-2)
    whole, history, epoch = train(epochs=4, optimizer=optimizer, augment=augment)
    half, _, _ = train(epochs=2, optimizer=optimizer, augment=augment)
    half = jax.tree.map(jnp.asarray, fn.to_numpy(half))  # as a checkpoint would keep it
    for metrics in history[2:]:
        half, again = epoch(half, X, LABELS)
        assert same(metrics, again)
    assert same(whole, half)


def test_a_step_is_one_update_of_the_optimizer():
    optimizer = optax.sgd(0.1)
    net = fn.serial(fn.flatten, fn.dense(3))
    ts = training.init(Trainer(net, optimizer), KEY, X.shape[1:])
    logits, vjp = jax.vjp(lambda p: net.apply(p, ts.state, X)[0], ts.params)
    loss, dlogits = fn.softmax_cross_entropy(logits, LABELS)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, ts.params, vjp(dlogits)[0])
    ts, metrics = training.make_step(Trainer(net, optimizer))(ts, X, LABELS)
    for a, b in zip(jax.tree.leaves(ts.params), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-6)
    assert metrics["accuracy"] == np.mean(np.argmax(logits, 1) == LABELS)


def test_epoch_and_steps_are_the_same_training():
    optimizer = optax.adam(1e-2)
    by_epoch, history, _ = train(epochs=1, optimizer=optimizer)
    ts, step = training.init(Trainer(NET, optimizer), jax.random.key(0), X.shape[1:]), training.make_step(Trainer(NET, optimizer))
    order = jax.random.permutation(jax.random.fold_in(jax.random.fold_in(ts.key, 1), 0), 22)
    for i in range(4):
        batch = np.asarray(order[5 * i : 5 * i + 5])
        ts, metrics = step(ts, X[batch], LABELS[batch])
        np.testing.assert_allclose(metrics["loss"], history[0]["loss"][i], rtol=1e-4)
    assert step._cache_size() == 1
    for a, b in zip(jax.tree.leaves(ts.params), jax.tree.leaves(by_epoch.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_manual_and_automatic_gradients_train_alike():
    manual, auto = (train(gradients=g, optimizer=optax.sgd(0.1)) for g in ("manual", "auto"))
    for a, b in zip(jax.tree.leaves(manual[0].params), jax.tree.leaves(auto[0].params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(manual[1][-1]["loss"], auto[1][-1]["loss"], rtol=1e-4)


def test_manual_gradients_run_backward_and_automatic_ones_do_not():
    still = NET._replace(backward=lambda r, dy: (jax.tree.map(jnp.zeros_like, NET.backward(r, dy)[0]), None))
    before = training.init(Trainer(still, optax.sgd(0.1)), jax.random.key(0), X.shape[1:]).params
    assert same(train(net=still, optimizer=optax.sgd(0.1), gradients="manual")[0].params, before)
    assert not same(train(net=still, optimizer=optax.sgd(0.1), gradients="auto")[0].params, before)


def test_a_seed_is_a_training_bit_by_bit():
    first, again, other = train(), train(), train(seed=1)
    assert same(first[:2], again[:2])
    assert not same(first[0].params, other[0].params)


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.sgd(0.1, momentum=0.9),
        optax.adamw(1e-2),
        optax.chain(optax.adam(1e-2), optax.contrib.reduce_on_plateau()),
        optax.lion(1e-3),
        pytest.param(optax.lbfgs(), marks=pytest.mark.slow),
    ],
    ids=["momentum", "adamw", "plateau", "lion", "lbfgs"],
)
def test_any_optimizer_lowers_the_loss(optimizer):
    _, history, _ = train(epochs=12, optimizer=optimizer, net=fn.serial(fn.flatten, fn.dense(3)))
    assert history[-1]["loss"].mean() < history[0]["loss"].mean()


def test_regression_trains_with_its_own_loss_and_metrics():
    targets = X.reshape(22, -1)[:, :2] * 3
    _, history, _ = train(
        epochs=60, net=fn.serial(fn.flatten, fn.dense(2)), targets=targets, loss=fn.mean_squared_error, metrics=lambda y, t: {}
    )
    assert set(history[0]) == {"loss"}
    assert history[-1]["loss"].mean() < 0.05 * history[0]["loss"].mean()


@pytest.mark.parametrize("batch_size", [1, 5, 11, 22, 100])
def test_evaluation_counts_every_example_exactly_once(batch_size):
    ts = training.init(Trainer(NET, optax.sgd(0.1)), jax.random.key(0), X.shape[1:])
    evaluate = training.make_evaluate(Trainer(NET, optax.sgd(0.1), evaluation_batch=batch_size))
    logits, _ = NET.apply(ts.params, ts.state, X)
    for n in (22, 7):
        got = evaluate(ts.params, ts.state, X[:n], LABELS[:n])
        np.testing.assert_allclose(got["loss"], fn.softmax_cross_entropy(logits[:n], LABELS[:n])[0], rtol=1e-5)
        np.testing.assert_allclose(got["accuracy"], fn.accuracy(logits[:n], LABELS[:n]), rtol=1e-6)


def test_evaluation_in_float16_counts_beyond_what_float16_can_hold():
    net = fn.serial(fn.flatten, fn.dense(3))
    params, state = jax.tree.map(lambda a: a.astype("float16"), net.init(KEY, (4,)))
    x, labels = np.zeros((100_000, 4), "float16"), np.arange(100_000) % 3
    got = training.make_evaluate(Trainer(net, optax.sgd(0.1), evaluation_batch=7))(params, state, x, labels)
    np.testing.assert_allclose([got["accuracy"], got["loss"]], [1 / 3, np.log(3)], atol=1e-3)


def test_only_the_state_is_donated():
    key, params_before = jax.random.key(3), None
    ts = training.init(Trainer(NET, optax.adam(1e-2)), key, X.shape[1:])
    params_before, x = ts.params, jnp.asarray(X)
    training.make_step(Trainer(NET, optax.adam(1e-2)))(ts, x, LABELS)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(params_before))
    assert not x.is_deleted()
    assert not key.is_deleted()


def test_wrong_options_are_refused():
    for options, message in (
        ({"batch_size": 0}, "batch_size to be a whole number of at least 1, got 0"),
        ({"last_batch": "pad"}, 'expected last_batch "drop" or "wrap", got \'pad\''),
        ({"shuffle": "no"}, "expected shuffle to be True or False, got 'no'"),
        ({"augment": 3}, "expected augment to be a function (key, x) -> x, such as augmentation.flip(), got 3"),
        ({"gradients": "numeric"}, 'expected gradients "manual", "auto" or (net, loss) -> gradient, got \'numeric\''),
        ({"batch_size": 23}, 'expected at least one batch of 23, got 22 examples; use last_batch="wrap"'),
        ({"targets": LABELS.tolist()}, "expected targets to be a NumPy or JAX array of examples, got list"),
        ({"targets": LABELS[:3]}, "expected as many targets as examples, at least one, got 3 and 22"),
    ):
        with pytest.raises((TypeError, ValueError), match=r"^training: ") as caught:
            train(**options)
        assert message in str(caught.value)


@pytest.mark.slow
def test_the_batch_can_be_sharded_over_devices():
    """Two CPU devices in a process of their own: the same numbers as one, and the parameters stay replicated."""
    program = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import jax, numpy as np, optax, funcnn as fn
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from funcnn import training
from funcnn.training import Trainer
net = fn.serial(fn.conv(4, (3, 3)), fn.batch_norm(), fn.relu, fn.max_pool((2, 2)), fn.dropout(0.5), fn.flatten, fn.dense(3))
x, labels = np.random.default_rng(0).standard_normal((8, 6, 6, 1)).astype("float32"), np.arange(8) % 3
mesh = Mesh(np.array(jax.devices()), ("batch",))
over, whole = NamedSharding(mesh, P("batch")), NamedSharding(mesh, P())
results = []
for place_state, place_data in ((lambda a: a, lambda a: a), (lambda a: jax.device_put(a, whole), lambda a: jax.device_put(a, over))):
    ts = place_state(training.init(Trainer(net, optax.sgd(0.1)), jax.random.key(0), (6, 6, 1)))
    step = training.make_step(Trainer(net, optax.sgd(0.1)))
    for _ in range(3):
        ts, metrics = step(ts, place_data(x), place_data(labels))
    results.append(jax.tree.map(np.asarray, (ts.params, ts.state, metrics)))
assert len(jax.devices()) == 2 and ts.params[0]["w"].sharding.is_fully_replicated
for a, b in zip(*map(jax.tree.leaves, results), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.slow
@pytest.mark.usefixtures("x64", "compiled_quickly")
def test_microbatches_give_the_gradient_of_the_batch():
    """In an epoch and in a step: parameters and metrics are the same to rounding."""
    net = fn.serial(fn.conv(2, (3, 3)), fn.relu, fn.max_pool((2, 2)), fn.flatten, fn.dense(3))
    rng, optimizer, after = np.random.default_rng(0), optax.adam(0.01), []
    x, labels = rng.standard_normal((24, 6, 5, 1)), rng.integers(0, 3, 24)
    for count in (1, 2, 4):
        epoch = training.make_epoch(Trainer(net, optimizer, batch_size=8, last_batch="drop", gradients=microbatched(count)))
        step = training.make_step(Trainer(net, optimizer, gradients=microbatched(count)))
        ts, metrics = epoch(training.init(Trainer(net, optimizer), KEY, (6, 5, 1)), x, labels)
        ts, one = step(ts, x[:8], labels[:8])
        after.append((ts.params, metrics, one))
    for other in after[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-12), other, after[0])


@pytest.mark.usefixtures("compiled_quickly")
def test_microbatches_refuse_what_they_would_change():
    net, optimizer = fn.serial(fn.dense(4), fn.batch_norm(), fn.dense(2)), optax.sgd(0.1)
    x, labels = np.random.default_rng(0).standard_normal((6, 3)).astype("float32"), np.arange(6) % 2

    def fresh():
        return training.init(Trainer(net, optimizer), KEY, (3,))

    with pytest.raises(ValueError, match=r"^microbatched: expected count=1 for a network with a state.*split_statistics=True"):
        training.make_step(Trainer(net, optimizer, gradients=microbatched(2)))(fresh(), x, labels)
    with pytest.raises(ValueError, match=r"^microbatched: expected a batch that divides into 4 parts, got 6 examples"):
        training.make_step(Trainer(net, optimizer, gradients=microbatched(4, split_statistics=True)))(fresh(), x, labels)
    with pytest.raises(ValueError, match=r"^microbatched: expected count to be a whole number of at least 1, got 0"):
        training.make_step(Trainer(net, optimizer, gradients=microbatched(0)))
    split, _ = training.make_step(Trainer(net, optimizer, gradients=microbatched(2, split_statistics=True)))(fresh(), x, labels)
    assert np.isfinite(split.params[0]["w"]).all()
    assert not np.array_equal(split.state[1]["mean"], fresh().state[1]["mean"])


@pytest.mark.usefixtures("compiled_quickly")
def test_microbatches_draw_other_masks_for_each_part():
    """Equal examples, one in each part, would have equal outputs with equal masks."""
    net, optimizer = fn.serial(fn.dropout(0.5), fn.dense(2)), optax.sgd(0.1)
    step = training.make_step(Trainer(net, optimizer, gradients=microbatched(4), metrics=lambda outputs, targets: {"outputs": outputs}))
    _, metrics = step(training.init(Trainer(net, optimizer), KEY, (64,)), np.ones((4, 64), "float32"), np.zeros(4, "int32"))
    assert len(np.unique(np.asarray(metrics["outputs"])[:, 0])) == 4
