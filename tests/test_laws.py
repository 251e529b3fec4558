"""The laws that every layer, algorithm and combinator obeys. A new layer is one line in `tests/cases`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnn as fn
from tests.cases import each_case, each_kind, some_quickly

QUICKLY = {"xla_backend_optimization_level": 0}  # compiles in half the time what need not be fast
N = 4
KEY = jax.random.key(11)


def random_like(rng, tree):
    """A float64 NumPy tree of normal numbers with the shapes of `tree`."""
    return jax.tree.map(lambda a: rng.standard_normal(a.shape), tree)


def problem(case, *, tied=False):
    """Random params, state (a variance is positive), x and dy of a case, float64 on NumPy; tied x has many equal entries."""
    rng = np.random.default_rng(7)
    params, state = random_like(rng, jax.eval_shape(lambda: case.layer.init(KEY, case.in_shape)))
    state = jax.tree.map(lambda a: np.abs(a) + 0.5, state)
    shape = (N, *case.in_shape)
    x = rng.integers(-1, 2, shape).astype("float64") if tied else rng.standard_normal(shape)
    return params, state, x, random_like(rng, case.layer.apply(params, state, x)[0])


def is_key(a):
    """Random keys are JAX's on either library."""
    return isinstance(a, jax.Array) and jnp.issubdtype(a.dtype, jax.dtypes.prng_key)


def on_jax(tree, dtype=None):
    return jax.tree.map(jnp.asarray, fn.to_numpy(tree, dtype))


def both_passes(layer, train, wrap=lambda f: f):
    """`(params, state, x, dy) -> (y, new state, dparams, dx)` by the layer's own two passes, each wrapped on its own."""
    forward = wrap(lambda params, state, x: layer.forward(params, state, x, key=KEY, train=train))
    backward = wrap(layer.backward)

    def run(params, state, x, dy):
        y, new_state, residuals = forward(params, state, x)
        return y, new_state, *backward(residuals, dy)

    return run


def passes_by_vjp(layer, train):
    """What `both_passes` gives, by `jax.vjp` of the plain forward pass."""

    def run(params, state, x, dy):
        y, pull, new_state = jax.vjp(lambda p, x: layer.apply(p, state, x, key=KEY, train=train), params, x, has_aux=True)
        return y, new_state, *pull(dy)

    return run


def modes(case):
    """The values of `train` to test; only one where training traces to the very same program."""
    programs = [str(jax.make_jaxpr(both_passes(case.layer, train))(*on_jax(problem(case)))) for train in (True, False)]
    return (True,) if programs[0] == programs[1] else (True, False)


def worst(got, expected):
    """The largest error of any leaf, relative to that leaf's largest entry."""
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    errors = [0.0]
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert a.shape == b.shape
        a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
        errors.append(np.max(np.abs(a - b), initial=0) / (np.max(np.abs(b), initial=0) or 1))
    return max(errors)


@each_case
@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
def test_shapes_dtypes_and_trees_fit(case, train):
    params, state, x, dy = fn.to_numpy(problem(case), "float32")
    y, new_state, residuals = case.layer.forward(params, state, x, key=KEY, train=train)
    dparams, dx = case.layer.backward(residuals, dy)
    leaves = jax.tree.leaves((y, new_state, residuals, dparams, dx))
    strays = [type(leaf).__name__ for leaf in leaves if not isinstance(leaf, np.ndarray) and not is_key(leaf)]
    assert not strays, f"not NumPy arrays, though the input is: {strays}; use namespace(x), keep arrays only as residuals"
    for got, like in ((dx, x), (dy, y), (dparams, params), (new_state, state)):
        assert jax.tree.map(lambda a: (a.shape, a.dtype), got) == jax.tree.map(lambda a: (a.shape, a.dtype), like)
    assert worst(case.layer.apply(params, state, x, key=KEY, train=train), (y, new_state)) == 0
    assert train or worst(new_state, state) == 0


@some_quickly
@pytest.mark.usefixtures("x64")
def test_backward_is_the_vjp_of_forward_and_numpy_agrees_with_jax(case):
    """Three routes in float64: the two passes on NumPy, the two passes jitted apart, `jax.vjp` of the plain forward pass."""
    for train in modes(case):
        oracle = jax.jit(passes_by_vjp(case.layer, train), compiler_options=QUICKLY)
        eager, jitted = both_passes(case.layer, train), both_passes(case.layer, train, wrap=jax.jit)
        for tied in (False, True):
            arrays = problem(case, tied=tied)
            expected = oracle(*on_jax(arrays))
            assert worst(jitted(*on_jax(arrays)), expected) <= 1e-12
            assert worst(eager(*arrays), expected) <= 1e-12


@some_quickly
def test_float32_on_jax_is_close_to_float64_on_numpy(case):
    """Both passes in one program, compiled with all optimisations."""
    for train in modes(case):
        single = on_jax(problem(case), "float32")
        got = jax.jit(both_passes(case.layer, train))(*single)
        assert {leaf.dtype for leaf in jax.tree.leaves(got)} <= {np.dtype("float32")}
        assert worst(got, both_passes(case.layer, train)(*fn.to_numpy(single, "float64"))) <= case.float32


@each_kind
def test_grad_through_the_manual_vjp_runs_backward(case):
    """The same result as calling `backward`; a negated `backward` negates it."""
    params, state, x, dy = on_jax(problem(case), "float32")
    expected = both_passes(case.layer, train=True)(*fn.to_numpy((params, state, x, dy)))[2:]
    for sign in (1, -1):
        layer = case.layer._replace(backward=lambda r, dy, s=sign: jax.tree.map(lambda a: s * a, case.layer.backward(r, dy)))
        through = jax.jit(passes_by_vjp(fn.with_manual_vjp(layer), train=True), compiler_options=QUICKLY)
        assert worst(jax.tree.map(lambda a, s=sign: s * a, through(params, state, x, dy)[2:]), expected) <= 1e-5


@each_case
def test_examples_are_independent_and_a_nan_is_seen(case):
    """In evaluation an example's output depends on that example alone, and a broken input never looks like a good one."""
    params, state, x, _ = problem(case)
    broken = x.copy()
    broken[1] = np.nan
    y, _ = case.layer.apply(params, state, x)
    with np.errstate(invalid="ignore"):
        broken_y, _ = case.layer.apply(params, state, broken)
    others = np.arange(N) != 1
    assert np.isnan(broken_y[1]).any()
    assert worst(broken_y[others], y[others]) <= 1e-12


@each_case
def test_bad_input_is_refused_by_name(case):
    layer, (params, state, x, dy) = case.layer, problem(case)
    residuals = layer.forward(params, state, x, key=KEY, train=True)[2]

    def refused(params=params, state=state, x=x):
        with pytest.raises((ValueError, TypeError), match=r"^\w+: expected .*, got "):
            layer.forward(params, state, x, key=KEY, train=True)

    if isinstance(params, dict):
        wrong = [{**params, "surplus": np.ones(3)}, jax.tree.map(lambda a: a[None], params)]
        wrong += [{name: a for name, a in params.items() if name != missing} for missing in params]
    else:
        wrong = [(*params, np.ones(3)), *([params[1:]] if params else [])]
    for bad in (None, [params], *wrong):
        refused(params=bad)
    for bad in (None, {"mean": np.ones(99), "var": np.ones(99)}, (*state, ())):
        refused(state=bad)
    if layer.name == "serial" and not params:
        return  # no layer looks at x
    for bad in (x.tolist(), x.astype("int32"), *([] if case.any_rank else [x[0], x[None]])):
        refused(x=bad)
    if jax.tree.leaves(params) and not case.any_channels:
        refused(x=np.concatenate([x, x], axis=-1))
    with pytest.raises(ValueError, match=r"^\w+: expected dy of shape .*, got "):
        layer.backward(residuals, dy[..., None])
