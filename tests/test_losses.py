"""Losses and metrics: value and gradient are PyTorch's, and the gradient is that of the value; at extremes, ties, and with all options."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import funcnn as fn
from funcnn import training

RNG = np.random.default_rng(0)
WEIGHTS = np.asarray([0.5, 2.0, 0.0, 3.0])
LABELS = np.asarray([3, 0, 2, 1, 3, 1])
SOME = np.asarray([3, -7, 2, 1, -7, 1])
IMAGE = RNG.integers(0, 4, (6, 2, 3))
ROWS = RNG.multinomial(16, [0.25] * 4, 6) / 16  # exact in halves
REAL, SHARES = RNG.standard_normal((6, 4)), RNG.random((6, 4))


def functional():
    return pytest.importorskip("torch").nn.functional


def crossed(name="cross_entropy", **options):
    """PyTorch's, with channels first."""

    def loss(z, t):
        given = {**options, "weight": z.new_tensor(options["weight"])} if "weight" in options else options
        return getattr(functional(), name)(z.movedim(-1, 1).contiguous(), t.movedim(-1, 1) if t.ndim == z.ndim else t, **given)

    return loss


def sigmoid_crossed(weight=None):
    return lambda z, t: functional().binary_cross_entropy_with_logits(z, t, pos_weight=weight and z.new_tensor(weight))


class Line(NamedTuple):
    """A loss at its targets, the shape of its outputs, and PyTorch's `(outputs, targets) -> loss`."""

    loss: Any
    targets: np.ndarray
    theirs: Any
    shape: tuple[int, ...] = (6, 4)


CROSS, LIKELY, BINARY = fn.softmax_cross_entropy, fn.negative_log_likelihood, fn.binary_cross_entropy
LOSSES = {
    "cross-entropy": Line(CROSS, LABELS, crossed()),
    "cross-entropy: weights": Line(partial(CROSS, class_weights=WEIGHTS), LABELS, crossed(weight=WEIGHTS)),
    "cross-entropy: ignored": Line(partial(CROSS, ignored_label=-7), SOME, crossed(ignore_index=-7)),
    "cross-entropy: a class ignored": Line(partial(CROSS, ignored_label=1), LABELS, crossed(ignore_index=1)),
    "cross-entropy: everything": Line(
        partial(CROSS, ignored_label=-7, class_weights=[0.5, 2, 0, 3], label_smoothing=0.3),
        SOME,
        crossed(ignore_index=-7, weight=WEIGHTS, label_smoothing=0.3),
    ),
    "cross-entropy: at every position": Line(
        partial(CROSS, ignored_label=2, class_weights=WEIGHTS), IMAGE, crossed(ignore_index=2, weight=WEIGHTS), (*IMAGE.shape, 4)
    ),
    "cross-entropy: rows, weights": Line(
        partial(CROSS, class_weights=WEIGHTS, label_smoothing=0.1), ROWS, crossed(weight=WEIGHTS, label_smoothing=0.1)
    ),
    "cross-entropy: rows at every position": Line(
        CROSS, RNG.multinomial(16, [0.25] * 4, (6, 5)) / 16, crossed(), (6, 5, 4)
    ),
    "likelihood": Line(LIKELY, LABELS, crossed("nll_loss")),
    "likelihood: weights, ignored": Line(
        partial(LIKELY, class_weights=WEIGHTS, ignored_label=-7), SOME, crossed("nll_loss", weight=WEIGHTS, ignore_index=-7)
    ),
    "likelihood: at every position": Line(LIKELY, IMAGE, crossed("nll_loss"), (*IMAGE.shape, 4)),
    "binary": Line(BINARY, SHARES, sigmoid_crossed()),
    "binary: zeros and ones": Line(BINARY, np.round(SHARES), sigmoid_crossed()),
    "binary: one weight": Line(partial(BINARY, positive_weight=2.5), SHARES, sigmoid_crossed(2.5)),
    "binary: weights": Line(partial(BINARY, positive_weight=WEIGHTS), SHARES, sigmoid_crossed(WEIGHTS.tolist())),
    "squared": Line(fn.mean_squared_error, REAL, lambda y, t: functional().mse_loss(y, t)),
    "absolute": Line(fn.mean_absolute_error, REAL, lambda y, t: functional().l1_loss(y, t)),
    "huber": Line(fn.huber, REAL, lambda y, t: functional().huber_loss(y, t)),
    "huber: delta": Line(partial(fn.huber, delta=0.3), REAL, lambda y, t: functional().huber_loss(y, t, delta=0.3)),
    "hinge": Line(fn.hinge, LABELS, lambda z, t: functional().multi_margin_loss(z, t)),
    "hinge: margin": Line(partial(fn.hinge, margin=0.4), LABELS, lambda z, t: functional().multi_margin_loss(z, t, margin=0.4)),
}  # fmt: skip
each_loss = pytest.mark.parametrize("line", LOSSES.values(), ids=LOSSES.keys())
POINTS = {"usual": 1.0, "large": 1e4, "small": 1e-4, "zero": 0.0}


def at(line, scale, dtype="float64"):
    """Outputs, and targets in their dtype where these are no whole numbers."""
    outputs = (scale * np.random.default_rng(1).standard_normal(line.shape)).astype(jnp.dtype(dtype))
    return outputs, line.targets if line.targets.dtype.kind == "i" else line.targets.astype(outputs.dtype)


def by_pytorch(line, outputs, targets):
    torch = pytest.importorskip("torch")
    kind = outputs.dtype.name
    y = torch.tensor(outputs.astype("float64")).to(getattr(torch, kind)).requires_grad_()
    t = torch.tensor(targets.astype("float64")).to(y.dtype) if targets.dtype.kind != "i" else torch.tensor(targets)
    loss = line.theirs(y, t)
    loss.backward()
    return loss.detach().double().numpy(), y.grad.double().numpy()


def close(got, expected, tolerance):
    for g, e in zip(got, expected, strict=True):
        g = np.asarray(g, "float64")
        assert g.shape == e.shape
        assert np.max(abs(g - e)) <= tolerance * (np.max(abs(e)) or 1)


@pytest.mark.peers
@each_loss
@pytest.mark.parametrize("scale", POINTS.values(), ids=POINTS.keys())
@pytest.mark.usefixtures("x64")
def test_value_and_gradient_are_those_of_pytorch(line, scale):
    outputs, targets = at(line, scale)
    expected = by_pytorch(line, outputs, targets)
    close(line.loss(outputs, targets), expected, 1e-10)
    close(jax.jit(line.loss)(jnp.asarray(outputs), targets), expected, 1e-10)


@pytest.mark.peers
@each_loss
@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_are_no_further_from_float64_than_twice_those_of_pytorch(line, scale, dtype):
    outputs, targets = at(line, scale, dtype)
    exact = line.loss(outputs.astype("float64"), targets if targets.dtype.kind == "i" else targets.astype("float64"))
    try:
        theirs = by_pytorch(line, outputs, targets)
    except RuntimeError as error:
        pytest.skip(f"PyTorch has none on a CPU: {error}")
    for got in (line.loss(outputs, targets), jax.jit(line.loss)(jnp.asarray(outputs), targets)):
        for g, p, e in zip(got, theirs, exact, strict=True):
            assert g.dtype.name == dtype
            unit = float(jnp.finfo(dtype).eps) * np.max(abs(e)) + float(jnp.finfo(dtype).smallest_subnormal)
            assert np.max(abs(np.asarray(g, "float64") - e)) <= 2 * np.max(abs(p - e)) + unit


@each_loss
@pytest.mark.usefixtures("x64")
def test_the_gradient_is_that_of_the_value_also_at_ties_and_extremes(line):
    """`jax.grad` of the value; at whole numbers, where outputs are equal, and are at targets, margins and kinks."""
    ours, by_jax = jax.jit(line.loss), jax.jit(jax.value_and_grad(lambda y, t: line.loss(y, t)[0]))
    whole = np.round(REAL) if line.targets is REAL else line.targets
    for scale in (1.0, 1e4, 1e-300, 0.0):
        for outputs in (at(line, scale)[0], np.round(2 * at(line, scale)[0])):
            for targets in (line.targets, whole):
                got = ours(outputs, targets)
                assert all(np.isfinite(part).all() for part in got)
                for g, e in zip(got, by_jax(outputs, targets), strict=True):
                    np.testing.assert_allclose(g, e, rtol=1e-12, atol=1e-15)


def test_the_gradients_at_kinks_are_the_declared_ones():
    y = np.asarray([[0.0, 1.0, -1.0, 3.0]])
    np.testing.assert_array_equal(fn.mean_absolute_error(y, y * 0)[1] * 4, [[0, 1, -1, 1]])
    np.testing.assert_array_equal(fn.huber(y, y * 0)[1] * 4, [[0, 1, -1, 1]])
    np.testing.assert_array_equal(fn.hinge(y, np.asarray([1]))[1] * 4, [[0, -1, 0, 1]])  # the first is at the margin
    np.testing.assert_array_equal(fn.binary_cross_entropy(y[:, :1], y[:, :1])[1], [[0.5]])


def test_an_infinite_score_of_the_label_is_no_nan():
    for own, expected in ((np.inf, 0.0), (-np.inf, np.inf)):
        scores = np.asarray([[0, 1, 2], [own, 1, 0]], "float32")
        loss, dscores = fn.hinge(jnp.asarray(scores), jnp.asarray([2, 0]))
        assert float(loss) == expected
        assert np.isfinite(dscores).all()


def test_far_from_0_a_binary_cross_entropy_keeps_its_digits():
    z = np.asarray([40.0, -40.0, 1e4, -1e4])
    loss, dlogits = fn.binary_cross_entropy(z[:2], np.asarray([1.0, 0.0]))
    np.testing.assert_allclose([loss, *abs(dlogits)], np.exp([-40, -40, -40]) * [1, 0.5, 0.5], rtol=1e-12)
    np.testing.assert_array_equal(fn.binary_cross_entropy(z, np.asarray([0.0, 1.0, 0.0, 1.0]))[0], (40 + 1e4) / 2)


def test_a_likelihood_behind_a_log_softmax_is_the_cross_entropy():
    logits = RNG.standard_normal((6, 2, 3, 4))
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    for options in ({}, {"label_smoothing": 0.2}, {"class_weights": WEIGHTS, "ignored_label": 0}):
        got, (value, dlogits) = fn.negative_log_likelihood(log_p, IMAGE, **options), fn.softmax_cross_entropy(logits, IMAGE, **options)
        np.testing.assert_allclose(got[0], value, rtol=1e-12)
        np.testing.assert_allclose(got[1] - np.exp(log_p) * got[1].sum(-1, keepdims=True), dlogits, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("loss", [CROSS, LIKELY])
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_where_nothing_counts_loss_and_gradient_are_zero(loss, wrap):
    for options in ({"ignored_label": 2}, {"class_weights": (1, 1, 0, 1)}):
        run = wrap(partial(loss, **options))
        value, gradient = run(jnp.asarray(REAL, "float32"), jnp.full(6, 2))
        assert value == 0
        np.testing.assert_array_equal(gradient, np.zeros((6, 4)))


@pytest.mark.parametrize("loss", [CROSS, LIKELY])
def test_what_is_ignored_may_be_anything(loss):
    """Also NaN: the rest is as without it, and `jax.grad` agrees."""
    outputs = REAL.astype("float32")
    outputs[SOME == -7] = [[np.nan, 1, np.inf, -np.inf]]
    got = loss(outputs, SOME, ignored_label=-7)
    kept = loss(outputs[SOME != -7], SOME[SOME != -7])
    np.testing.assert_allclose(got[0], kept[0], rtol=1e-6)
    np.testing.assert_allclose(got[1][SOME != -7], kept[1], rtol=1e-6)
    np.testing.assert_array_equal(got[1][SOME == -7], 0)
    by_jax = jax.grad(lambda z: loss(z, SOME, ignored_label=-7)[0])(jnp.asarray(outputs))
    np.testing.assert_allclose(by_jax, got[1], rtol=1e-5, atol=1e-7)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    k=st.integers(1, 5),
    smoothing=st.sampled_from([0.0, 0.1, 0.9]),
    ignored=st.one_of(st.none(), st.integers(-2, 300)),
    weighted=st.booleans(),
    dtype=st.sampled_from(["int64", "int32", "uint8", "int8"]),
    seed=st.integers(0, 99),
)
def test_any_options_together_are_the_definition_in_plain_numpy(shape, k, smoothing, ignored, weighted, dtype, seed):
    """One position after the other; and NumPy is JAX."""
    rng = np.random.default_rng(seed)
    logits, labels = 3 * rng.standard_normal((*shape, k)), rng.integers(0, k, shape).astype(dtype)
    if ignored is not None and np.iinfo(dtype).min <= ignored <= np.iinfo(dtype).max:
        labels[rng.random(shape) < 0.3] = ignored
    weights = rng.random(k) + 0.1 if weighted else np.ones(k)
    total = counted = 0.0
    for index in np.ndindex(*shape):
        if labels[index] != ignored:
            log_p = logits[index] - np.log(np.exp(logits[index]).sum())
            own = weights[labels[index]]
            total -= (1 - smoothing) * own * log_p[labels[index]] + smoothing / k * (weights * log_p).sum()
            counted += own
    options = {"label_smoothing": smoothing, "class_weights": weights if weighted else None, "ignored_label": ignored}
    got = fn.softmax_cross_entropy(logits, labels, **options)
    np.testing.assert_allclose(got[0], total / counted if counted else 0, rtol=1e-10, atol=1e-12)
    with jax.enable_x64(True):
        again = jax.jit(partial(fn.softmax_cross_entropy, **options))(jnp.asarray(logits), labels)
        slope = jax.jit(jax.grad(lambda z: fn.softmax_cross_entropy(z, labels, **options)[0]))(logits)
    for a, b in zip((*again, slope), (*got, got[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


Z, N = np.zeros((3, 4), "float32"), np.asarray([0, 3, 1])
BAD = {
    "weights too few": (lambda: CROSS(Z, N, class_weights=[1, 2]), "softmax_cross_entropy: expected class_weights of shape (4,), got (2,)"),
    "weights negative": (lambda: CROSS(Z, N, class_weights=[1, -2, 1, 1]), "expected class_weights of at least 0, got -2 among them"),
    "weights NaN": (lambda: CROSS(Z, N, class_weights=np.asarray([1, np.nan, 1, 1])), "class_weights of at least 0, got nan among them"),
    "weights of text": (lambda: CROSS(Z, N, class_weights="abcd"), "expected class_weights to be an array or list of numbers, got 'abcd'"),
    "weights ragged": (lambda: CROSS(Z, N, class_weights=[1, [2]]), "class_weights to be an array or list of numbers, got [1, [2]]"),
    "ignored of rows": (lambda: CROSS(Z, Z + 0.25, ignored_label=1), "where one of them is ignored, got labels of shape (3, 4)"),
    "ignored no number": (lambda: CROSS(Z, N, ignored_label=1.0), "expected ignored_label to be a whole number"),
    "ignored too large": (lambda: CROSS(Z, N, ignored_label=2**40), "expected ignored_label to be below 2**31, got 1099511627776"),
    "out of range": (lambda: CROSS(Z, np.asarray([0, 9, 4]), ignored_label=9), "expected labels in [0, 4) or 9, got 4 among them"),
    "labels of an image": (lambda: LIKELY(Z, N[:, None]), "negative_log_likelihood: expected labels of shape (3, 4), got (3, 1)"),
    "labels of a position": (
        lambda: LIKELY(Z[None], N), "expected labels of shape (1, 3, 4), got (3,); or whole numbers of shape (N, ...)"
    ),
    "no positions": (lambda: CROSS(Z[:, :0, None], N[:, None]), "expected at least one example, got logits of shape (3, 0, 1)"),
    "one axis": (lambda: LIKELY(Z[0], N), "negative_log_likelihood: expected log_p of shape (N, ..., K), got (4,)"),
    "targets too large": (lambda: BINARY(Z, Z + 2), "binary_cross_entropy: expected targets in [0, 1], got 2.0 among them"),
    "targets of labels": (lambda: BINARY(Z, N), "binary_cross_entropy: expected targets of a floating-point dtype, got int64"),
    "targets of another shape": (lambda: BINARY(Z[:, :1], Z[:, 0]), "binary_cross_entropy: expected targets of shape (3, 1), got (3,)"),
    "weight negative": (lambda: BINARY(Z, Z, positive_weight=-1), "binary_cross_entropy: expected positive_weight at least 0, got -1"),
    "weights of three": (lambda: BINARY(Z, Z, positive_weight=[1, 2, 3]), "expected positive_weight of shape (4,), got (3,)"),
    "delta": (lambda: fn.huber(Z, Z, delta=0), "huber: expected delta above 0, got 0"),
    "no entries": (lambda: fn.huber(Z[:0], Z[:0]), "huber: expected at least one entry, got outputs of shape (0, 4)"),
    "margin": (lambda: fn.hinge(Z, N, margin=-1), "hinge: expected margin above 0, got -1"),
    "hinge of rows": (lambda: fn.hinge(Z, Z + 0.25), "hinge: expected labels of shape (3,), got (3, 4)"),
    "a list": (lambda: fn.hinge(Z, [0, 1, 2]), "hinge: expected labels to be a NumPy or JAX array, got list"),
    "scores of whole numbers": (lambda: fn.hinge(Z.astype(int), N), "hinge: expected scores of a floating-point dtype, got int64"),
    "k too large": (lambda: fn.top_k_accuracy(Z, N), "top_k_accuracy: expected k of at most the 4 classes, got 5"),
    "no example": (lambda: fn.accuracy(Z[:0], N[:0]), "accuracy: expected at least one example, got logits of shape (0, 4)"),
    "no class": (lambda: fn.accuracy(Z[:, :0], N), "accuracy: expected at least one example, got logits of shape (3, 0)"),
    "no example of k": (lambda: fn.top_k_accuracy(Z[:0], N[:0], 1, ignored_label=2), "top_k_accuracy: expected at least one example, got"),
    "k zero": (lambda: fn.top_k_accuracy(Z, N, 0), "top_k_accuracy: expected k to be a whole number of at least 1, got 0"),
    "ignored of accuracy": (lambda: fn.accuracy(Z, Z, ignored_label=1), "accuracy: expected labels of whole numbers where one of them"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_right_is_named(make, message):
    with pytest.raises((ValueError, TypeError)) as caught:
        make()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_traced_values_that_cannot_be_right_poison_the_result():
    for loss, targets in ((partial(CROSS, ignored_label=9), N + 2), (LIKELY, N - 1), (fn.hinge, N + 1), (BINARY, Z + np.eye(3, 4) * 1.5)):
        for part in jax.jit(loss)(Z, jnp.asarray(targets, Z.dtype if targets.ndim == 2 else None)):
            assert np.isnan(part).any()
    assert np.isnan(jax.jit(lambda w: CROSS(Z, N, class_weights=w)[0])(np.asarray([1, -1, 1, 1], "float32")))


# Metrics


def test_accuracies_are_what_sorting_says_and_ties_go_to_the_first():
    rng = np.random.default_rng(0)
    for shape in ((50, 7), (5, 3, 4, 7)):
        logits, labels = rng.integers(0, 4, shape).astype("float32"), rng.integers(0, 7, shape[:-1])
        order = np.argsort(-logits, axis=-1, kind="stable")
        for k in range(1, 8):
            expected = (order[..., :k] == labels[..., None]).any(-1).mean()
            for got in (fn.top_k_accuracy(logits, labels, k), jax.jit(fn.top_k_accuracy, static_argnums=2)(logits, labels, k)):
                np.testing.assert_allclose(got, expected, rtol=1e-6)
            half = logits.astype("bfloat16"), np.eye(7)[labels]
            np.testing.assert_allclose(fn.top_k_accuracy(*half, k), expected, rtol=1e-6)
        np.testing.assert_array_equal(fn.top_k_accuracy(logits, labels, 1), fn.accuracy(logits, labels))
        for metric in (partial(fn.top_k_accuracy, k=2), fn.accuracy):
            kept = labels != 3
            expected = metric(logits[kept], labels[kept])
            for wrap in (lambda f: f, jax.jit):
                np.testing.assert_allclose(wrap(partial(metric, ignored_label=3))(logits, labels), expected, rtol=1e-6)
                assert wrap(partial(metric, ignored_label=3))(logits, labels * 0 + 3) == 0


def test_a_nan_or_an_infinity_never_makes_a_hit():
    nan, inf = np.nan, np.inf
    logits = np.asarray([[nan, 1, 2], [0, nan, 2], [nan, nan, nan], [-inf, -inf, -inf], [inf, 0, inf], [0, 1, 2]])
    for k, expected in ((1, [0, 0, 0, 0, 0, 0]), (2, [0, 1, 0, 0, 1, 0]), (3, [0, 1, 0, 1, 1, 0])):
        got = [fn.top_k_accuracy(logits[i : i + 1], np.asarray([label]), k) for i, label in enumerate([0, 2, 1, 2, 2, 5])]
        np.testing.assert_array_equal(got, expected)


# In training


@pytest.mark.usefixtures("optax_promotes", "compiled_quickly")
def test_a_loss_with_options_trains_and_its_accuracy_ignores_what_it_ignores():
    """Two labels of three at every position, the third ignored: learned from what is there."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((32, 4, 5, 2)).astype("float32")
    labels = np.where(rng.random(x.shape[:3]) < 0.3, 255, (x[..., 0] > x[..., 1]).astype("int32")).astype("uint8")
    loss = partial(fn.softmax_cross_entropy, ignored_label=255, class_weights=(1.0, 2.0, 1.0))
    assert hash(loss)
    assert "class_weights=(1.0, 2.0, 1.0)" in repr(loss)
    trainer = training.Trainer(fn.conv(3, (1, 1)), optax.adam(0.1), batch_size=8, loss=loss)
    epoch, ts = training.make_epoch(trainer), training.init(trainer, jax.random.key(0), x.shape[1:])
    for _ in range(10):
        ts, metrics = epoch(ts, x, labels)
    assert metrics["accuracy"].mean() > 0.95
    measured = training.make_evaluate(trainer)(ts.params, ts.state, x, labels)
    outputs = trainer.net.apply(ts.params, ts.state, x)[0]
    np.testing.assert_allclose(measured["accuracy"], fn.accuracy(outputs, labels, ignored_label=255), rtol=1e-5)
    assert training.Trainer(fn.relu, None, loss=fn.hinge).measure(outputs, labels)["accuracy"] < 0.8
    for other, targets in ((fn.huber, x), (fn.binary_cross_entropy, x), (fn.mean_absolute_error, x)):
        assert trainer._replace(loss=other).measure(x, targets) == {}
