"""What cannot be right is refused at once, in one sentence: the layer, what was expected, what came."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import funcnn as fn
from funcnn import losses
from funcnn.combinators import calls

IMAGES = np.ones((2, 6, 5, 3), "float32")


def run(layer, x=IMAGES, **options):
    params, state = layer.init(jax.random.key(0), x.shape[1:])
    return layer.apply(params, state, x, **options)


three_by_three_only = fn.convolution.direct._replace(name="picky", supports=lambda geometry: all(a.window == 3 for a in geometry.axes))

OPTIONS = {
    "kernel without axes": (lambda: fn.conv(4, 3), "conv: expected a window size per spatial axis, such as (3, 3), got 3"),
    "kernel zero": (lambda: fn.conv(4, (3, 0)), "conv: expected every window size to be a whole number of at least 1, got 0"),
    "no features": (lambda: fn.conv(0, (3, 3)), "conv: expected features to be a whole number of at least 1, got 0"),
    "features of another kind": (lambda: fn.dense(2.5), "dense: expected features to be a whole number of at least 1, got 2.5"),
    "stride zero": (lambda: fn.conv(4, (3, 3), stride=0), "conv: expected every stride to be a whole number of at least 1, got 0"),
    "stride negative": (
        lambda: fn.max_pool((2, 2), stride=(1, -1)),
        "max_pool: expected every stride to be a whole number of at least 1, got -1",
    ),
    "strides too many": (
        lambda: fn.conv(4, (3, 3), stride=(1, 1, 1)),
        "conv: expected one stride per spatial axis, that is 2, got (1, 1, 1)",
    ),
    "dilation zero": (lambda: fn.conv(4, (3, 3), dilation=0), "conv: expected every dilation to be a whole number of at least 1, got 0"),
    "groups and features": (lambda: fn.conv(4, (3, 3), groups=3), "conv: expected features to be a multiple of the 3 groups, got 4"),
    "groups and channels": (
        lambda: fn.conv(4, (3, 3), groups=2).init(jax.random.key(0), (6, 5, 3)),
        "conv: expected input channels in a multiple of the 2 groups, got in_shape (6, 5, 3)",
    ),
    "groups zero": (lambda: fn.conv(4, (3, 3), groups=0), "conv: expected groups to be a whole number of at least 1, got 0"),
    "padding unknown": (lambda: fn.conv(4, (3, 3), padding="FULL"), 'conv: expected padding "SAME", "VALID", "SAME_LOWER", a whole'),
    "padding negative": (lambda: fn.conv(4, (3, 3), padding=-1), "pairs (low, high), got -1"),
    "padding of one axis": (lambda: fn.avg_pool((2, 2), padding=((1, 1),)), "avg_pool: expected padding"),
    "padding True": (lambda: fn.conv(4, (3, 3), padding=True), "got True"),
    "window zero": (lambda: fn.max_pool((0, 2)), "max_pool: expected every window size to be a whole number of at least 1, got 0"),
    "ties unknown": (lambda: fn.max_pool((2, 2), ties="last"), 'max_pool: expected ties "first" or "split", got \'last\''),
    "rate zero": (
        lambda: fn.dropout(0),
        "dropout: expected rate strictly between 0 and 1, the share dropped (for none, fn.identity), got 0",
    ),
    "rate negative": (lambda: fn.dropout(-0.1), "fn.identity), got -0.1"),
    "rate one": (lambda: fn.dropout(1.0), "fn.identity), got 1.0"),
    "momentum": (
        lambda: fn.batch_norm(momentum=1.0),
        "batch_norm: expected momentum in [0, 1), the share of the running value kept, got 1.0",
    ),
    "epsilon": (lambda: fn.batch_norm(epsilon=0), "batch_norm: expected epsilon above 0, got 0"),
    "merge unknown": (
        lambda: fn.parallel(fn.relu, merge="mean"),
        'parallel: expected merge "sum", "concatenate" or "multiply", got \'mean\'',
    ),
    "no branches": (lambda: fn.parallel(), "parallel: expected at least one layer, got none"),
    "window over input": (
        lambda: run(fn.conv(4, (7, 3), padding="VALID")),
        "windows that reach over (7, 3) on a padded input of (6, 5); pad it",
    ),
    "pool over input": (lambda: run(fn.max_pool((2, 6))), "max_pool: expected an input at least as large as the window"),
    "dilated over input": (
        lambda: run(fn.conv(4, (3, 3), dilation=4, padding=1)),
        "windows that reach over (9, 9) on a padded input of (8, 7)",
    ),
    "window of padding": (
        lambda: run(fn.max_pool((2, 2), padding=2)),
        "max_pool: expected windows that hold some of x, got one of nothing but padding",
    ),
    "algorithm": (lambda: run(fn.conv(4, (2, 3), algorithm=three_by_three_only)), "conv: algorithm 'picky' does not support Geometry"),
    "no key": (lambda: run(fn.dropout(0.5), train=True), "dropout: expected one random key, got none; pass key=jax.random.key(seed)"),
    "key a number": (lambda: run(fn.dropout(0.5), train=True, key=0), "dropout: expected one random key, got 0"),
    "keys": (
        lambda: run(fn.dropout(0.5), train=True, key=jax.random.split(jax.random.key(0))),
        "dropout: expected one random key, got an array of shape (2,)",
    ),
    "key of a network": (lambda: run(fn.serial(fn.relu), key=7), "serial: expected one random key, got 7; pass key=jax.random.key(seed)"),
    "key of init": (lambda: fn.serial(fn.relu).init(7, (3,)), "serial: expected one random key, got 7"),
    "bias of text": (lambda: fn.conv(4, (3, 3), bias="no"), "conv: expected bias to be True or False, got 'no'"),
    "bias a layer": (lambda: fn.conv_transpose(4, (3, 3), bias=fn.relu), "conv_transpose: expected bias to be True or False, got relu"),
    "algorithm by name": (lambda: fn.conv(4, (3, 3), algorithm="direct"), "conv: expected algorithm to be one of fn.convolution"),
    "residuals of another": (lambda: fn.serial(fn.relu).backward((), IMAGES), "serial: expected residuals to be a tuple of 1 entries"),
    "labels of accuracy": (lambda: fn.accuracy(IMAGES[0, 0], np.zeros((5, 1))), "accuracy: expected labels of shape (5, 3), got (5, 1)"),
    "key of one layer": (lambda: fn.dense(3).init(0, (3,)), "dense: expected one random key, got 0"),
    "no shape, no params": (
        lambda: fn.serial(fn.relu).init(jax.random.key(0), 5),
        "serial: expected in_shape to be the shape of one example, a tuple, got int",
    ),
    "no shape": (
        lambda: fn.dense(3).init(jax.random.key(0), 5),
        "dense: expected in_shape to be the shape of one example, a tuple, got int",
    ),
    "size zero": (
        lambda: run(fn.conv(3, (3, 3)), IMAGES[..., :0]),
        "conv: expected every size of in_shape to be a whole number of at least 1",
    ),
    "rate text": (lambda: fn.dropout("0.5"), "dropout: expected rate strictly between 0 and 1"),
    "padding array": (lambda: fn.conv(3, (3, 3), padding=np.ones(2)), "conv: expected padding"),
    "four axes": (lambda: run(fn.conv(3, (1, 1, 1, 1))), "conv: expected in_shape of shape (S0, S1, S2, S3, C), got (6, 5, 3)"),
    "no entries": (lambda: fn.mean_squared_error(IMAGES[:0], IMAGES[:0]), "mean_squared_error: expected at least one entry"),
    "one value": (
        lambda: run(fn.batch_norm(), np.ones((1, 3)), train=True),
        "expected more than one value per channel in training, got x of shape (1, 3)",
    ),
    "not flat": (lambda: run(fn.dense(4)), "dense: expected in_shape of shape (D,), got (6, 5, 3); put fn.flatten before it"),
    "branches that do not fit": (
        lambda: run(fn.residual(fn.conv(4, (3, 3)))),
        "residual: expected outputs that fit together for merge='sum', got shapes",
    ),
}


@pytest.mark.parametrize(("make", "message"), OPTIONS.values(), ids=OPTIONS.keys())
def test_a_wrong_option_or_use_is_named(make, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        make()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_the_messages_are_the_same_while_tracing(wrap):
    layer = fn.conv(4, (3, 3))
    params, state = layer.init(jax.random.key(0), (6, 5, 3))
    apply = wrap(lambda x: layer.apply(params, state, x))
    for x, message in (
        (IMAGES[0], r"conv: expected x of shape \(N, H, W, 3\), got \(6, 5, 3\); x\[None\] makes it a batch of one example"),
        (IMAGES[..., :2], r"conv: expected x of shape \(N, H, W, 3\), got \(2, 6, 5, 2\); x has 2 channels, the params are for 3(?m:$)"),
        (IMAGES.transpose(0, 3, 1, 2), r"got \(2, 3, 6, 5\); channels come last; x.transpose\(0, 2, 3, 1\)(?m:$)"),
        (IMAGES[..., 0], r"conv: expected x of shape \(N, H, W, 3\), got \(2, 6, 5\)(?m:$)"),
        (IMAGES.astype("uint8"), r"conv: expected x of a floating-point dtype, got uint8; convert it"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            apply(x)
    with pytest.raises(TypeError, match=r"conv: expected x to be a NumPy or JAX array, got list"):
        layer.apply(params, state, IMAGES.tolist())


def test_the_fix_for_axes_that_do_not_fit_is_the_right_one():
    grey, key = fn.conv(4, (3, 3)), jax.random.key(0)
    for layer, shape, x, fix in (
        (grey, (6, 5, 1), IMAGES[..., 0], r"channels come last; x\[..., None\] adds them"),
        (fn.dense(3), (5,), IMAGES, r"put fn.flatten before it"),
        (fn.dense(3), (5,), IMAGES[0, 0], r"x has 3 features, the params are for 5"),
        (fn.dense(3), (5,), IMAGES[0, 0, :, 0], r"x\[None\] makes it a batch of one example"),
        (fn.batch_norm(), (6, 5, 3), IMAGES.transpose(0, 3, 1, 2), r"channels come last; x.transpose\(0, 2, 3, 1\)"),
        (fn.max_pool((2, 2)), (6, 5, 3), IMAGES[0], r"channels come last; x\[..., None\] adds them, x\[None\] the axis of examples"),
    ):
        with pytest.raises(ValueError, match=rf"^{layer.name}: expected x of shape .*, got .*; {fix}$"):
            layer.apply(*layer.init(key, shape), x)
    for x, got in (([1.0], "list"), (1.0, "float"), (np.float32(1), "float32")):
        with pytest.raises(TypeError, match=rf"relu: expected x to be a NumPy or JAX array, got {got}; convert it, np.asarray"):
            fn.relu.apply((), (), x)


def test_what_a_function_of_a_layer_returns_is_named():
    def plain(params, state, x, *, key=None, train=False):
        return x, x

    no_pair = fn.stateless("swish", lambda params, x: x / (1 + np.exp(-x)), lambda r, dy: ((), dy))
    no_gradient = fn.stateless("swish", lambda params, x: (x, x), lambda r, dy: dy)
    no_residuals = fn.Layer("mine", lambda key, in_shape: ((), ()), plain, lambda r, dy: ((), dy))
    only_params = no_residuals._replace(init=lambda key, in_shape: {"w": np.ones(3), "b": np.ones(3)})
    forward = r"expected forward to return \(y, state, residuals\), got a tuple of 2"
    for make, message in (
        (
            lambda: no_pair.apply((), (), IMAGES),
            r"swish: expected forward to return \(y, residuals\), got an array of shape \(2, 6, 5, 3\)",
        ),
        (lambda: no_residuals.apply((), (), IMAGES), "mine: " + forward),
        (lambda: fn.serial(no_residuals).apply(((),), ((),), IMAGES), "mine: " + forward),
        (lambda: fn.parallel(no_residuals).apply(((),), ((),), IMAGES), "mine: " + forward),
        (lambda: fn.serial(no_gradient).backward((IMAGES,), IMAGES), r"swish: expected backward to return \(dparams, dx\), got an array"),
        (
            lambda: fn.parallel(no_gradient).backward(((IMAGES,), (IMAGES[:0],)), IMAGES),
            r"swish: expected backward to return \(dparams, dx\), got an array",
        ),
        (lambda: fn.serial(only_params).init(jax.random.key(0), (3,)), r"mine: expected init to return \(params, state\), got a dict with"),
    ):
        with pytest.raises(TypeError, match="^" + message):
            make()


def test_layers_inside_that_do_not_fit_the_params_are_named():
    mine = fn.Layer("mine", lambda key, in_shape: ((), ()), fn.relu.forward, fn.relu.backward, (fn.relu, fn.relu))
    for params in ((), {"w": IMAGES}, ((),)):
        with pytest.raises(ValueError, match=r"^mine: expected params to be a tuple of 2 entries, one per layer, got "):
            calls(mine, params, ((), ()), IMAGES)


def test_a_call_of_a_layer_says_how_it_is_used():
    with pytest.raises(TypeError, match=r"^relu: expected relu itself, without \(\), got a call; a layer is a value, not a function$"):
        fn.relu()
    for call in (lambda: fn.serial(fn.relu)(IMAGES), lambda: fn.relu(IMAGES), lambda: fn.serial()()):
        with pytest.raises(TypeError, match=r"^\w+: expected net.apply\(params, state, x\) or net.forward, got a call"):
            call()


def test_an_error_inside_a_network_says_where():
    net = fn.serial(fn.relu, fn.residual(fn.conv(3, (3, 3)), fn.conv(3, (3, 3))))
    params, state = net.init(jax.random.key(0), (6, 5, 3))
    with pytest.raises(ValueError, match=r"conv: expected x of shape") as caught:
        net.apply(params, state, IMAGES[..., :2])
    assert caught.value.__notes__ == [
        "in layer 0 (conv) of serial",
        "in layer 0 (serial) of residual",
        "in layer 1 (residual) of serial",
    ]


def test_params_of_another_network_are_refused():
    deep, shallow = fn.serial(fn.flatten, fn.dense(3), fn.relu, fn.dense(3)), fn.serial(fn.flatten, fn.dense(3))
    wide = fn.serial(fn.flatten, fn.dense(5))
    for other, message in ((deep, "serial: expected params to be a tuple of 2 entries"), (wide, r"dense: expected params\['w'\] of shape")):
        with pytest.raises(ValueError, match=message):
            shallow.apply(*other.init(jax.random.key(0), (6, 5, 3)), IMAGES)


def test_what_is_no_layer_is_refused():
    with pytest.raises(TypeError, match=r"serial: expected layers, got function as argument 1; call it, batch_norm\(\.\.\.\)"):
        fn.serial(fn.relu, fn.batch_norm)
    with pytest.raises(TypeError, match=r"serial: expected layers, got list as argument 0; unpack it, serial\(\*layers\)"):
        fn.serial([fn.relu, fn.flatten])
    with pytest.raises(TypeError, match=r"serial: expected layers, got custom_jvp as argument 0$"):
        fn.serial(jax.nn.relu)
    with pytest.raises(TypeError, match=r"residual: expected layers, got int as argument 1"):
        fn.residual(fn.relu, shortcut=3)


LOGITS = np.zeros((3, 4), "float32")
LABELS = {
    "out of range": (np.asarray([0, 4, 1]), r"expected labels in \[0, 4\), got 4 among them"),
    "negative": (np.asarray([0, -1, 1]), r"expected labels in \[0, 4\), got -1 among them"),
    "too few": (np.asarray([0, 1]), r"expected labels of shape \(3,\), got \(2,\)"),
    "column": (np.asarray([[0], [1], [2]]), r"expected labels of shape \(3, 4\), got \(3, 1\); or whole numbers of shape \(N,\)"),
    "floating": (np.zeros(3), r"expected labels of whole numbers, got float64; convert them, labels.astype\('int32'\)"),
    "not a distribution": (np.ones((3, 4)), r"expected rows of labels that sum to 1, got \[1. 1. 1. 1.\] among them"),
    "list": ([0, 1, 2], r"expected labels to be a NumPy or JAX array, got list"),
}


@pytest.mark.parametrize(("labels", "message"), LABELS.values(), ids=LABELS.keys())
def test_wrong_labels_are_refused(labels, message):
    with pytest.raises((ValueError, TypeError), match="^softmax_cross_entropy: " + message):
        fn.softmax_cross_entropy(LOGITS, labels)


@pytest.mark.parametrize("labels", [np.asarray([0, 4, 1], "int32"), np.ones((3, 4), "float32")], ids=["out of range", "not a distribution"])
def test_labels_whose_values_are_not_known_poison_the_result(labels):
    """Traced labels cannot be looked at: the loss and the gradient become NaN, never a number that looks right."""
    loss, dlogits = jax.jit(fn.softmax_cross_entropy)(jnp.asarray(LOGITS), labels)
    by_grad = jax.jit(jax.grad(lambda z, t: fn.softmax_cross_entropy(z, t)[0]))(jnp.asarray(LOGITS), labels)
    assert np.isnan(loss)
    assert np.isnan(dlogits[1]).all()
    assert np.isnan(by_grad[1]).all()


def test_a_label_never_wraps_into_the_range():
    with pytest.raises(ValueError, match=r"got 4294967297 among them"):
        fn.softmax_cross_entropy(LOGITS, np.asarray([0, 2**32 + 1, 1]))


def test_a_masked_class_and_soft_labels_in_few_bits_are_fine():
    loss, dlogits = fn.softmax_cross_entropy(np.asarray([[0.0, -np.inf, 1.0]]), np.asarray([2]))
    np.testing.assert_allclose(loss, np.log(1 + np.exp(-1)))
    assert dlogits[0, 1] == 0
    thirds = jnp.full((3, 3), 1 / 3, "bfloat16")
    assert abs(float(jax.jit(fn.softmax_cross_entropy)(jnp.zeros((3, 3), "bfloat16"), thirds)[0]) - np.log(3)) < 0.02


def test_other_losses_and_smoothing_check_theirs():
    with pytest.raises(ValueError, match=r"label_smoothing in \[0, 1\), got 1"):
        fn.softmax_cross_entropy(LOGITS, np.asarray([0, 1, 2]), label_smoothing=1)
    with pytest.raises(ValueError, match=r"mean_squared_error: expected targets of shape \(3, 4\), got \(3,\)"):
        fn.mean_squared_error(LOGITS, LOGITS[:, 0])
    with pytest.raises(ValueError, match=r"at least one example, got logits of shape \(0, 4\)"):
        fn.softmax_cross_entropy(LOGITS[:0], np.zeros(0, "int32"))


def test_a_loss_that_is_no_pair_is_named_and_can_be_made_one():
    logits, labels = jnp.asarray(np.random.default_rng(0).standard_normal((3, 4)), "float32"), np.asarray([0, 3, 1], "int32")
    plain = optax.softmax_cross_entropy_with_integer_labels
    message = (
        r"^softmax_cross_entropy_with_integer_labels: expected a loss to return \(mean loss, doutputs\), got an array of shape \(3,\); "
        r"make the pair of a plain loss by jax.grad, fn.with_gradient\(softmax_cross_entropy_with_integer_labels\)$"
    )
    with pytest.raises(TypeError, match=message):
        losses.pair_of(plain, logits, labels)
    for wrong, message in (
        (lambda y, t: (y[:, 0], y), r"expected its mean loss of shape \(\), got \(3,\)"),
        (lambda y, t: (y.mean(), y[0]), r"expected its doutputs of shape \(3, 4\), got \(4,\)"),
        (lambda y, t: (y.mean(), {}), r"expected its doutputs to be a tree like outputs, PyTreeDef"),
        (lambda y, t: y.mean(), r"expected a loss to return \(mean loss, doutputs\), got an array of shape \(\)"),
        (lambda y, t: 1.0, r"expected a loss to return \(mean loss, doutputs\), got float"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            jax.jit(losses.pair_of, static_argnums=0)(wrong, logits, labels)
    for loss in (losses.with_gradient(plain), losses.with_gradient(lambda y, t: plain(y, t).mean())):
        for got, expected in zip(losses.pair_of(loss, logits, labels), fn.softmax_cross_entropy(logits, labels), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)


def test_other_things_that_are_none_of_ours_are_named():
    for make, message in (
        (lambda: fn.to_numpy({"w": 1.0}), "to_numpy: expected a tree of NumPy or JAX arrays, got float in it"),
        (lambda: fn.with_manual_vjp(3), "with_manual_vjp: expected a layer, got int"),
        (lambda: fn.relu.apply((), (), jax.random.key(0)), r"relu: expected x of a floating-point dtype, got key<fry>$"),
        (lambda: fn.accuracy(LOGITS, np.zeros(3)), "accuracy: expected labels of whole numbers, got float64; convert them, labels.astype"),
        (
            lambda: fn.accuracy(LOGITS, [0, 1, 2]),
            r"accuracy: expected labels to be a NumPy or JAX array, got list; .* np.asarray\(labels\)",
        ),
    ):
        with pytest.raises(TypeError, match="^" + message):
            make()


def test_a_typing_error_in_an_option_is_refused():
    with pytest.raises(TypeError, match="strides"):
        fn.conv(4, (3, 3), strides=2)
