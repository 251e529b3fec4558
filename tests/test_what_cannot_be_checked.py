"""What the checker cannot compare is said clearly, and never passes."""

import jax.numpy as jnp
import numpy as np
import pytest

import funcnn as fn
from funcnn.checking import GradientError, check_layer, check_pair, check_vjp

X = np.random.default_rng(4).standard_normal((3, 4))


def cube(x):
    return x**3, x


def cube_back(x, dy):
    return (3 * x**2 * dy,)


def noisy(x):
    return x + np.random.default_rng().standard_normal(), x


BROKEN = {
    "not reproducible": (noisy, cube_back, "expected forward to be reproducible"),
    "residuals that are no arrays": (
        lambda x: (x**3, (x, "x", 3)),
        lambda r, dy: cube_back(r[0], dy),
        "expected residuals of arrays only, got int, str",
    ),
    "outputs that are no arrays": (lambda x: (float(x.sum()), x), cube_back, "expected forward to return floating-point arrays"),
    "another tree": (cube, lambda x, dy: {"x": dy}, "expected backward to return a tree like the arguments"),
    "no tuple": (cube, lambda x, dy: 3 * x**2 * dy, "expected backward to return a tree like the arguments"),
    "another shape": (cube, lambda x, dy: (dy.sum(0),), r"expected dargs\[0\] to be float64 \(3, 4\).*got float64 \(4,\)"),
    "another dtype": (cube, lambda x, dy: ((3 * x**2 * dy).astype("float32"),), r"got float32 \(3, 4\)"),
    "a NaN forward": (lambda x: (x / 0 * 0, x), cube_back, "expected finite outputs, got 12 NaNs"),
    "a NaN backward": (cube, lambda x, dy: (dy * np.nan,), "expected finite gradients, as the outputs are finite, got 12 NaNs"),
    "an infinite backward": (cube, lambda x, dy: (np.where(x == x[0, 0], np.inf, 3 * x**2 * dy),), "got 1 NaNs or infinities of 12"),
    "an error inside backward": (cube, lambda x, dy: (dy[:, :99].reshape(5, 5),), r"expected backward\(residuals, dy\) to run, got "),
    "random in backward": (cube, lambda x, dy: (3 * x**2 * dy * np.random.default_rng().random(),), "expected backward to be reproducible"),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_what_cannot_be_compared_never_passes(broken):
    forward, backward, words = broken
    with np.errstate(all="ignore"):
        report = check_pair(forward, backward, X)
    assert not report.ok
    with pytest.raises(GradientError, match=words):
        report.raise_if_wrong()


def test_backward_that_cannot_be_jitted_is_wrong_for_a_layer():
    layer = fn.relu._replace(backward=lambda y, dy: ((), np.where(np.asarray(y) <= 0, 0, np.asarray(dy))))
    with pytest.raises(GradientError, match="expected both passes to run under jit"):
        check_layer(layer, (3,)).raise_if_wrong()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: check_layer(fn.dense, (3,)), "check_layer: expected a layer, got function"),
        (lambda: check_layer(fn.dense(2), 3), "check_layer: expected in_shape"),
        (lambda: check_layer(fn.dense(2), (3,), batch_size=0), "check_layer: expected batch_size"),
        (lambda: check_layer(fn.dense(2), (3,), dtype="float8"), "expected dtype"),
        (lambda: check_pair(lambda x: x, cube_back, X), r"expected forward to return a pair \(y, residuals\), got ndarray"),
        (lambda: check_pair(3, cube_back, X), "check_pair: expected a function, got int"),
        (lambda: check_pair(cube, cube_back, 1.0), "check_pair: expected arguments of NumPy or JAX arrays, got float"),
        (lambda: check_pair(cube, cube_back, np.arange(3)), "expected an argument of floating-point numbers"),
        (lambda: check_vjp(jnp.sin, X * 1j), "expected real arguments"),
    ],
)
def test_bad_calls_are_refused(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()


def test_nothing_checked_is_no_pass():
    report = check_pair(lambda x: (x.sum(), x), lambda x, dy: (x,), np.zeros((0, 3)))
    assert not report.ok
    assert str(report).startswith("<lambda>: not everything could be checked")
