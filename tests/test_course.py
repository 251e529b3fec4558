"""The course of a training: the events of `fit`, and what a trained network says."""

from itertools import islice

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcnn as fn
from funcnn import training
from funcnn.training import Trainer, fit, predict, stop_early
from tests.test_training import KEY, LABELS, NET, X, same

pytestmark = pytest.mark.usefixtures("optax_promotes", "compiled_quickly")


class Unhashable:
    """As a dataclass is that is not frozen."""

    __hash__ = None

    def __call__(self, *_):
        return {}


TRAINER = Trainer(NET, optax.adam(1e-2), batch_size=5, evaluation_batch=4)
DATA = X, LABELS


def test_the_events_are_the_epochs_and_their_evaluations():
    events = list(fit(TRAINER, DATA, epochs=3, key=KEY, validation=(X[:7], LABELS[:7])))
    assert [(e.kind, e.epoch) for e in events] == [(kind, i) for i in (1, 2, 3) for kind in ("epoch", "evaluation")]
    epoch, evaluate = training.make_epoch(TRAINER), training.make_evaluate(TRAINER)
    ts = training.init(TRAINER, KEY, X.shape[1:])
    for trained, evaluated in zip(events[::2], events[1::2], strict=True):
        ts, metrics = epoch(ts, *DATA)
        assert same(trained.train_state, ts)
        assert trained.train_state is evaluated.train_state
        assert {name: values.shape for name, values in trained.steps.items()} == {"loss": (4,), "accuracy": (4,)}
        for name, values in metrics.items():
            np.testing.assert_array_equal(trained.steps[name], values)
            assert trained.metrics[name] == float(values.mean())
        assert evaluated.metrics == {name: float(v) for name, v in evaluate(ts.params, ts.state, X[:7], LABELS[:7]).items()}
        assert evaluated.steps == {}
        assert trained.seconds > 0 < evaluated.seconds
        assert repr(trained).startswith(f"epoch {trained.epoch}: ")
        assert f"loss {trained.metrics['loss']:.4f}" in repr(trained)


def test_nothing_is_printed_and_whoever_leaves_the_loop_stops_the_training(capsys):
    calls = []
    trainer = TRAINER._replace(metrics=lambda y, t: jax.debug.callback(lambda: calls.append(1)) or {})
    assert [e.epoch for e in islice(fit(trainer, DATA, epochs=1000, key=KEY), 2)] == [1, 2]
    jax.effects_barrier()
    assert len(calls) == 2 * 4
    assert capsys.readouterr() == ("", "")


def test_every_event_keeps_its_state():
    """Where a step of `make_epoch` donates it."""
    events = list(fit(TRAINER, DATA, epochs=3, key=KEY))
    assert [int(e.train_state.step) for e in events] == [4, 8, 12]
    assert not same(events[0].train_state.params, events[1].train_state.params)


def test_a_training_that_goes_on_is_the_whole_one():
    whole = list(fit(TRAINER, DATA, epochs=4, key=KEY))
    rest = list(fit(TRAINER, DATA, epochs=4, train_state=jax.tree.map(jnp.asarray, fn.to_numpy(whole[1].train_state))))
    assert [e.epoch for e in rest] == [3, 4]
    assert same(rest[-1].train_state, whole[-1].train_state)
    assert list(fit(TRAINER, DATA, epochs=4, train_state=whole[-1].train_state)) == []


def test_a_trainer_compiles_once_for_any_number_of_epochs():
    traced = []
    trainer = TRAINER._replace(metrics=lambda y, t: traced.append(1) or {})
    for epochs in (1, 2, 3, 2):
        list(fit(trainer, DATA, epochs=epochs, key=KEY))
    assert len(traced) == 1


def test_what_is_no_mean_of_numbers_stays_out_of_the_metrics():
    """A monitor's number has a value at some steps alone, and what has several numbers is in the steps."""
    watched = training.Monitor(3, lambda net, loss, params, state, x, targets, key: {"norm": jnp.sqrt((x**2).sum())})
    trainer = TRAINER._replace(monitor=watched, metrics=lambda y, t: {"each class": y.mean(0), "least": y.min()})
    epoch, evaluation = fit(trainer, DATA, epochs=1, key=KEY, validation=DATA)
    assert set(epoch.metrics) == set(evaluation.metrics) == {"loss", "least"}
    assert epoch.steps["each class"].shape == (4, 3)
    np.testing.assert_array_equal(np.isfinite(epoch.steps["norm"]), [True, False, False, True])
    (single,) = fit(trainer._replace(batch_size=22), DATA, epochs=1, key=KEY)
    assert set(single.metrics) == {"loss", "least", "norm"}, "of one step, which the monitor has seen"


def test_a_schedule_is_told_the_steps_of_the_whole_training():
    told = []

    def decaying(steps):
        told.append(steps)
        return optax.sgd(optax.linear_schedule(0.5, 0.0, steps))

    for _ in range(2):
        *_, last = fit(TRAINER._replace(optimizer=decaying), DATA, epochs=3, key=KEY)
    assert told == [12], "once for every trainer and number of steps: what is compiled is used again"
    optimizer = optax.sgd(optax.linear_schedule(0.5, 0.0, 12))
    *_, expected = fit(TRAINER._replace(optimizer=optimizer), DATA, epochs=3, key=KEY)
    assert same(last.train_state.params, expected.train_state.params)
    with pytest.raises(TypeError, match=r"^training: expected an optimizer of optax.* got a function; Trainer.for_steps says"):
        training.make_step(TRAINER._replace(optimizer=decaying))
    assert training.make_step(TRAINER._replace(optimizer=decaying).for_steps(12))


@pytest.mark.parametrize(
    ("metric", "best", "values", "epochs"),
    [
        ("loss", "smallest", [3, 2, 2.5, 2, 1, 0], 4),
        ("loss", "smallest", [3, 2, 2.5, 1, 1, 1, 0], 6),
        ("accuracy", "largest", [0.1, 0.3, 0.2, 0.3], 4),
        ("loss", "smallest", [3, float("nan"), float("nan"), 1], 3),
    ],
)
def test_stopping_early_waits_as_long_as_it_is_told(metric, best, values, epochs):
    def events():
        for i, value in enumerate(values):
            yield training.Event("epoch", i + 1, {}, None, 0.0)
            yield training.Event("evaluation", i + 1, {metric: value}, None, 0.0)

    seen = list(stop_early(events(), patience=2, metric=metric, best=best))
    assert seen[-1].epoch == epochs
    assert len(seen) == 2 * epochs


def test_inputs_and_targets_may_be_trees():
    """Two inputs, two heads, a loss for each, with every kind of program."""

    def init(key, in_shape):
        return {"w": jnp.ones((*in_shape["a"], 3)), "v": jnp.ones((*in_shape["b"], 1))}, ()

    def forward(params, state, x, *, key=None, train=False):
        y = x["a"] @ params["w"] + x["b"] @ params["v"], x["b"] @ params["v"]
        return y, state, x

    def backward(x, dy):
        dparams = {"w": x["a"].T @ dy[0], "v": x["b"].T @ (dy[0].sum(1, keepdims=True) + dy[1])}
        return dparams, jax.tree.map(jnp.zeros_like, x)

    def loss(y, targets):
        (first, dfirst), (second, dsecond) = fn.softmax_cross_entropy(y[0], targets[0]), fn.mean_squared_error(y[1], targets[1])
        return first + second, (dfirst, dsecond)

    net, rng = fn.Layer("two", init, forward, backward), np.random.default_rng(0)
    x = {"a": rng.standard_normal((12, 4), "float32"), "b": rng.standard_normal((12, 2), "float32")}
    targets = (np.arange(12) % 3, rng.standard_normal((12, 1), "float32"))
    ends = []
    for gradients in ("manual", "auto", training.microbatched(2), training.microbatched(2, "auto")):
        trainer = Trainer(net, optax.sgd(0.1), batch_size=4, loss=loss, gradients=gradients, evaluation_batch=5)
        *_, trained, evaluated = fit(trainer, (x, targets), epochs=3, key=KEY, validation=(x, targets))
        params = trained.train_state.params
        y = net.apply(params, (), x)[0]
        np.testing.assert_allclose(evaluated.metrics["loss"], loss(y, targets)[0], rtol=1e-5)
        assert set(evaluated.metrics) == {"loss"}
        ends.append(params)
        outputs = predict(net, params, (), x, answer="outputs", batch_size=5)
        assert [a.shape for a in outputs] == [(12, 3), (12, 1)]
        np.testing.assert_allclose(outputs[1], y[1], rtol=1e-5, atol=1e-6)
    for other in ends[1:]:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), other, ends[0])
    with pytest.raises(
        ValueError, match=r"^training: expected as many targets as examples, at least one, got arrays of \[12, 12, 12, 11\]$"
    ):
        list(fit(trainer, (x, (targets[0], targets[1][1:])), epochs=1, key=KEY))


def test_a_regression_is_told_no_accuracy():
    targets = X.reshape(22, -1)[:, :1]
    trainer = Trainer(fn.serial(fn.flatten, fn.dense(1)), optax.sgd(0.1), batch_size=11, loss=fn.mean_squared_error)
    for event in fit(trainer, (X, targets), epochs=1, key=KEY, validation=(X, targets)):
        assert set(event.metrics) == {"loss"}
    assert trainer._replace(loss=lambda y, t: fn.mean_squared_error(y, t)).measure(targets, LABELS) == {}, "whole numbers, but one output"
    one_hot = np.eye(3, dtype="float32")[LABELS]
    for loss in (fn.softmax_cross_entropy, lambda y, t: fn.softmax_cross_entropy(y, t)):
        for labels in (LABELS, one_hot):
            measured = TRAINER._replace(loss=loss).measure(one_hot, labels)
            assert measured == ({"accuracy": 1} if loss is fn.softmax_cross_entropy or labels is LABELS else {})


def test_a_plain_loss_is_made_a_pair_or_refused_in_one_sentence():
    plain = optax.softmax_cross_entropy_with_integer_labels
    trained = [
        list(fit(TRAINER._replace(loss=loss), DATA, epochs=1, key=KEY)) for loss in (fn.with_gradient(plain), fn.softmax_cross_entropy)
    ]
    np.testing.assert_allclose(*(events[0].metrics["loss"] for events in trained), rtol=1e-5)
    for call in (training.make_step, training.make_epoch):
        trainer = TRAINER._replace(loss=plain)
        with pytest.raises(
            TypeError, match=r"expected a loss to return \(mean loss, doutputs\), got an array of shape \(\d+,\); make the pair"
        ):
            call(trainer)(training.init(trainer, KEY, X.shape[1:]), *DATA)
    with pytest.raises(TypeError, match=r"expected its doutputs to be a tree like outputs"):
        list(fit(TRAINER._replace(loss=lambda y, t: (y.sum(), (y, y))), DATA, epochs=1, key=KEY))


def test_labels_of_bytes_and_images_of_bytes_train():
    to_float = fn.stateless("to_float", lambda params, x: (x.astype("float32") / 255, ()), lambda empty, dy: ((), dy / 255))
    trainer = TRAINER._replace(net=fn.serial(to_float, *NET.layers))
    images = np.random.default_rng(0).integers(0, 256, X.shape, "uint8")
    *_, last = fit(trainer, (images, LABELS.astype("uint8")), epochs=2, key=KEY, validation=(images, LABELS))
    assert np.isfinite(last.metrics["loss"])


def test_an_ensemble_trains_at_once_as_one_by_one():
    trainer = Trainer(fn.serial(fn.flatten, fn.dense(3)), optax.sgd(0.1), batch_size=5)
    epoch, keys = training.make_epoch(trainer), jax.vmap(jax.random.key)(jnp.arange(3))
    states, _ = jax.jit(jax.vmap(lambda ts: epoch(ts, X, LABELS)))(jax.vmap(lambda key: training.init(trainer, key, X.shape[1:]))(keys))
    for i in range(3):
        (alone,) = fit(trainer, DATA, epochs=1, key=keys[i])
        np.testing.assert_allclose(states.params[1]["w"][i], alone.train_state.params[1]["w"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: fit(TRAINER, DATA, epochs=1),
            "training: expected either key, for .*, or train_state, to go on, got neither",
        ),
        (lambda: fit(TRAINER, DATA, epochs=0, key=KEY), "training: expected epochs to be a whole number of at least 1, got 0"),
        (lambda: fit(TRAINER, X, epochs=1, key=KEY), r"training: expected data to be a pair \(x, targets\), got ndarray"),
        (lambda: fit(TRAINER, (*DATA, LABELS), epochs=1, key=KEY), r"training: expected data to be a pair \(x, targets\), got tuple of 3"),
        (lambda: fit(TRAINER, DATA, epochs=1, key=KEY, validation=X), "training: expected validation to be a pair"),
        (lambda: fit(NET, DATA, epochs=1, key=KEY), r"training: expected a training.Trainer\(net, optimizer, ...\), got Layer"),
        (
            lambda: fit(TRAINER._replace(batch_size=99), DATA, epochs=1, key=KEY),
            "training: expected at least one batch of 99, got 22",
        ),
        (
            lambda: fit(TRAINER._replace(batch_size=0), DATA, epochs=1, key=KEY),
            "training: expected batch_size to be a whole number .* got 0",
        ),
        (
            lambda: fit(TRAINER._replace(batch_size="5"), DATA, epochs=1, key=KEY),
            "training: expected batch_size to be a whole number .* got '5'",
        ),
        (
            lambda: fit(TRAINER, DATA, epochs=1, train_state=((), ())),
            "training: expected train_state to be a training.TrainState, got tuple",
        ),
        (
            lambda: fit(
                TRAINER, DATA, epochs=1, train_state=training.make_step(TRAINER)(training.init(TRAINER, KEY, X.shape[1:]), *DATA)[0]
            ),
            "training: expected train_state at the end of an epoch of 4 steps, got it at step 1",
        ),
        (
            lambda: fit(TRAINER._replace(metrics=Unhashable()), DATA, epochs=1, key=KEY),
            "training: expected metrics to be hashable, as programs are kept for it, got Unhashable",
        ),
        (
            lambda: list(fit(TRAINER._replace(metrics=lambda y, t: {"loss": 7.0}), DATA, epochs=1, key=KEY)),
            r"training: expected metrics to return a dict without 'loss', which is there already, got \['loss'\]",
        ),
        (
            lambda: list(stop_early(fit(TRAINER, DATA, epochs=9, key=KEY), patience=1)),
            "stop_early: expected an evaluation after every epoch",
        ),
        (
            lambda: predict(NET, (), (), X.tolist()),
            "predict: expected x to be a NumPy or JAX array of examples, or a tree of such, got list",
        ),
        (lambda: predict(NET, (), (), (X, X[:3])), "predict: expected at least one example, as many in each array, got 3, 22"),
        (lambda: predict(NET, (), (), X, views=lambda x: x), "predict: expected views to be a list of functions of a batch, got <function"),
        (
            lambda: fit(Trainer(NET, optax.adam, 5), DATA, epochs=1, key=KEY),
            "training: .* got optax.adam itself; call it",
        ),
        (
            lambda: fit(Trainer(NET, 3e-3, 5), DATA, epochs=1, key=KEY),
            "training: expected an optimizer .* got 0.003",
        ),
        (lambda: training.microbatched(2, "numeric"), 'microbatched: expected gradients "manual", "auto" or .*, got \'numeric\''),
        (lambda: training.make_step(NET), r"training: expected a training.Trainer\(net, optimizer, ...\), got Layer"),
        (lambda: training.make_step(Trainer(fn.dense, optax.sgd(0.1))), "training: expected net to be a layer, such as .*, got function"),
        (lambda: training.make_step(Trainer(NET, 0.1)), r"training: expected an optimizer of optax, such as optax.adam\(1e-3\), got float"),
        (lambda: training.make_step(TRAINER._replace(loss=None)), r"training: expected loss to be a function \(outputs, targets\) -> "),
        (
            lambda: training.make_step(TRAINER._replace(monitor=50)),
            "training: expected monitor to be a training.Monitor, .*, got 50",
        ),
        (lambda: stop_early([], patience=0), "stop_early: expected patience to be a whole number of at least 1, got 0"),
        (lambda: stop_early([], patience=1, best="lowest"), "stop_early: expected best .*, got 'lowest'"),
        (
            lambda: list(stop_early(fit(TRAINER, DATA, epochs=1, key=KEY, validation=DATA), patience=1, metric="top5")),
            r"stop_early: expected a metric of the evaluation, one of \['accuracy', 'loss'\], got 'top5'",
        ),
        (lambda: predict(NET, (), (), X, answer="logits"), 'predict: expected answer "classes", "probabilities" or "outputs", got'),
        (lambda: predict(NET, (), (), X[:0]), "predict: expected at least one example, as many in each array, got 0"),
        (lambda: predict(NET, (), (), X, batch_size=0), "predict: expected batch_size to be a whole number of at least 1, got 0"),
    ],
)
def test_what_cannot_be_is_refused_at_once(call, words):
    with pytest.raises((TypeError, ValueError), match=f"^{words}"):
        call()
