"""Against code we did not write: `jax.lax` convolution and pooling, SciPy, and PyTorch where it is installed."""

from functools import partial
from itertools import product

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from jax import lax

import funcnn as fn
from funcnn.convolution.geometry import window

ALGORITHMS = [a for a in vars(fn.convolution).values() if isinstance(a, fn.convolution.ConvAlgorithm)]
SIZES = ((7, 10), (8, 5))
STRIDES = (1, 2, (2, 3))
PADDINGS = ("SAME", "VALID", "SAME_LOWER", 2, ((0, 2), (1, 0)))
pytestmark = pytest.mark.usefixtures("x64")


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12 * max(1, np.abs(expected).max()))


def pair(value):
    return (value, value) if isinstance(value, int) else value


def lax_padding(padding):
    return [(padding, padding)] * 2 if isinstance(padding, int) else padding


def lax_conv(x, w, stride, padding, dilation):
    return lax.conv_general_dilated(
        x, w, pair(stride), lax_padding(padding), rhs_dilation=pair(dilation), dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1] // w.shape[-2], precision="highest",
    )  # fmt: skip


def fit(size, kernel, stride, padding, dilation=1, groups=1):
    """The algorithms that support a geometry."""
    geometry = window("conv", kernel, stride, padding, dilation).over(size)._replace(groups=groups)
    return [a for a in ALGORITHMS if a.supports(geometry)]


def check_conv(rng, size, kernel, stride, padding, dilation, groups, channels):
    """Forward and both gradients of all algorithms, on NumPy, against lax and its vjp; `channels` of a group, in and out."""
    c, o = channels
    x, w = rng.standard_normal((2, *size, groups * c)), rng.standard_normal((*kernel, c, groups * o))
    y, pull = jax.vjp(lambda x, w: lax_conv(x, w, stride, padding, dilation), x, w)
    dy = rng.standard_normal(y.shape)
    dx, dw = pull(jnp.asarray(dy))
    for algorithm in fit(size, kernel, stride, padding, dilation, groups):
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "bias": False}
        layer = fn.conv(groups * o, kernel, algorithm=algorithm, **options)
        got, _, residuals = layer.forward({"w": w}, (), x)
        close(got, y)
        dparams, got_dx = layer.backward(residuals, dy)
        close(got_dx, dx)
        close(dparams["w"], dw)


@pytest.mark.parametrize("kernel", [(1, 1), (2, 3), (3, 3), (5, 4)])
@pytest.mark.parametrize("size", SIZES)
def test_convolution_is_that_of_lax(size, kernel):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, *size, 3)), rng.standard_normal((*kernel, 3, 4))
    for stride, padding in product(STRIDES, PADDINGS):
        y = lax_conv(x, w, stride, padding, dilation=1)
        for algorithm in fit(size, kernel, stride, padding):
            layer = fn.conv(4, kernel, stride=stride, padding=padding, bias=False, algorithm=algorithm)
            close(layer.apply({"w": w}, (), x)[0], y)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_convolution_is_that_of_lax_for_any_geometry(data):
    def draw(low, high):
        return data.draw(st.tuples(st.integers(low, high), st.integers(low, high)))

    kernel, stride, dilation, size, channels = draw(1, 4), draw(1, 4), draw(1, 3), draw(1, 9), draw(1, 3)
    groups = data.draw(st.integers(1, 3))
    padding = data.draw(st.sampled_from(["SAME", "VALID", "SAME_LOWER"]) | st.tuples(*[st.tuples(*[st.integers(0, 4)] * 2)] * 2))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    pads = lax.padtype_to_pads(size, reach, stride, padding) if isinstance(padding, str) else padding
    rng = np.random.default_rng(0)
    if any(low + n + high < r for (low, high), n, r in zip(pads, size, reach, strict=True)):
        with pytest.raises(ValueError, match=r"^conv: expected an input at least as large as the window"):
            check_conv(rng, size, kernel, stride, padding, dilation, groups, channels)
    else:
        check_conv(rng, size, kernel, stride, padding, dilation, groups, channels)


@pytest.mark.parametrize(
    "padding", ["SAME", *(pytest.param(p, marks=pytest.mark.slow) for p in ("SAME_LOWER", ((4, 4), (4, 4)), ((3, 4), (6, 3))))]
)
@pytest.mark.parametrize("size", [(1, 1), pytest.param((1, 2), marks=pytest.mark.slow), pytest.param((2, 1), marks=pytest.mark.slow)])
def test_taps_that_never_see_the_input(size, padding):
    """Windows that reach further than the input is large, so that shifts crop more than there is."""
    for kernel, dilation in product([(1, 2), (2, 3)], [(1, 3), (3, 1)]):
        for stride, groups in (((1, 1), 1), ((2, 3), 2)):
            check_conv(np.random.default_rng(0), size, kernel, stride, padding, dilation, groups, (2, 1))


def test_convolution_over_one_and_three_axes_is_that_of_lax():
    rng = np.random.default_rng(0)
    for letters, size in (("W", (9,)), ("DHW", (4, 5, 6))):
        rank = len(size)
        x, w = rng.standard_normal((2, *size, 3)), rng.standard_normal((*(2, 3, 2)[:rank], 3, 4))
        dimensions = (f"N{letters}C", f"{letters}IO", f"N{letters}C")
        expected = lax.conv_general_dilated(x, w, (2,) * rank, "SAME", dimension_numbers=dimensions)
        for algorithm in fit(size, w.shape[:-2], 2, "SAME"):
            layer = fn.conv(4, w.shape[:-2], stride=2, bias=False, algorithm=algorithm)
            close(layer.apply({"w": w}, (), x)[0], expected)


def lax_pool(x, window, stride, padding, init, combine):
    stride = window if stride is None else pair(stride)
    pads = [(0, 0), *padding, (0, 0)] if isinstance(padding, list | tuple) else padding
    return lax.reduce_window(x, init, combine, (1, *window, 1), (1, *stride, 1), pads)


@pytest.mark.parametrize("window", [(2, 3), *(pytest.param(window, marks=pytest.mark.slow) for window in [(1, 1), (2, 2), (3, 3)])])
@pytest.mark.parametrize("size", [SIZES[0], pytest.param(SIZES[1], marks=pytest.mark.slow)])
def test_pooling_is_that_of_lax(size, window):
    """Also the gradient of max pooling where entries tie: lax gives it to the first. lax pads averages with zeros."""
    rng = np.random.default_rng(0)
    pairs = [((0, 1), (1, 0))] if min(window) > 1 else []  # a window of nothing but padding is refused
    for stride, padding in product((1, (2, 3), None), ("SAME", "VALID", "SAME_LOWER", *pairs)):
        tied, options = rng.integers(-2, 2, (2, *size, 3)).astype("float64"), {"stride": stride, "padding": padding}
        pool = partial(lax_pool, window=window, **options)
        expected, pull = jax.vjp(partial(pool, init=-jnp.inf, combine=lax.max), tied)
        layer = fn.max_pool(window, **options)
        y, _, residuals = layer.forward((), (), tied)
        dy = rng.standard_normal(y.shape)
        close(y, expected)
        close(layer.backward(residuals, dy)[1], pull(jnp.asarray(dy))[0])
        total, count = (np.asarray(pool(a, init=0.0, combine=lax.add)) for a in (tied, np.ones_like(tied)))
        close(fn.avg_pool(window, **options).apply((), (), tied)[0], total / np.prod(window))
        close(fn.avg_pool(window, count_include_pad=False, **options).apply((), (), tied)[0], total / count)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(st.data())
def test_pooling_is_that_of_lax_for_any_geometry(data):
    def draw(low, high):
        return data.draw(st.tuples(st.integers(low, high), st.integers(low, high)))

    window, stride, size = draw(1, 4), draw(1, 4), draw(4, 9)
    pads = st.tuples(*[st.tuples(*[st.integers(0, k - 1)] * 2) for k in window])
    padding = data.draw(st.sampled_from(["SAME", "VALID", "SAME_LOWER"]) | pads | st.integers(0, min(window) - 1))
    x = np.random.default_rng(0).integers(-2, 2, (2, *size, 3)).astype("float64")
    at = list(lax_padding(padding)) if not isinstance(padding, str) else padding
    expected, pull = jax.vjp(lambda x: lax_pool(x, window, stride, at, -jnp.inf, lax.max), x)
    layer = fn.max_pool(window, stride=stride, padding=padding)
    y, _, residuals = layer.forward((), (), x)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    close(y, expected)
    close(layer.backward(residuals, dy)[1], pull(jnp.asarray(dy))[0])
    total = np.asarray(lax_pool(x, window, stride, at, 0.0, lax.add))
    close(fn.avg_pool(window, stride=stride, padding=padding).apply((), (), x)[0], total / np.prod(window))


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
def test_the_complex_step_gives_the_gradient_to_rounding(train):
    """On NumPy complex128, Im f(x + ih v) / h is the derivative along v: the forward passes are analytic where they are smooth."""
    layers = (fn.conv(3, (3, 3), stride=2), fn.batch_norm(), fn.relu, fn.max_pool((2, 2)), fn.avg_pool((1, 2)), fn.flatten, fn.dense(3))
    net, rng = fn.serial(*layers), np.random.default_rng(0)
    params, state = fn.to_numpy(net.init(jax.random.key(0), (9, 8, 2)), "float64")
    x, labels = rng.standard_normal((4, 9, 8, 2)), np.asarray([0, 1, 2, 0])
    logits, _, residuals = net.forward(params, state, x, train=train)
    grads = net.backward(residuals, fn.softmax_cross_entropy(logits, labels)[1])
    v = jax.tree.map(lambda a: rng.standard_normal(a.shape), (params, x))
    shifted, at = jax.tree.map(lambda a, b: a + 1e-30j * b, (params, x), v)
    loss, _ = fn.softmax_cross_entropy(net.apply(shifted, state, at, train=train)[0], labels)
    slope = sum((g * d).sum() for g, d in zip(jax.tree.leaves(grads), jax.tree.leaves(v), strict=True))
    np.testing.assert_allclose(np.imag(loss) / 1e-30, slope, rtol=1e-12)


def test_split_ties_share_the_gradient_evenly():
    layer, x = fn.max_pool((2, 2), ties="split"), np.asarray([[1.0, 3.0], [3.0, 3.0]]).reshape(1, 2, 2, 1)
    _, _, residuals = layer.forward((), (), x)
    dx = layer.backward(residuals, np.full((1, 1, 1, 1), 6.0))[1]
    assert dx.ravel().tolist() == [0, 2, 2, 2]


def test_softmax_cross_entropy_is_that_of_scipy():
    rng = np.random.default_rng(0)
    logits, labels = 100 * rng.standard_normal((6, 5)), np.asarray([0, 4, 2, 2, 1, 3], "uint8")
    for smoothing in (0.0, 0.1):
        t = (1 - smoothing) * np.eye(5)[labels] + smoothing / 5
        loss, dlogits = fn.softmax_cross_entropy(logits, labels, label_smoothing=smoothing)
        close(loss, -(t * scipy.special.log_softmax(logits, axis=1)).sum(1).mean())
        close(dlogits, (scipy.special.softmax(logits, axis=1) - t) / 6)
        close(fn.softmax_cross_entropy(logits, np.eye(5)[labels], label_smoothing=smoothing)[1], dlogits)


@pytest.mark.parametrize("loss", [fn.softmax_cross_entropy, lambda z, t: fn.softmax_cross_entropy(z, t, label_smoothing=0.2)])
def test_the_gradient_of_cross_entropy_is_its_vjp(loss):
    logits, labels = np.random.default_rng(0).standard_normal((6, 5)), np.asarray([0, 4, 2, 2, 1, 3])
    for targets in (labels, np.eye(5)[labels]):
        value, dlogits = loss(logits, targets)
        expected, gradient = jax.value_and_grad(lambda z, t=targets: loss(z, t)[0])(jnp.asarray(logits))
        close(value, expected)
        close(dlogits, gradient)


def test_the_gradient_of_mean_squared_error_is_its_vjp():
    rng = np.random.default_rng(0)
    y, t = rng.standard_normal((4, 3)), rng.standard_normal((4, 3))
    value, dy = fn.mean_squared_error(y, t)
    close(value, np.mean((y - t) ** 2))
    close(dy, jax.grad(lambda y: fn.mean_squared_error(y, t)[0])(jnp.asarray(y)))


@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.peers
def test_a_network_is_that_of_pytorch(train):
    """Convolution, batch norm with its running state, max pooling with ties, dense and cross-entropy: every value and gradient."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, labels = rng.integers(-1, 2, (6, 9, 8, 3)).astype("float64"), np.asarray([0, 1, 2, 3, 1, 1])
    net = fn.serial(
        fn.conv(4, (3, 3), stride=2, padding=1, bias=False),
        fn.batch_norm(),
        fn.relu,
        fn.max_pool((2, 2), stride=1),
        fn.flatten,
        fn.dense(4),
    )
    params, state = fn.to_numpy(net.init(jax.random.key(0), x.shape[1:]), "float64")
    logits, new_state, residuals = net.forward(params, state, x, train=train)
    loss, dlogits = fn.softmax_cross_entropy(logits, labels, label_smoothing=0.1)
    grads, dx = net.backward(residuals, dlogits)

    def leaf(a):
        return torch.tensor(np.ascontiguousarray(a), requires_grad=True)

    tx, w = leaf(x.transpose(0, 3, 1, 2)), leaf(params[0]["w"].transpose(3, 2, 0, 1))
    scale, shift, dense_w, dense_b = map(leaf, (params[1]["scale"], params[1]["shift"], params[5]["w"], params[5]["b"]))
    mean, var = torch.tensor(state[1]["mean"]), torch.tensor(state[1]["var"])
    h = torch.nn.functional.conv2d(tx, w, stride=2, padding=1)
    h = torch.nn.functional.batch_norm(h, mean, var, scale, shift, training=train, momentum=0.1)
    h = torch.nn.functional.max_pool2d(torch.relu(h), 2, 1).permute(0, 2, 3, 1).flatten(1)
    torch_logits = h @ dense_w + dense_b
    torch_loss = torch.nn.functional.cross_entropy(torch_logits, torch.tensor(labels), label_smoothing=0.1)
    torch_loss.backward()
    close(logits, torch_logits.detach().numpy())
    close(loss, torch_loss.item())
    for got, tensor in ((grads[1]["scale"], scale), (grads[1]["shift"], shift), (grads[5]["w"], dense_w), (grads[5]["b"], dense_b)):
        close(got, tensor.grad.numpy())
    close(grads[0]["w"], w.grad.numpy().transpose(2, 3, 1, 0))
    close(dx, tx.grad.numpy().transpose(0, 2, 3, 1))
    close(new_state[1]["mean"], mean.numpy())
    close(new_state[1]["var"], var.numpy())
