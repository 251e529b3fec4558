"""`fn.interop.reduce_window`, `max_pool` and `avg_pool` against `jax.lax` and Flax; models of Equinox and Haiku with `jax.lax` replaced."""

from functools import partial
from math import inf

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

from funcnn.interop import avg_pool, max_pool, reduce_window, replacing_lax, windows
from tests.interop.test_convolution import QUICK, agree, over
from tests.test_devices import on_eight_devices

COMPUTATIONS = {"max": (-inf, lax.max), "sum": (0.0, lax.add)}
TRANSFORMS = ["jvp", "vjp of vjp", "jvp of vjp", "vmap x", "vmap dy", "vmap x dy"]


def drawn(rng, computation):
    """A shape and options that JAX takes, pooled over any of one to four axes, with at least one output."""
    whole = lambda low, high: int(rng.integers(low, high + 1))
    while True:
        rank = whole(1, 4)
        shape = tuple(whole(1, 7 if rank < 4 else 4) for _ in range(rank))
        pooled = [whole(0, 2) > 0 for _ in range(rank)]
        around = [(whole(0, 1), whole(0, 2)) if p else (0, 0) for p in pooled]
        per_axis = lambda low, high, other, pooled=pooled: tuple(whole(low, high) if p else other for p in pooled)
        options = {
            "window_dimensions": per_axis(1 + (whole(0, 3) > 0), 3, 1),
            "window_strides": per_axis(1, 3, 1),
            "padding": str(rng.choice(["SAME", "VALID", "SAME_LOWER"])) if whole(0, 1) else around,
            "window_dilation": per_axis(1, 2, 1) if computation == "sum" and whole(0, 1) else None,
        }  # fmt: skip
        out = jax.eval_shape(
            lambda x, o=options: lax.reduce_window(x, *COMPUTATIONS[computation], **o), jax.ShapeDtypeStruct(shape, "float64")
        )
        if out.size:
            return shape, out.shape, options


def transformed(rng, transform, pool, x, dy):
    """The transform of the pooling or of its gradient, a function of arrays and these."""
    pull = lambda x, dy: jax.vjp(pool, x)[1](dy)
    t, tdy = (rng.standard_normal(a.shape) for a in (x, dy))
    if transform == "jvp":
        return lambda x, t: jax.jvp(pool, (x,), (t,)), (x, t)
    if transform == "vjp of vjp":
        return lambda x, dy, t: jax.vjp(pull, x, dy)[1]((t,)), (x, dy, t)
    if transform == "jvp of vjp":
        return lambda *a: jax.jvp(pull, a[:2], a[2:]), (x, dy, t, tdy)
    (x, ax), (dy, ady) = (over(rng, a, name in transform.split()) for a, name in ((x, "x"), (dy, "dy")))
    out = int(rng.integers(min(x.ndim, dy.ndim)))
    if ady is None:
        return jax.vmap(lambda x, dy: (pool(x), pull(x, dy)), (ax, None), out), (x, dy)
    return jax.vmap(pull, (ax, ady), out), (x, dy)


def check(seed):
    """One set of arguments by one transform; whether funcnn computed it."""
    rng = np.random.default_rng(seed)
    computation, transform = ("max", "sum")[seed % 2], TRANSFORMS[seed // 2 % len(TRANSFORMS)]
    shape, out, options = drawn(rng, computation)
    x, dy = rng.standard_normal(shape), rng.standard_normal(out)
    state = rng.bit_generator.state

    def everything(window, *arrays):
        rng.bit_generator.state = state
        pool = lambda x: window(x, *COMPUTATIONS[computation], **options)
        y, pull = jax.vjp(pool, x)
        return y, pull(dy), transformed(rng, transform, pool, x, dy)[0](*arrays)

    arrays = transformed(rng, transform, jnp.sin, x, dy)[1]
    traced = jax.jit(lambda *a: (everything(reduce_window, *a), everything(lax.reduce_window, *a))).trace(*arrays)
    got, expected = traced.lower().compile(compiler_options=QUICK)(*arrays)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        finite = np.abs(np.where(np.isfinite(b), b, 0)).max(initial=0)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * finite, err_msg=f"{seed}: {computation} {transform} {shape} {options}")
    return "funcnn_" in str(traced.jaxpr)


def check_all(seeds):
    """How many of the sets funcnn computes."""
    return sum(check(seed) for seed in seeds)


@pytest.mark.usefixtures("x64")
def test_any_windows_by_any_transform():
    assert 12 <= check_all(range(24)) < 24


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_many_windows_by_any_transform():
    """Each of the six transforms 15 times, of the largest and of the sum."""
    assert 130 <= check_all(range(1000, 1180)) < 180


TO_WINNERS, SPLIT = windows.to_winners, windows.split
MISTAKES = {
    "ties to the last": ("to_winners", lambda dy, winner, axes: TO_WINNERS(dy, winner - 1, axes)),
    "an axis of vmap behind N": ("split", lambda a, axis, count: jnp.swapaxes(SPLIT(a, axis, a.shape[axis] // count), 0, 1)),
}


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_found(monkeypatch, mistake):
    monkeypatch.setattr(windows, *MISTAKES[mistake])
    with pytest.raises(AssertionError):
        check_all(range(100))


OPTIONS = [((2, 2), (2, 2), "VALID"), ((3, 3), (2, 2), "SAME"), ((3, 2), None, "SAME"), ((2, 3), (3, 1), ((1, 0), (0, 2)))]


def flax_pools(count_include_pad=True):
    nn = pytest.importorskip("flax.linen")
    return {"max": (max_pool, nn.max_pool)} | {
        f"mean {count}": (partial(avg_pool, count_include_pad=count), partial(nn.avg_pool, count_include_pad=count))
        for count in (True, False)
    }


@pytest.fixture
def flax_promotes():
    """Flax divides by NumPy's whole number, which the strict promotion refuses."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.peers
@pytest.mark.usefixtures("flax_promotes")
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", ["max", "mean True", "mean False"])
def test_pools_of_flax(kind, options):
    """Values and gradients of few whole numbers, so with many ties, of which JAX's own tangents are of any; those of different numbers."""
    rng = np.random.default_rng(0)
    tied, t = (rng.integers(-2, 3, (2, 7, 6, 3)).astype("float32") for _ in range(2))
    apart = rng.permutation(tied.size).reshape(tied.shape).astype("float32") / 100
    ours, theirs = (partial(pool, window_shape=options[0], strides=options[1], padding=options[2]) for pool in flax_pools()[kind])
    dy = rng.integers(-2, 3, ours(tied).shape).astype("float32")

    def results(pool):
        pull = lambda x, dy: jax.vjp(pool, x)[1](dy)
        tangents = jax.jvp(pool, (apart,), (t,)), jax.vjp(pull, apart, dy)[1]((t,)), jax.jvp(pull, (apart, dy), (t, dy))
        return pool(tied), pool(tied[0]), pull(tied, dy), jax.vmap(pool)(tied), jax.vmap(pull)(tied[None], dy[None]), tangents

    agree(results(ours), results(theirs), rtol=1e-6)
    if isinstance(options[2], str):  # with pairs Flax takes one axis of examples
        agree(ours(tied[None]), theirs(tied[None]), rtol=1e-6)


def test_tangents_of_ties_are_the_transpose_of_gradients():
    rng = np.random.default_rng(0)
    x, t = (rng.integers(-1, 2, (2, 7, 6, 3)).astype("float32") for _ in range(2))
    y, dy = jax.jvp(lambda x: max_pool(x, (3, 2), (2, 1), "SAME"), (x,), (t,))
    given = rng.integers(-2, 3, y.shape).astype("float32")
    dx = jax.vjp(lambda x: max_pool(x, (3, 2), (2, 1), "SAME"), x)[1](given)[0]
    assert (dy * given).sum() == (dx * t).sum() != 0


@pytest.mark.peers
@pytest.mark.usefixtures("flax_promotes")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "int32"])
def test_pools_of_flax_in_other_dtypes(dtype):
    x = np.random.default_rng(0).integers(-9, 9, (2, 7, 6, 3))
    for ours, theirs in flax_pools().values():
        got, expected = (pool(jnp.asarray(x, dtype), (3, 2), (2, 2), "SAME") for pool in (ours, theirs))
        agree(got, expected, rtol=0.01)


def test_explicit_padding_of_several_axes_of_examples():
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 6, 3)).astype("float32")
    pads = ((1, 0), (0, 1))
    for pool in (max_pool, avg_pool):
        agree(pool(x, (2, 3), (2, 1), pads), jnp.stack([pool(part, (2, 3), (2, 1), pads) for part in x]))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_means_of_halves_are_summed_in_float32(dtype):
    """Of 225 numbers around 1000, whose sum is more than float16 holds."""
    x = jnp.asarray(1000 + np.random.default_rng(0).standard_normal((1, 15, 15, 2)), dtype)
    y, pull = jax.vjp(lambda x: avg_pool(x, (15, 15)), x)
    np.testing.assert_array_equal(y, x.astype("float32").mean((1, 2), keepdims=True).astype(dtype))
    np.testing.assert_array_equal(pull(jnp.ones_like(y))[0], jnp.full_like(x, 1 / 225))


def test_the_largest_is_a_nan_where_one_is():
    x = jnp.asarray([1, jnp.nan, 3, 2.0]).reshape(1, 4, 1)
    np.testing.assert_array_equal(max_pool(x, (2,), (2,)).ravel(), jnp.asarray([jnp.nan, 3]))


HANDED = {
    "another computation": ((4, 4), (inf, lax.min, (2, 2)), {}),
    "another beginning": ((4, 4), (1.0, lax.add, (2, 2)), {}),
    "a function of one's own": ((4, 4), (0.0, lambda a, b: a + b, (2, 2)), {}),
    "zeros in between": ((4, 4), (0.0, lax.add, (2, 2)), {"base_dilation": (2, 1)}),
    "no axis": ((4, 4), (0.0, lax.add, (1, 1)), {}),
    "a window of padding alone": ((4, 4), (-inf, lax.max, (2, 2)), {"padding": [(2, 0), (0, 0)]}),
    "no entries": ((0, 4), (-inf, lax.max, (1, 2)), {}),
    "many taps": ((40, 40), (-inf, lax.max, (17, 17)), {}),
    "whole numbers": ((4, 4), (0, lax.add, (2, 2)), {}),
}  # fmt: skip


@pytest.mark.parametrize("case", HANDED)
def test_what_is_handed_to_jax(case):
    shape, args, options = HANDED[case]
    like = jax.ShapeDtypeStruct(shape, "int32" if case == "whole numbers" else "float32")
    ours, theirs = (
        str(jax.make_jaxpr(lambda x, pool=pool: pool(x, *args, **options))(like)) for pool in (reduce_window, lax.reduce_window)
    )
    assert ours == theirs


def test_trees_are_handed_to_jax():
    x = jnp.arange(6.0)
    both = lambda a, b: (jnp.maximum(a[0], b[0]), a[1] + b[1])
    agree(*(pool((x, x), (-jnp.inf, 0.0), both, (2,)) for pool in (reduce_window, lax.reduce_window)))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (((2, 2), (2,)), "expected inputs .* got .* strides \\(2,\\)"),
        (((2, 2), None, ((1, 1),)), "padding \\(\\(1, 1\\),\\)"),
        (((2, 2, 2, 2),), "got inputs of shape \\(2, 7, 6, 3\\)"),
        (((2, 2), None, "SOME"), "SOME"),
        (((0, 2),), "window"),
        (((2, 2), (0, 1)), "stride"),
    ],
)
@pytest.mark.parametrize("pool", [max_pool, avg_pool])
def test_bad_options(pool, args, message):
    with pytest.raises((ValueError, TypeError, RuntimeError), match=message):
        pool(jnp.ones((2, 7, 6, 3)), *args)


def test_compiled_recomputed_over_nothing_and_exported():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 6, 6, 3)), "float32")
    (b,) = export.symbolic_shape("b")
    for pool in (max_pool, avg_pool):
        gradient = jax.grad(lambda x, pool=pool: (pool(x, (3, 3), (2, 2), "SAME") ** 2).sum())
        agree(jax.jit(jax.checkpoint(gradient))(x), gradient(x))
        assert jax.vmap(gradient)(jnp.zeros((0, *x.shape))).shape == (0, *x.shape)
        with jax.disable_jit():
            agree(pool(x, (2, 2)), jax.jit(lambda x, pool=pool: pool(x, (2, 2)))(x))
        exported = export.export(jax.jit(gradient), platforms=["cpu", "cuda"])(jax.ShapeDtypeStruct((b, 6, 6, 3), "float32"))
        agree(exported.call(x), gradient(x))


@pytest.mark.slow
def test_divided_over_devices():
    """Under `shard_map`, and over either kind of axes of a mesh."""
    on_eight_devices("""
        x = np.random.default_rng(0).standard_normal((16, 8, 8, 4)).astype("float32")
        for pool in (fn.interop.max_pool, fn.interop.avg_pool):
            gradient = jax.grad(lambda x: (pool(x, (3, 3), (2, 2), "SAME") ** 2).sum())
            close(jax.jit(jax.shard_map(gradient, mesh=MESHES["automatic"], in_specs=P("data"), out_specs=P("data")))(x), gradient(x))
            for kind in ("automatic", "explicit"):
                placed = jax.device_put(x, NamedSharding(MESHES[kind], P("data")))
                close(jax.jit(gradient)(placed), gradient(x))
                assert not collectives(jax.jit(gradient).lower(placed).compile())
    """)


def equinox_model(key):
    eqx = pytest.importorskip("equinox")
    a, b, c = jax.random.split(key, 3)
    model = eqx.nn.Sequential([
        eqx.nn.Conv2d(3, 8, 3, padding=1, key=a), eqx.nn.Lambda(jax.nn.relu), eqx.nn.MaxPool2d(2, 2),
        eqx.nn.ConvTranspose2d(8, 4, 3, stride=2, key=b), eqx.nn.AvgPool2d(3, 2, padding=1), eqx.nn.Conv2d(4, 4, 3, groups=4, key=c),
    ])  # fmt: skip
    params, rest = eqx.partition(model, eqx.is_array)
    return params, lambda params, x: jax.vmap(eqx.combine(params, rest))(jnp.moveaxis(x, -1, 1))


def haiku_model(key):
    hk = pytest.importorskip("haiku")
    layers = lambda: hk.Sequential([
        hk.Conv2D(8, 3), jax.nn.relu, hk.MaxPool((2, 2, 1), (2, 2, 1), "SAME"), hk.Conv2DTranspose(4, 3, stride=2),
        hk.AvgPool((2, 2, 1), (2, 2, 1), "VALID"), hk.DepthwiseConv2D(1, 3),
    ])  # fmt: skip
    model = hk.without_apply_rng(hk.transform(lambda x: layers()(x)))
    return model.init(key, jnp.ones((1, 12, 12, 3))), model.apply


def flax_model(key):
    nn = pytest.importorskip("flax.linen")
    largest, mean = (partial(pool, window_shape=(2, 2), strides=(2, 2)) for pool in (nn.max_pool, nn.avg_pool))
    model = nn.Sequential([
        nn.Conv(8, (3, 3)), nn.relu, largest, nn.ConvTranspose(4, (3, 3), strides=(2, 2)), mean,
        nn.Conv(4, (3, 3), feature_group_count=4),
    ])  # fmt: skip
    return model.init(key, jnp.ones((1, 12, 12, 3))), model.apply


@pytest.mark.peers
@pytest.mark.usefixtures("flax_promotes")
@pytest.mark.parametrize("made", [equinox_model, haiku_model, flax_model])
def test_models_of_others_with_jax_replaced(made):
    """No convolution and no window of JAX's own is left, and the loss and its gradients are the same."""
    params, apply = made(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (4, 12, 12, 3))
    step = jax.jit(jax.value_and_grad(lambda params, x: jnp.tanh(apply(params, x)).sum()))
    expected = step(params, x)
    with replacing_lax():
        agree(step(params, x), expected, rtol=1e-3)
        text = step.lower(params, x).as_text()
    for name in ("stablehlo.convolution", "reduce_window", "select_and_scatter"):
        assert name not in text
        assert name in step.lower(params, x).as_text() or name == "select_and_scatter"
