"""Activations where floating-point numbers go wrong: far out, next to 0, at bends, in the last digits; and how short they are."""

import inspect
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import funcnn as fn
from funcnn import activations, rectifiers
from funcnn.arrays import namespace
from tests.cases import CASES
from tests.cases.activations import PLAIN
from tests.test_laws import QUICKLY
from tests.twins.activations import THEIRS

POINTWISE = {
    **{layer.name: layer for layer in PLAIN},
    "leaky_relu": fn.leaky_relu(), "leaky_relu: 3": fn.leaky_relu(slope=3.0), "leaky_relu: -1": fn.leaky_relu(slope=-1),
    "elu": fn.elu(), "elu: 0.3": fn.elu(alpha=0.3), "elu: 3": fn.elu(alpha=3), "celu": fn.celu(), "celu: 0.3": fn.celu(alpha=0.3),
    "celu: 30": fn.celu(alpha=30.0),
}  # fmt: skip
each_activation = pytest.mark.parametrize("layer", POINTWISE.values(), ids=POINTWISE.keys())
LIMITS = {  # far to the left, and far to the right
    "relu": (0, np.inf), "sigmoid": (0, 1), "log_sigmoid": (-np.inf, 0), "tanh": (-1, 1), "softsign": (-1, 1), "hard_tanh": (-1, 1),
    "hard_sigmoid": (0, 1), "relu6": (0, 6), "hard_swish": (0, np.inf), "selu": (-1.7580993408473766, np.inf), "softplus": (0, np.inf),
    "silu": (0, np.inf), "mish": (0, np.inf), "gelu": (0, np.inf), "gelu_tanh": (0, np.inf), "leaky_relu": (-np.inf, np.inf),
    "leaky_relu: 3": (-np.inf, np.inf), "leaky_relu: -1": (np.inf, np.inf), "elu": (-1, np.inf), "elu: 0.3": (-0.3, np.inf),
    "elu: 3": (-3, np.inf), "celu": (-1, np.inf), "celu: 0.3": (-0.3, np.inf), "celu: 30": (-30, np.inf),
}  # fmt: skip


def both(layer, x):
    """y and dx for dy = 1 by the two passes."""
    y, _, residuals = layer.forward((), (), x)
    return y, layer.backward(residuals, namespace(x).ones(x.shape, x.dtype))[1]


def gradient(layer, x):
    return jax.grad(lambda x: layer.apply((), (), x)[0].astype("float32").sum())(x)


@each_activation
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_at_extremes_all_is_finite_and_what_jax_grad_says(layer, dtype):
    """Warnings are errors: nothing overflows on NumPy on the way."""
    info = jnp.finfo(dtype)
    large = [v for v in (20.0, 88.8, 89.5, 104.0, 710.0, 750.0, 1e4, 1.1e4, 1e15, 1e19, 1e30, float(info.max)) if v <= float(info.max)]
    small = [0.0, float(info.smallest_subnormal), float(info.tiny), float(info.eps), 1e-4, 0.5, 1.0, 3.0, 5.9, 6.0, 6.1, 12.9, 13.1, 14.0]
    x = np.asarray([s * v for v in small + large for s in (1, -1)]).astype(jnp.dtype(dtype))[None]
    if layer.name in ("leaky_relu", "selu"):  # multiplies: the largest overflows, as it must
        x = x[:, :-2]
    with jax.enable_x64(dtype == "float64"):
        y, dx = both(layer, x)
        assert np.isfinite(y.astype("float64")).all()
        assert np.isfinite(dx.astype("float64")).all()
        compiled = jax.jit(lambda x: (*both(layer, x), gradient(layer, x)), compiler_options=QUICKLY)
        ours, theirs, by_grad = (np.asarray(a) for a in compiled(jnp.asarray(x)))
    assert ours.dtype == theirs.dtype == by_grad.dtype == y.dtype == dx.dtype == x.dtype
    inside = jnp.finfo("float64" if dtype == "float64" else "float32")  # what it is computed in, where a denormal is 0 for XLA
    rtol = 1.01 * float(info.eps) if info.bits == 16 else 512 * float(info.eps)  # in the tails of gelu a rounding of x counts x^2 times
    np.testing.assert_allclose(by_grad.astype("float64"), theirs.astype("float64"), rtol=rtol, atol=4 * float(inside.eps))
    atol = 1000 * float(inside.tiny) + float(info.smallest_subnormal)
    seen = (abs(x.astype("float64")) >= float(inside.tiny)) | (x == 0)
    for got, expected in ((ours, y), (theirs, dx)):
        np.testing.assert_allclose(got.astype("float64")[seen], expected.astype("float64")[seen], rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", POINTWISE)
def test_at_infinity_there_is_the_limit(name):
    layer, (left, right) = POINTWISE[name], LIMITS[name]
    x = np.asarray([[-np.inf, np.inf, np.nan]], "float32")
    y, dx = both(layer, x)
    on_jax = jax.jit(lambda x: (*both(layer, x), gradient(layer, x)))(jnp.asarray(x))
    for got in (y, on_jax[0]):
        np.testing.assert_allclose(got[0, :2], [left, right], rtol=1e-6)
        assert np.isnan(got[0, 2])
    for got in (dx, *on_jax[1:]):
        assert np.isfinite(got[0, :2]).all()
        np.testing.assert_allclose(got[0, :2], dx[0, :2])


def _gelu_tanh(x):
    return x * special.expit(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))


EXACT = {  # by SciPy and NumPy in float64
    "sigmoid": special.expit, "log_sigmoid": special.log_expit, "tanh": np.tanh, "softsign": lambda x: x / (1 + abs(x)),
    "hard_tanh": lambda x: np.clip(x, -1, 1), "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6, "relu6": lambda x: np.clip(x, 0, 6),
    "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6, "softplus": lambda x: np.logaddexp(0, x), "silu": lambda x: x * special.expit(x),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)), "gelu": lambda x: x * special.ndtr(x), "gelu_tanh": _gelu_tanh,
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "celu: 0.3": lambda x: np.where(x > 0, x, 0.3 * np.expm1(np.minimum(x, 0) / 0.3)),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
}  # fmt: skip
UNITS = 5.0
"""In the last place; XLA's own expm1 is 4.4 off, its tanh 3.5."""


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("library", ["NumPy", "JAX"])
def test_float32_is_right_to_its_last_digits(name, library):
    """Over all sizes of x and both signs, where neither y nor the factor that x has in it is a denormal number.

    The left tails of gelu fall as e^(-x^2 / 2): there a rounding of x is worth x^2 roundings of y, and y is as near as x allows.
    """
    layer, n = POINTWISE[name], 4000
    x = np.concatenate([s * np.logspace(-30, 2.2, n) for s in (1, -1)] + [np.linspace(-30, 30, n)]).astype("float32")
    wide, h = x.astype("float64"), 1e-6 * np.maximum(abs(x.astype("float64")), 1e-30)
    exact = EXACT[name](wide)
    y = jax.jit(lambda x: layer.apply((), (), x)[0])(jnp.asarray(x[None])) if library == "JAX" else layer.apply((), (), x[None])[0]
    off = abs(np.asarray(y[0], "float64") - exact)
    unit = np.spacing(abs(exact).astype("float32")).astype("float64")
    normal = abs(exact) > 128 * np.finfo("float32").tiny
    if name.startswith("gelu"):
        unit += np.finfo("float32").eps * abs(EXACT[name](wide + h) - EXACT[name](wide - h)) / (2 * h) * abs(wide)
    worst = np.argmax(np.where(normal, off / unit, 0))
    assert off[worst] <= UNITS * unit[worst], (x[worst], off[worst] / unit[worst])


@each_activation
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_are_rounded_once(layer, dtype):
    """Both y and dx are those of float32, rounded, at every half there is up to 1,000."""
    x = np.arange(2**16, dtype="uint16").view(jnp.dtype(dtype))
    x = x[abs(x.astype("float32")) < 1e3][None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ml_dtypes says where a number is denormal
        for got, single in zip(both(layer, x), both(layer, x.astype("float32")), strict=True):
            np.testing.assert_array_equal(got, single.astype(x.dtype))


@each_activation
def test_the_complex_step_gives_the_slope(layer):
    x = np.random.default_rng(0).normal(0, 3, (3, 50))
    slope = layer.apply((), (), x + 1e-200j)[0].imag / 1e-200
    np.testing.assert_allclose(both(layer, x)[1], slope, rtol=1e-12, atol=1e-14)


BENDS = np.asarray([[-3, -1, -0.0, 0, 1, 3, 6, -1e-30, 1e-30, np.nextafter(3, 0), np.nextafter(-3, 0), np.nextafter(6, 0), 20, -20]])


@pytest.mark.peers
@pytest.mark.parametrize("name", THEIRS)
def test_at_bends_and_around_them_the_gradient_is_that_of_pytorch(name):
    torch = pytest.importorskip("torch")
    layer, theirs, options = THEIRS[name]
    x = torch.tensor(BENDS, requires_grad=True)
    getattr(torch.nn.functional, theirs)(x, **options).backward(torch.linspace(1, 2, BENDS.size, dtype=torch.float64)[None])
    _, _, residuals = layer.forward((), (), BENDS)
    np.testing.assert_allclose(layer.backward(residuals, np.linspace(1, 2, BENDS.size)[None])[1], x.grad.numpy(), rtol=1e-12, atol=1e-15)


def test_the_slopes_at_bends_are_declared():
    x, ones = np.asarray([[-3.0, -1, 0, 1, 3, 6]]), np.ones((1, 6))
    declared = {
        fn.hard_tanh: [0, 0, 1, 0, 0, 0],
        fn.hard_sigmoid: [0, 1 / 6, 1 / 6, 1 / 6, 0, 0],
        fn.relu6: [0, 0, 0, 1, 1, 0],
        fn.hard_swish: [0, 1 / 6, 1 / 2, 5 / 6, 1, 1],
        fn.leaky_relu(slope=0.3): [0.3, 0.3, 0.3, 1, 1, 1],
    }
    for layer, slopes in declared.items():
        np.testing.assert_allclose(layer.backward(layer.forward((), (), x)[2], ones)[1][0], slopes)
        np.testing.assert_allclose(gradient(layer, jnp.asarray(x, "float32"))[0], slopes, rtol=1e-6)


ROWS = np.asarray([[1e4, -1e4, 0.0], [3e38, 3e38, -3e38], [-np.inf, 1.0, 2.0], [1e4, 1e4, 1e4], [-1e4, -1e4 - 1, -3e4]], "float32")


@pytest.mark.parametrize(("layer", "exact"), [(fn.softmax, special.softmax), (fn.log_softmax, special.log_softmax)], ids=["softmax", "log"])
def test_softmax_neither_overflows_nor_gives_a_nan(layer, exact):
    x = ROWS[[0, 2, 3, 4]]  # of 3e38 and -3e38 the difference is infinite, which NumPy says
    y, _, residuals = layer.forward((), (), x)
    np.testing.assert_allclose(y, exact(x.astype("float64"), -1), rtol=1e-6)
    dy = np.arange(1.0, 13, dtype="float32").reshape(4, 3)
    by_grad = jax.vjp(lambda x: layer.apply((), (), x)[0], jnp.asarray(x))[1](jnp.asarray(dy))[0]
    np.testing.assert_allclose(layer.backward(residuals, dy)[1], by_grad, atol=2e-6)
    assert np.isfinite(by_grad).all()
    assert not np.isnan(jax.jit(layer.apply)((), (), jnp.asarray(ROWS))[0]).any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_saturated_softmax_of_halves_still_has_a_gradient(dtype):
    """As it keeps x: of y = 0.999 a bfloat16 has 1."""
    x, dy = np.asarray([[8.0, 1.0]]).astype(jnp.dtype(dtype)), np.asarray([[1.0, 0.0]]).astype(jnp.dtype(dtype))
    for layer in (fn.softmax, fn.sigmoid, fn.tanh):
        exact = layer.backward(x.astype("float64"), dy.astype("float64"))[1]
        np.testing.assert_allclose(layer.backward(x, dy)[1].astype("float64"), exact, rtol=float(jnp.finfo(dtype).eps), atol=5e-8)


def test_prelu_has_one_slope_for_each_channel_or_one_for_all():
    for layer, shape in ((fn.prelu(), (3,)), (fn.prelu(shared=True), (1,))):
        params, _ = layer.init(jax.random.key(0), (4, 5, 3))
        np.testing.assert_array_equal(params["slope"], np.full(shape, 0.25, "float32"))
    x = np.asarray([[[-2.0, 4.0], [3.0, -5.0]]])
    y, _, residuals = fn.prelu().forward({"slope": np.asarray([0.1, 10.0])}, (), x)
    np.testing.assert_allclose(y, [[[-0.2, 4], [3, -50]]])
    (dslope, *_), dx = (d.values() if isinstance(d, dict) else d for d in fn.prelu().backward(residuals, np.ones_like(x)))
    np.testing.assert_allclose(dslope, [-2, -5])
    np.testing.assert_allclose(dx, [[[0.1, 1], [1, 10]]])


def test_options_that_cannot_be_are_refused():
    for make, message in (
        (lambda: fn.leaky_relu(slope="0.1"), "leaky_relu: expected slope to be a finite number, got '0.1'"),
        (lambda: fn.leaky_relu(slope=np.nan), "leaky_relu: expected slope to be a finite number, got nan"),
        (lambda: fn.elu(alpha=0), "elu: expected alpha above 0 and finite, got 0"),
        (lambda: fn.celu(alpha=-1.0), "celu: expected alpha above 0 and finite, got -1.0"),
        (lambda: fn.celu(alpha=np.inf), "celu: expected alpha above 0 and finite, got inf"),
        (lambda: fn.prelu(shared=1), "prelu: expected shared to be True or False, got 1"),
        (
            lambda: fn.softmax.apply((), (), np.ones((2, 0))),
            "softmax: expected at least one class along the last axis, got x of shape (2, 0)",
        ),
        (lambda: fn.log_softmax.apply((), (), np.ones(3)), "log_softmax: expected x of shape (N, ..., K), got (3,)"),
        (
            lambda: fn.prelu().apply({"slope": np.ones(3)}, (), np.ones((2, 4))),
            "prelu: expected x of shape (N, ..., 3), got (2, 4); x has 4 features, the params are for 3",
        ),
    ):
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            make()
        assert str(caught.value) == message
    with pytest.raises(TypeError, match=r"^silu: expected silu itself, without \(\), got a call"):
        fn.silu()


def test_each_says_what_it_does():
    for layer in PLAIN:
        assert repr(layer) == layer.name
        assert layer.__doc__.startswith("y = ")
        assert "\ndx = " in layer.__doc__
    assert fn.elu(alpha=0.3).backward.__doc__ == "dx = dy where x > 0, else 0.3 e^x dy."
    assert fn.celu(alpha=2).forward.__doc__ == "y = x where x > 0, else 2 (e^(x / 2) - 1), of any shape."
    assert fn.leaky_relu().backward.__doc__.startswith("dx = dy where x > 0")


def lines_of(name):
    """The lines of an activation with its gradient: all that is named after it, but blank ones and the documentation of options."""
    module = activations if hasattr(activations, name) else rectifiers
    made = getattr(module, name)
    if inspect.isfunction(made):
        source = inspect.getsource(made).replace(inspect.getsource(made).split('"""')[1], "")
        return len([line for line in source.splitlines() if line.strip(' "')])
    parts = [
        inspect.getsource(f)
        for n, f in vars(module).items()
        if inspect.isfunction(f) and n in (f"_{name}", f"_{name}_slope", f"_{name}_inside")
    ]
    parts += [line for line in Path(module.__file__).read_text().splitlines() if line.startswith(f"{name} = ")]
    return len([line for part in parts for line in part.splitlines() if line.strip()])


def test_an_activation_is_ten_lines_with_its_gradient():
    """Those of e^x to the left of 0 (elu, selu, celu) share theirs."""
    counted = {name: lines_of(name) for name in {name.split(":")[0] for name in POINTWISE} - {"relu"}}
    assert set(counted) <= set(CASES)
    assert max(counted.values()) <= 10, counted
    assert min(counted[name] for name in ("silu", "gelu", "tanh")) >= 7  # it has counted something
