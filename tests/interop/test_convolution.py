"""`fn.interop.conv_general_dilated` against `jax.lax`'s: what it computes, gradients of any order, and whatever it runs in."""

import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export, lax

from funcnn.interop import bilinear, conv_general_dilated, conv_transpose, convolution, replacing_lax
from tests.test_devices import on_eight_devices

QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
"""Compiles in a fifth of the time."""


def permuted(rng, letters):
    return "".join(rng.permutation(list(letters)))


def drawn(rng):
    """Shapes and options that JAX takes, with at least one output: one to three spatial axes and all that the signature has."""
    whole = lambda low, high: int(rng.integers(low, high + 1))
    while True:
        rank = whole(1, 2) + whole(0, 4) // 4
        per_axis = lambda low, high, rank=rank: [whole(low, high) for _ in range(rank)]
        around = [tuple(map(int, p)) for p in rng.integers(-2, 5, (rank, 2))]
        sizes, windows, n, c, o = per_axis(1, (9, 7, 4)[rank - 1]), per_axis(1, 4), whole(1, 2), whole(1, 3), whole(1, 3)
        strides, spread = [(per_axis(1, 3), None), ([1] * rank, per_axis(1, 3)), (per_axis(1, 4), per_axis(1, 2))][whole(0, 8) // 4]
        features, batches = [(whole(2, 3), 1), (1, whole(2, 3)), (1, 1), (1, 1)][whole(0, 3)]
        letters = "XYZ"[:rank]
        numbers = None if whole(0, 3) == 0 else tuple(permuted(rng, letters + more) for more in ("NC", "IO", "NC"))
        rows, taps, _ = lax.conv_dimension_numbers((1,) * (rank + 2), (1,) * (rank + 2), numbers)
        lhs, rhs = np.zeros(rank + 2, int), np.zeros(rank + 2, int)
        lhs[list(rows)], rhs[list(taps)] = [n * batches, c * features, *sizes], [o * features * batches, c, *windows]
        options = {
            "window_strides": strides,
            "padding": str(rng.choice(["SAME", "VALID", "SAME_LOWER"])) if whole(0, 2) == 0 else around,
            "lhs_dilation": spread,
            "rhs_dilation": per_axis(1, 3) if whole(0, 1) else None,
            "dimension_numbers": lax.conv_dimension_numbers(lhs, rhs, numbers) if whole(0, 3) == 0 else numbers,
            "feature_group_count": features,
            "batch_group_count": batches,
            "precision": "highest",
        }  # fmt: skip
        shapes = tuple(map(int, lhs)), tuple(map(int, rhs))
        try:
            out = jax.eval_shape(partial(lax.conv_general_dilated, **options), *(jax.ShapeDtypeStruct(s, "float64") for s in shapes))
        except ValueError:  # a crop of more than there is, or a rule for the padding of a transposed convolution
            continue
        if out.size:
            return *shapes, out.shape, options


def over(rng, array, batched):
    """The array, or three such along some axis, and that axis."""
    if not batched:
        return array, None
    axis = int(rng.integers(array.ndim + 1))
    return rng.standard_normal((*array.shape[:axis], 3, *array.shape[axis:])), axis


TRANSFORMS = ["jvp", "vjp of vjp", "jvp of vjp", "vmap x", "vmap w", "vmap x w", "vmap dy", "vmap x dy", "vmap w dy", "vmap x w dy"]


def transformed(rng, transform, conv, x, w, dy):
    """The transform of the convolution or of its gradients, a function of arrays and these."""
    pull = lambda x, w, dy: jax.vjp(conv, x, w)[1](dy)
    tangents = [rng.standard_normal(a.shape) for a in (x, w, dy)]
    if transform == "jvp":
        return lambda *a: jax.jvp(conv, a[:2], a[2:]), (x, w, *tangents[:2])
    if transform == "vjp of vjp":
        return lambda *a: jax.vjp(pull, *a[:3])[1](a[3:]), (x, w, dy, *tangents[:2])
    if transform == "jvp of vjp":
        return lambda *a: jax.jvp(pull, a[:3], a[3:]), (x, w, dy, *tangents)
    arrays, axes = zip(*(over(rng, a, name in transform.split()) for a, name in ((x, "x"), (w, "w"), (dy, "dy"))), strict=True)
    out = int(rng.integers(x.ndim + 1))
    if axes[2] is None:
        both = lambda x, w, dy: (conv(x, w), pull(x, w, dy))
        return jax.vmap(both, axes, out), arrays
    return jax.vmap(pull, axes, out), arrays


def check(seed):
    """One set of arguments by one transform, and by which it was; whether funcnn computed it."""
    rng = np.random.default_rng(seed)
    lhs, rhs, out, options = drawn(rng)
    transform = TRANSFORMS[seed % len(TRANSFORMS)]
    x, w, dy = map(rng.standard_normal, (lhs, rhs, out))
    state = rng.bit_generator.state

    def everything(conv, *arrays):
        rng.bit_generator.state = state
        conv = partial(conv, **options)
        run, _ = transformed(rng, transform, conv, x, w, dy)
        y, pull = jax.vjp(conv, x, w)
        return y, pull(dy), run(*arrays)

    arrays = transformed(rng, transform, conv_general_dilated, x, w, dy)[1]
    traced = jax.jit(lambda *a: (everything(conv_general_dilated, *a), everything(lax.conv_general_dilated, *a))).trace(*arrays)
    got, expected = traced.lower().compile(compiler_options=QUICK)(*arrays)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(
            a, b, rtol=0, atol=1e-10 * np.abs(b).max(initial=0), err_msg=f"{seed}: {transform} {lhs} {rhs} {options}"
        )
    return "funcnn_convolution" in str(traced.jaxpr)


def check_all(seeds):
    """How many of the sets funcnn computes."""
    return sum(check(seed) for seed in seeds)


@pytest.mark.usefixtures("x64")
def test_any_arguments_by_any_transform():
    assert 14 <= check_all(range(20, 40)) < 20


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("part", range(int(os.environ.get("PARTS", "3"))))
def test_many_arguments_by_any_transform(part):
    """Values and vjp of each, and one further transform of ten; `PARTS=8` in the environment takes 2,000 in all."""
    assert 200 <= check_all(range(1000 + 250 * part, 1250 + 250 * part)) < 250


JOIN, PART, AXIS, PASSES = bilinear._join, bilinear._part, convolution._transposed, bilinear.PASSES
MISTAKES = {
    "an axis of vmap inside groups": (bilinear, "_join", lambda a, axes, letter, groups: JOIN(a, axes, letter, 1)),
    "an axis of vmap out of groups": (bilinear, "_part", lambda a, axes, letter, groups, count: PART(a, axes, letter, 1, count)),
    "a crop on the wrong side": (convolution, "_transposed", lambda *axis: AXIS(*axis[:-1], axis[-1][::-1])),
    "kernels of one group": (convolution, "swap_channels", lambda w, groups: jnp.swapaxes(w, -2, -1)),
    "a gradient downhill": (
        bilinear,
        "PASSES",
        PASSES | {"w": lambda dy, x, geometry: PASSES["w"](-dy, x, geometry)},
    ),
}


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_found(monkeypatch, mistake):
    monkeypatch.setattr(*MISTAKES[mistake])
    with pytest.raises((AssertionError, TypeError, ValueError)):
        check_all(range(200))


IMAGES = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": ("NHWC", "HWIO", "NHWC")}


def some(dtype="float32", batch=2, channels=(4, 6)):
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.standard_normal(shape), dtype) for shape in ((batch, 8, 8, channels[0]), (3, 3, *channels)))


def squashed(conv, x, w, **options):
    return jnp.tanh(conv(x, w, **IMAGES | options)).sum()


def agree(got, expected, rtol=1e-4):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a, b, rtol=0, atol=rtol * np.abs(b).max())


def both(run):
    """What `run` of a convolution makes with ours, and with JAX's own."""
    return run(conv_general_dilated), run(lax.conv_general_dilated)


POLICIES = {"none": None, "products": jax.checkpoint_policies.dots_saveable, "everything": jax.checkpoint_policies.everything_saveable}


@pytest.mark.parametrize("saved", POLICIES)
def test_recomputed(saved):
    agree(*both(lambda conv: jax.grad(jax.checkpoint(partial(squashed, conv), policy=POLICIES[saved]), (0, 1))(*some())))


def test_scanned_and_differentiated_twice():
    x, w = some(channels=(4, 4))
    ws = jnp.stack([w, w / 2, w / 3])

    def loss(conv, x, ws):
        return lax.scan(lambda x, w: (jnp.tanh(conv(x, w, **IMAGES)), None), x, ws)[0].sum()

    agree(*both(lambda conv: jax.jit(jax.grad(partial(loss, conv), (0, 1)))(x, ws)))
    again = lambda conv: jax.jit(lambda x, ws: jax.jvp(jax.grad(partial(loss, conv), (0, 1)), (x, ws), (x, ws))[1])(x, ws)
    agree(*both(again), rtol=1e-3)


def test_linear_transposes_and_no_jit():
    x, w = some()
    agree(*both(lambda conv: jax.linear_transpose(lambda w: conv(x, w, **IMAGES), w)(conv(x, w, **IMAGES))))
    with jax.disable_jit():
        agree(*both(lambda conv: conv(x, w, **IMAGES)))


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_over_no_examples(axes):
    arrays = [a if axis is None else jnp.zeros((0, *a.shape)) for a, axis in zip(some(), axes, strict=True)]

    def run(conv):
        return jax.vmap(lambda *a: (conv(*a, **IMAGES), jax.grad(partial(squashed, conv), (0, 1))(*a)), axes)(*arrays)

    agree(*(jax.tree.map(lambda a: jnp.zeros((1, *a.shape)).sum(1), result) for result in both(run)))


@pytest.mark.parametrize("over", ["", *(pytest.param(name, marks=pytest.mark.slow) for name in "xw")])
def test_exported_with_a_free_batch_size_and_for_other_platforms(over):
    """On a GPU it is JAX's own convolution, on a CPU there is none."""
    (b,) = export.symbolic_shape("b")
    arrays, run = list(some()), jax.grad(partial(squashed, conv_general_dilated), (0, 1))
    shapes = [(b, *arrays[0].shape[1:]), arrays[1].shape]
    if over:
        i = "xw".index(over)
        run = jax.vmap(run, [0 if i == j else None for j in range(2)])
        shapes = [(b, *a.shape) if i == j else a.shape for j, a in enumerate(arrays)]
        arrays[i] = jnp.stack([arrays[i], 2 * arrays[i], -arrays[i]])
    like = [jax.ShapeDtypeStruct(s, "float32") for s in shapes]
    exported, alone = (export.export(jax.jit(run), platforms=platforms)(*like) for platforms in (["cpu", "cuda"], ["cpu"]))
    agree(exported.call(*arrays), run(*arrays))
    agree(alone.call(*arrays), run(*arrays))
    assert "stablehlo.convolution" in exported.mlir_module()
    assert "stablehlo.convolution" not in alone.mlir_module()


OPTIONS = [{}, {"window_strides": (2, 1)}, {"rhs_dilation": (1, 2)}, {"lhs_dilation": (2, 2), "padding": [(2, 1), (-1, 0)]}]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("groups", [1, 2])
def test_what_other_platforms_get_is_the_same(options, groups):
    """JAX's own convolution and its transposes, run on a CPU here."""
    x, w = some()
    loss = partial(squashed, conv_general_dilated, **options, feature_group_count=groups)
    program = jax.make_jaxpr(jax.grad(loss, (0, 1)))(x, w[:, :, : 4 // groups])
    faces = [eqn for eqn in program.eqns if eqn.primitive is bilinear.form_p]
    assert {eqn.params["face"] for eqn in faces} == {"x", "w", "y"}
    rng = np.random.default_rng(1)
    for eqn in faces:
        u, v = (jnp.asarray(rng.standard_normal(a.aval.shape), "float32") for a in eqn.invars)
        agree(bilinear._elsewhere(u, v, **eqn.params), bilinear.form_p.bind(u, v, **eqn.params))


@pytest.mark.parametrize("preferred", [None, pytest.param("float32", marks=pytest.mark.slow)])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_are_summed_in_float32(dtype, preferred):
    """No further from float64 than twice JAX's own, of 9 * 64 products; it has no gradients where a wider dtype is preferred, ours has."""
    x, w = some(dtype, channels=(64, 16))
    with jax.enable_x64(True):
        y, pull = jax.vjp(partial(lax.conv_general_dilated, **IMAGES), x.astype("float64"), w.astype("float64"))
        exact = [np.asarray(a) for a in (y, *pull(jnp.ones(y.shape)))]

    def errors(conv, with_gradients=True):
        y, pull = jax.vjp(partial(conv, **IMAGES, preferred_element_type=preferred), x, w)
        results = (y, *pull(jnp.ones(y.shape, y.dtype))) if with_gradients else (y,)
        assert [a.dtype for a in results] == [preferred or dtype, dtype, dtype][: len(results)]
        return [np.abs(np.asarray(a, "float64") - b).max() / np.abs(b).max() for a, b in zip(results, exact, strict=False)]

    theirs = errors(lax.conv_general_dilated, with_gradients=preferred is None)
    limits = [*(2 * error + 1e-6 for error in theirs), *(float(jnp.finfo(dtype).eps) for _ in exact[len(theirs) :])]
    assert all(error <= limit for error, limit in zip(errors(conv_general_dilated), limits, strict=True))


ARRAYS = {"taps": ((1, 20, 20, 1), (17, 17, 1, 1)), "long": ((1, 50, 50, 4), (3, 3, 4, 6)), "none": ((0, 8, 8, 4), (3, 3, 4, 6))}
HANDED = {
    "whole numbers": ("", "int32", {}),
    "complex numbers": ("", "complex64", {}),
    "whole numbers as others": ("", "int8", {"preferred_element_type": "int32"}),
    "no entries": ("none", "float32", {}),
    "many taps": ("taps", "float32", {}),
    "long strides": ("long", "float32", {"window_strides": (20, 20), "rhs_dilation": (2, 2)}),
    "dilated and strided": ("", "float32", {"window_strides": (2, 2), "lhs_dilation": (2, 1), "padding": [(1, 1), (1, 1)]}),
    "no spatial axes": ("flat", "float32", {"window_strides": (), "padding": [], "dimension_numbers": ("NC", "IO", "NC")}),
}  # fmt: skip


@pytest.mark.parametrize("case", HANDED)
def test_what_is_handed_to_jax(case):
    shapes, dtype, options = HANDED[case]
    arrays = {"flat": ((2, 3), (3, 5)), "": ((2, 8, 8, 4), (3, 3, 4, 6))} | ARRAYS
    like = [jax.ShapeDtypeStruct(shape, dtype) for shape in arrays[shapes]]
    ours, theirs = both(lambda conv: str(jax.make_jaxpr(partial(conv, **IMAGES | options))(*like)))
    assert ours == theirs


WRONG = {
    "strides of another rank": {"window_strides": (1,)},
    "padding of no rule": {"padding": "FOO"},
    "padding of one number": {"padding": 3},
    "one pair of padding": {"padding": [(1, 1)]},
    "a rule for a transposed convolution": {"lhs_dilation": (2, 2)},
    "no group": {"feature_group_count": 0},
    "groups that do not divide": {"feature_group_count": 3},
    "both kinds of groups": {"feature_group_count": 2, "batch_group_count": 2},
    "no dilation": {"rhs_dilation": (0, 1)},
    "a stride backwards": {"window_strides": (-1, 1)},
    "letters of no axis": {"dimension_numbers": ("NHWC", "HWIO", "NHWD")},
    "a precision of no name": {"precision": "some"},
    "a crop of more than there is": {"padding": [(-9, -9), (0, 0)]},
    "a narrower dtype": {"preferred_element_type": "float16"},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_arguments_get_jax_own_message(wrong):
    x, w = some()
    ours, theirs = both(lambda conv: refused(conv, x, w, WRONG[wrong]))
    assert ours == theirs


def test_mixed_dtypes_and_ranks_get_jax_own_message():
    x, w = some()
    for a, b in ((x, w.astype("bfloat16")), (x, w[0]), (x, w[:, :, :3])):
        ours, theirs = both(lambda conv, a=a, b=b: refused(conv, a, b, {}))
        assert ours == theirs


def refused(conv, x, w, options):
    with pytest.raises((ValueError, TypeError, RuntimeError)) as error:
        conv(x, w, **IMAGES | options)
    return error.type, str(error.value).splitlines()[0]


@pytest.mark.slow
def test_divided_over_devices():
    """Under `shard_map`, with and without its checks, gradients of first and second order, and `vmap`; over either kind of axes."""
    on_eight_devices("""
        from functools import partial
        from jax import lax

        options = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
        rng = np.random.default_rng(0)
        x, w = (rng.standard_normal(s).astype("float32") / 4 for s in ((16, 8, 8, 4), (3, 3, 4, 6)))
        ours, theirs = fn.interop.conv_general_dilated, lax.conv_general_dilated
        loss = lambda conv, x, w: (conv(x, w, **options) ** 2).sum()
        first = lambda f: jax.jit(jax.grad(f, (0, 1)))(x, w)
        second = lambda f: jax.jit(lambda x, w: jax.jvp(jax.grad(f, (0, 1)), (x, w), (x, w))[1])(x, w)
        over = partial(jax.shard_map, mesh=MESHES["automatic"], in_specs=(P("data"), P()))
        for checked in (True, False):
            divided = over(lambda x, w: jax.lax.psum(loss(ours, x, w), "data"), out_specs=P(), check_vma=checked)
            for order in (first, second):
                close(order(divided), order(partial(loss, theirs)))
        one = lambda conv, x, w: (conv(x[None], w, **options), jax.grad(partial(loss, conv), 1)(x[None], w))
        each = lambda conv, x, w: jax.vmap(partial(one, conv), (0, None))(x, w)
        several = lambda conv, x, w: jax.vmap(partial(conv, **options))(jnp.stack([x, x], 0), jnp.stack([w, 2 * w]))
        for run, spec in ((each, P("data")), (several, P(None, "data"))):
            close(*(jax.jit(over(partial(run, conv), out_specs=spec))(x, w) for conv in (ours, theirs)))
        for kind in ("automatic", "explicit"):
            placed = [jax.device_put(a, NamedSharding(MESHES[kind], p)) for a, p in ((x, P("data")), (w, P()))]
            step = jax.jit(jax.grad(partial(loss, ours), (0, 1)))
            close(step(*placed), first(partial(loss, theirs)))
            assert set(collectives(step.lower(*placed).compile())) == {"all-reduce"}
            close(ours(*placed, **options), theirs(x, w, **options))
    """)


def test_replaced_and_set_back():
    """Also for a function that was compiled before; what is handed to JAX's own does not come back."""
    before, (x, w) = lax.conv_general_dilated, some()
    step = jax.jit(lambda x, w: lax.conv_general_dilated(x, w, **IMAGES))
    outside = step(x, w)
    assert "stablehlo.convolution" in step.lower(x, w).as_text()
    with replacing_lax():
        assert "stablehlo.convolution" not in step.lower(x, w).as_text()
        agree(step(x, w), outside)
        assert lax.conv_general_dilated(*some("int32"), **IMAGES).dtype == "int32"
    assert lax.conv_general_dilated is before
    assert "stablehlo.convolution" in step.lower(x, w).as_text()


TRANSPOSED = [
    {"padding": "SAME"}, {"padding": "VALID", "transpose_kernel": True}, {"padding": [(1, 2), (0, 1)], "rhs_dilation": (1, 2)},
    {"padding": [(1, 1), (1, 0)], "use_consistent_padding": True},
]  # fmt: skip


@pytest.mark.parametrize("options", TRANSPOSED)
def test_conv_transpose(options):
    x, w = some(channels=(4, 4))
    run = lambda conv: jax.value_and_grad(lambda x, w: jnp.tanh(conv(x, w, (2, 1), **options)).sum(), (0, 1))(x, w)
    agree(run(conv_transpose), run(lax.conv_transpose))
    assert "conv_general_dilated" not in str(jax.make_jaxpr(lambda x, w: conv_transpose(x, w, (2, 1), **options))(x, w))


def test_set_back_after_an_error():
    before = vars(lax).copy()
    with pytest.raises(TypeError), replacing_lax():
        lax.conv_general_dilated(*some(), padding="SAME")
    assert vars(lax) == before
