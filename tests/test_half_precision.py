"""Sums and means over many float16 or bfloat16 entries are kept in float32: everywhere, on both libraries, in every algorithm.

What a half gives is no further from float64 than twice float32 rounded once at the end, and a few units in the last place.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnn as fn
from tests.cases import CASES, FIRST_OF_EACH, QUICK, params_of
from tests.cases.convolution import ALGORITHMS
from tests.test_laws import KEY, QUICKLY, both_passes, on_jax, problem

HALVES = ("float16", "bfloat16")
each_half = pytest.mark.parametrize("dtype", HALVES)
each_library = pytest.mark.parametrize("library", ["NumPy", "JAX"])
UNITS = 1.0
"""In the last place of a leaf's largest entry: y is rounded before b is added to it."""
UNITS_INSIDE = 16.0
"""The same for networks, which round between their layers; what follows may cancel."""


def halved(tree, dtype):
    """A NumPy tree of floating-point numbers, rounded to a half."""
    return jax.tree.map(lambda a: np.asarray(a).astype(jnp.dtype(dtype)), tree)


def dtypes(tree):
    return jax.tree.map(lambda a: a.dtype.name, tree)


def check_law(got, run, arrays, units=UNITS):
    """`got` by halves, against `run` of the same numbers in float64, and what `run` in float32 loses."""
    exact, single = (run(*fn.to_numpy(arrays, precision)) for precision in ("float64", "float32"))
    for g, e, s in zip(*map(jax.tree.leaves, (got, exact, single)), strict=True):
        eps, least = (float(getattr(jnp.finfo(g.dtype), name)) for name in ("eps", "smallest_subnormal"))
        once = s.astype(g.dtype).astype("float64")
        g = np.asarray(g, "float64")
        assert np.isfinite(g).all()
        allowed = 2 * np.max(abs(once - e), initial=0) + units * eps * np.max(abs(e), initial=0) + least
        assert np.max(abs(g - e), initial=0) <= allowed


def check_layer(layer, arrays, train, library, units=UNITS, **options):
    """Both passes of `(params, state, x, dy)` in halves obey the law, and give what they were given the dtypes of."""
    params, state, x, _ = arrays
    run = both_passes(layer, train)
    got = jax.jit(run, **options)(*on_jax(arrays)) if library == "JAX" else run(*arrays)
    assert {isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(got)} <= {library == "NumPy"}
    assert dtypes(got) == dtypes((x, state, params, x))
    check_law(got, run, arrays, units)


SHALLOW = {name: case for name, case in CASES.items() if case.float32 == 1e-5}
"""Deep networks of random numbers amplify every rounding, or leave the range of a half."""


def modes(state):
    return (True, False) if jax.tree.leaves(state) else (True,)


@pytest.mark.parametrize("case", params_of(SHALLOW))
@each_half
def test_every_layer_obeys_on_numpy(case, dtype):
    arrays = halved(problem(case), dtype)
    for train in modes(arrays[1]):
        check_layer(case.layer, arrays, train, "NumPy", UNITS_INSIDE if case.layer.layers else UNITS)


@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        pytest.param(case, dtype, id=f"{name}-{dtype}", marks=[pytest.mark.slow] * (case not in QUICK or dtype == "float16"))
        for name, case in SHALLOW.items()
        for dtype in HALVES
        if case in QUICK or (dtype == "bfloat16" and case in FIRST_OF_EACH.values())  # float16 is the same program with another width
    ],
)
def test_every_layer_obeys_when_compiled(case, dtype):
    arrays = halved(problem(case), dtype)
    for train in modes(arrays[1]):
        check_layer(case.layer, arrays, train, "JAX", UNITS_INSIDE if case.layer.layers else UNITS, compiler_options=QUICKLY)


class Many(NamedTuple):
    """A layer that adds up many numbers; those of x, w and dy lie around 1, so that the sums are long ones of one sign."""

    layer: fn.Layer
    shape: tuple[int, ...]
    slow: bool = False


MANY = {
    "avg_pool of 20x20": Many(fn.avg_pool((20, 20)), (1, 20, 20, 1)),
    "avg_pool of 28x28": Many(fn.avg_pool((28, 28)), (2, 28, 28, 3), slow=True),
    "avg_pool, overlapping": Many(fn.avg_pool((12, 12), stride=1, padding="SAME"), (1, 16, 16, 2)),
    "max_pool, overlapping": Many(fn.max_pool((7, 7), stride=1, padding="SAME"), (1, 16, 16, 2), slow=True),
    "max_pool split, overlapping": Many(fn.max_pool((7, 7), stride=1, padding="SAME", ties="split"), (1, 16, 16, 2), slow=True),
    "global_avg_pool of 28x28": Many(fn.global_avg_pool, (2, 28, 28, 3), slow=True),
    "global_avg_pool of 64x64": Many(fn.global_avg_pool, (2, 64, 64, 3)),
    "global_avg_pool of 256x256": Many(fn.global_avg_pool, (1, 256, 256, 1)),  # more positions than float16 can count
    "lp_pool, overlapping": Many(fn.lp_pool((7, 7), p=3, stride=1), (1, 16, 16, 2), slow=True),
    "global_lp_pool of 256x256": Many(fn.global_lp_pool(), (1, 256, 256, 1)),
    "adaptive_avg_pool of 150x150": Many(fn.adaptive_avg_pool(4), (1, 150, 150, 1)),
    "adaptive_avg_pool to more": Many(fn.adaptive_avg_pool(90), (1, 4, 4, 1), slow=True),
    "adaptive_max_pool to more": Many(fn.adaptive_max_pool(90, ties="split"), (1, 4, 4, 1), slow=True),
    "dense with 4,096 inputs": Many(fn.dense(3), (2, 4096)),
    "dense with 4,096 examples": Many(fn.dense(3), (4096, 2)),
    "conv over 32,768 positions": Many(fn.conv(2, (1, 1)), (8, 64, 64, 2)),
    "3x3 conv over 32,768 positions": Many(fn.conv(2, (3, 3)), (8, 64, 64, 1)),
    "depthwise conv over 32,768 positions": Many(fn.conv(2, (3, 3), groups=2), (8, 64, 64, 2)),
    **{f"256 channels by {a.name}": Many(fn.conv(8, (3, 3), algorithm=a), (2, 5, 6, 256), slow=a.name != "rowwise") for a in ALGORITHMS},
    **{f"256 outputs by {a.name}": Many(fn.conv(256, (3, 3), algorithm=a), (2, 5, 6, 8), slow=True) for a in ALGORITHMS},
    "5x5 conv by winograd2": Many(fn.conv(64, (5, 5), algorithm=fn.convolution.winograd2), (2, 5, 6, 64), slow=True),
    "256 channels by auto": Many(fn.conv(256, (3, 3)), (2, 5, 6, 256)),
    "256 channels in 2 groups": Many(fn.conv(8, (3, 3), groups=2), (2, 5, 6, 256)),
    "upsample by 40": Many(fn.upsample(40), (1, 2, 3, 2), slow=True),
    "bilinear upsample by 20": Many(fn.upsample(20, method="bilinear"), (1, 2, 3, 2), slow=True),
    "pad with 100 rows of the edge": Many(fn.pad(100, mode="edge"), (1, 2, 3, 2), slow=True),
    "32 branches": Many(fn.parallel(*(fn.identity,) * 32), (2, 5)),
}


@pytest.mark.parametrize("many", [pytest.param(m, id=name, marks=[pytest.mark.slow] * m.slow) for name, m in MANY.items()])
@pytest.mark.parametrize(
    ("dtype", "library"),
    [*((dtype, "NumPy") for dtype in HALVES), ("bfloat16", "JAX"), pytest.param("float16", "JAX", marks=pytest.mark.slow)],
)
def test_long_sums_obey(many, dtype, library):
    rng = np.random.default_rng(3)
    near_one = lambda a: rng.uniform(0.5, 1.5, a.shape)
    params, state = jax.tree.map(near_one, jax.eval_shape(lambda: many.layer.init(KEY, many.shape[1:])))
    x = rng.uniform(0.5, 1.5, many.shape)
    dy = near_one(many.layer.apply(params, state, x)[0])
    options = {"compiler_options": QUICKLY} if dtype == "bfloat16" else {}  # the slow ones with all optimisations
    check_layer(many.layer, halved((params, state, x, dy), dtype), True, library, **options)


NORMS = {
    "batch_norm": fn.batch_norm(),
    "layer_norm": fn.layer_norm(),
    "layer_norm over an image": fn.layer_norm(axes=3),
    "rms_norm": fn.rms_norm(axes=3),
    "group_norm": fn.group_norm(1),
    "instance_norm": fn.instance_norm(),
}


@pytest.mark.parametrize(("mean", "deviation"), [(0, 400), (1000, 1), (1000, 400), (0, 1e-3)])
@pytest.mark.parametrize("norm", [pytest.param(n, id=name, marks=[pytest.mark.slow] * (name != "batch_norm")) for name, n in NORMS.items()])
@each_half
@each_library
def test_statistics_neither_overflow_nor_lose_the_spread(norm, mean, deviation, dtype, library):
    rng = np.random.default_rng(5)
    x, dy = mean + deviation * rng.standard_normal((64, 12, 12, 3)), rng.standard_normal((64, 12, 12, 3))
    shapes, state = jax.eval_shape(lambda: norm.init(KEY, x.shape[1:]))
    params = {name: rng.uniform(0.5, 1.5, shape.shape) for name, shape in shapes.items()}
    state = {"mean": np.full(3, mean), "var": np.full(3, min(deviation**2, 3e4))} if state else ()  # what float16 can hold
    for train in modes(state):
        check_layer(norm, halved((params, state, x, dy), dtype), train, library)


@each_half
@each_library
def test_float32_params_and_state_with_a_half_x_stay_float32(dtype, library):
    """No rounding of the running statistics, and no promotion that the strict rules would refuse."""
    net = fn.serial(fn.batch_norm(), fn.relu, fn.residual(fn.batch_norm()), fn.layer_norm(scale=False), fn.max_pool((2, 2)))
    params, state, x, dy = fn.to_numpy(problem(CASES["batch_norm: images"]._replace(layer=net)), "float32")
    arrays = params, state, *halved((x, dy), dtype)
    got = jax.jit(both_passes(net, True))(*on_jax(arrays)) if library == "JAX" else both_passes(net, True)(*arrays)
    assert dtypes(got) == dtypes((arrays[2], state, params, arrays[2]))
    exact = both_passes(net, True)(*fn.to_numpy(arrays, "float64"))
    for name in ("mean", "var"):
        np.testing.assert_allclose(got[1][0][name], exact[1][0][name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("x", "params"), [("bfloat16", "float32"), ("float32", "bfloat16"), ("float32", "float32")])
def test_a_manual_gradient_has_the_dtype_of_what_it_is_for(x, params):
    """As `jax.grad` of the plain layer gives it, also where x and the parameters differ."""

    def gradient(layer, *given):
        return jax.grad(lambda p, x: layer.apply(p, state, x, train=True)[0].astype("float32").sum(), argnums=(0, 1))(*given)

    for layer, shape in ((fn.dense(3), (4,)), (fn.serial(fn.conv(3, (3, 3)), fn.batch_norm()), (4, 5, 2))):
        of_float32, state = layer.init(KEY, shape)
        given = jax.tree.map(lambda a: a.astype(params), of_float32), jnp.ones((4, *shape), x)
        with jax.numpy_dtype_promotion("standard"):
            manual, plain = (jax.eval_shape(lambda *a, r=run: gradient(r, *a), *given) for run in (fn.with_manual_vjp(layer), layer))
        assert dtypes(manual) == dtypes(plain) == dtypes(given)


def _cross_entropy(labels, **options):
    return lambda logits: fn.softmax_cross_entropy(logits, labels, **options)


LOSSES = {
    "1,000 classes": (_cross_entropy(np.arange(64) % 1000), 2.0, (64, 1000)),
    "1,000 classes, smoothed": (_cross_entropy(np.arange(64) % 1000, label_smoothing=0.1), 2.0, (64, 1000)),
    "soft labels": (_cross_entropy(np.full((64, 1000), 1e-3, "float32")), 2.0, (64, 1000)),
    "large logits": (_cross_entropy(np.arange(8) % 3), 2e4, (8, 3)),
    "70,000 examples": (_cross_entropy(np.arange(70_000) % 2), 2.0, (70_000, 2)),
    "1,000 classes, weighted, some ignored": (
        _cross_entropy(np.arange(64) % 1000, class_weights=np.linspace(0, 60, 1000), ignored_label=7),
        2.0,
        (64, 1000),
    ),
    "labels at 65,536 positions": (_cross_entropy(np.arange(65_536).reshape(4, 128, 128) % 2, ignored_label=1), 2.0, (4, 128, 128, 2)),
    "likelihood": (lambda y: fn.negative_log_likelihood(y, np.arange(64) % 1000), 300.0, (64, 1000)),
    "binary": (lambda y: fn.binary_cross_entropy(y, (y > 0).astype(y.dtype), positive_weight=3.0), 2e4, (64, 1000)),
    "absolute error": (lambda y: fn.mean_absolute_error(y, (y * 0).astype(y.dtype)), 2e4, (64, 1000)),
    "huber": (lambda y: fn.huber(y, (y * 0).astype(y.dtype), delta=2.0), 2e4, (64, 100)),
    "hinge": (lambda y: fn.hinge(y, np.arange(64) % 1000), 30.0, (64, 1000)),
    "squared error": (lambda y: fn.mean_squared_error(y, (y * 0).astype(y.dtype)), 1.0, (64, 1000)),
    "squared error above 200": (lambda y: fn.mean_squared_error(y, (y * 0).astype(y.dtype)), 200.0, (64, 3)),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
@each_half
@each_library
def test_losses_obey(loss, dtype, library):
    run, scale, shape = loss
    outputs = halved(np.clip(scale * np.random.default_rng(1).standard_normal(shape), -3e4, 6e4), dtype)
    got = jax.jit(run)(jnp.asarray(outputs)) if library == "JAX" else run(outputs)
    assert {leaf.dtype.name for leaf in got} == {dtype}
    check_law(got, run, (outputs,))


@each_half
def test_accuracy_counts_what_a_half_could_not(dtype):
    logits, labels = halved(np.eye(3)[np.arange(70_000) % 3], dtype), np.arange(70_000) % 3 * (np.arange(70_000) < 69_999)
    for got in (fn.accuracy(logits, labels), jax.jit(fn.accuracy)(jnp.asarray(logits), labels)):
        np.testing.assert_allclose(got, 1, atol=2e-5)


@pytest.mark.peers
@each_half
def test_no_further_from_float64_than_pytorch(dtype):
    """Batch norm at a standard deviation of 400, the mean of a large window, and a softmax over 1,000 classes."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    x = halved(1000 + 400 * rng.standard_normal((32, 20, 20, 2)), dtype)
    like, norm, pool = (
        torch.from_numpy(x.astype("float32")).to(getattr(torch, dtype)).movedim(-1, 1),
        fn.batch_norm(),
        fn.avg_pool((20, 20)),
    )
    params, state = halved(norm.init(KEY, x.shape[1:]), dtype)
    labels = np.arange(32)
    logits = halved(rng.standard_normal((32, 1000)), dtype)
    theirs = (
        torch.nn.functional.batch_norm(like.contiguous(), None, None, training=True).movedim(1, -1),
        torch.nn.functional.avg_pool2d(like, 20).movedim(1, -1),
        torch.nn.functional.cross_entropy(torch.from_numpy(logits.astype("float32")).to(like.dtype), torch.from_numpy(labels)),
    )

    def ours(params, state, x, logits):
        loss = fn.softmax_cross_entropy(logits, labels)[0]
        return norm.apply(params, state, x, train=True)[0], pool.apply((), (), x)[0], loss

    arrays = params, state, x, logits
    for a, b, e in zip(ours(*arrays), theirs, ours(*fn.to_numpy(arrays, "float64")), strict=True):
        unit = float(jnp.finfo(dtype).eps) * np.abs(e).max()
        assert np.abs(a.astype("float64") - e).max() <= np.abs(b.double().numpy() - e).max() + unit
