"""Pooling in random geometries against PyTorch, and with any options at all, sensible or not, against its definition."""

import re
from functools import reduce
from itertools import product
from math import ceil, prod

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings

import funcnn as fn

GRID = 600
KINDS = ("max_pool", "max_pool", "avg_pool", "avg_pool", "lp_pool", "adaptive_max_pool", "adaptive_avg_pool")


def out_size(size, reach, stride, low, high, ceil_mode):
    """The number of windows by the rule in PyTorch's documentation."""
    out = (low + size + high - reach) / stride + 1
    out = ceil(out) if ceil_mode else int(np.floor(out))
    return out - (ceil_mode and (out - 1) * stride >= size + low)


def rows_of(size, window, stride, dilation, low, high, ceil_mode):
    """For each output along an axis the inputs that it sees, and how many it counts with the padding."""
    out = out_size(size, (window - 1) * dilation + 1, stride, low, high, ceil_mode)
    seen = [[q * stride - low + k * dilation for k in range(window)] for q in range(out)]
    return [([h for h in rows if 0 <= h < size], sum(h < size + high for h in rows)) for rows in seen]


def both(layer, x, dy):
    y, _, residuals = layer.forward((), (), x)
    return y, layer.backward(residuals, dy)[1]


def check_close(got, expected, name):
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape, (name, a.shape, b.shape)
        assert np.abs(a - b).max(initial=0) <= 1e-10 * max(np.abs(b).max(initial=0), 1e-3), name


def drawn(rng):
    """A random pooling that PyTorch has: (its kind, its arguments, its options, the sizes of x); each window holds some of x."""
    rank, kind = int(rng.integers(1, 4)), str(rng.choice(KINDS))

    def draw(low, high):
        return tuple(int(rng.integers(low, h + 1)) for h in np.broadcast_to(high, rank))

    while True:
        sizes = draw(1, (17, 10, 7)[rank - 1])
        if "adaptive" in kind:
            return kind, tuple(None if rng.random() < 0.1 else p for p in draw(1, np.add(sizes, 3))), {}, sizes
        window, stride, ceil_mode = draw(1, 4), draw(1, 4), bool(rng.integers(2))
        dilation, padding = draw(1, 3) if kind == "max_pool" else (1,) * rank, draw(0, [k // 2 for k in window])
        if kind == "lp_pool":
            padding = (0,) * rank
        axes = [rows_of(*axis, p, p, ceil_mode) for *axis, p in zip(sizes, window, stride, dilation, padding, strict=True)]
        theirs = rank < 3 or kind == "max_pool" or all(n + 2 * p >= k for n, p, k in zip(sizes, padding, window, strict=True))
        if theirs and all(rows and all(seen for seen, _ in rows) for rows in axes):
            break
    options = {"stride": stride, "padding": tuple((p, p) for p in padding), "ceil_mode": ceil_mode}
    own = {"max_pool": {"dilation": dilation}, "avg_pool": {"count_include_pad": bool(rng.integers(2))}}
    return kind, window, options | own.get(kind, {"p": float(rng.choice([1, 1.5, 2, 3, 4, 7]))}), sizes


def by_pytorch(kind, size, options, x):
    """y of a tensor x, channels first."""
    import torch

    function, rank = getattr(torch.nn.functional, f"{kind}{x.ndim - 2}d"), x.ndim - 2
    if "adaptive" in kind:
        return function(x, size if rank > 1 else size[0] or x.shape[-1])
    stride, padding, ceil_mode = options["stride"], tuple(low for low, _ in options["padding"]), options["ceil_mode"]
    if kind == "max_pool":
        return function(x, size, stride, padding, options["dilation"], ceil_mode)
    if kind == "avg_pool":
        return function(x, size, stride, padding, ceil_mode, options["count_include_pad"])
    # |x|, as PyTorch keeps the sign; and it makes the sum of a window that reaches beyond the end larger, as if all of it were there
    one = rank == 1
    y = function(x.abs(), options["p"], size[0] if one else size, stride[0] if one else stride, ceil_mode)
    axes = zip(x.shape[2:], size, stride, strict=True)
    there = [[len(seen) / k for seen, _ in rows_of(n, k, s, 1, 0, 0, ceil_mode)] for n, k, s in axes]
    return y * torch.tensor(reduce(np.multiply.outer, map(np.asarray, there))) ** (1 / options["p"])


def against_pytorch(seeds, run):
    import torch

    for seed in seeds:
        rng = np.random.default_rng(seed)
        kind, size, options, sizes = drawn(rng)
        layer = getattr(fn, kind)(size, **options)
        x = rng.standard_normal((2, *sizes, 3))
        if kind != "lp_pool" and seed % 2:  # of a norm of nothing but zeros PyTorch's gradient is NaN
            x = np.round(x)
        tensor = torch.tensor(x, requires_grad=True)
        y = by_pytorch(kind, size, options, tensor.movedim(-1, 1)).movedim(1, -1)
        dy = rng.standard_normal(y.shape)
        expected = y.detach().numpy(), torch.autograd.grad(y, tensor, torch.tensor(dy))[0].numpy()
        check_close(run(layer, x, dy), expected, f"{seed}: {layer!r} of {sizes}")


@pytest.mark.peers
@pytest.mark.parametrize("part", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in range(1, 6))])
def test_random_geometries_are_those_of_pytorch(part):
    """On NumPy, in float64, tied and not: y and dx; 600 geometries in all."""
    pytest.importorskip("torch")
    each = GRID // 6
    against_pytorch(range(part * each, (part + 1) * each), both)


@pytest.mark.peers
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("seed", [GRID, GRID + 1, *(pytest.param(GRID + i, marks=pytest.mark.slow) for i in range(2, 20))])
def test_some_of_them_compiled(seed):
    pytest.importorskip("torch")
    against_pytorch([seed], lambda layer, x, dy: fn.to_numpy(jax.jit(lambda *a: both(layer, *a))(jnp.asarray(x), jnp.asarray(dy))))


# Any options at all


def largest(ties):
    def rule(seen, count):
        y = seen.max(1, keepdims=True)
        won = seen == y
        if ties == "first":
            won &= won.cumsum(1) == 1
        return y[:, 0], won / won.sum(1, keepdims=True)

    return rule


def mean(seen, count):
    return seen.sum(1) / count, np.full(seen.shape, 1 / count)


def norm(p):
    def rule(seen, count):
        y = (abs(seen) ** p).sum(1, keepdims=True) ** (1 / p)
        return y[:, 0], np.sign(seen) * (abs(seen) / np.where(y == 0, 1, y)) ** (p - 1)

    return rule


def by_definition(axes, rule, x, dy):
    """(y, dx): `rule`, from the entries of a window (N, K, C) and their count to y (N, C) and dy / dx, for one window after the other."""
    y, dx = np.zeros(dy.shape), np.zeros(x.shape)
    for q in product(*(range(len(rows)) for rows in axes)):
        at = np.ix_(range(len(x)), *(rows[i][0] for rows, i in zip(axes, q, strict=True)), range(x.shape[-1]))
        seen, whole, count = x[at], (slice(None), *q), prod(rows[i][1] for rows, i in zip(axes, q, strict=True))
        y[whole], slope = rule(seen.reshape(len(x), prod(seen.shape[1:-1]), x.shape[-1]), count)
        dx[at] += (slope * dy[whole][:, None]).reshape(seen.shape)
    return y, dx


def windows(sizes, size, options):
    """What the windows along each axis see, by the options of a layer."""
    per_axis = lambda value: value if isinstance(value, tuple | list) else (value,) * len(sizes)
    stride, dilation, padding = options["stride"], per_axis(options["dilation"]), options["padding"]
    stride, axes = per_axis(size if stride is None else stride), []
    for d, (n, k, s) in enumerate(zip(sizes, size, stride, strict=True)):
        total = max((ceil(n / s) - 1) * s + (k - 1) * dilation[d] + 1 - n, 0)
        rules = {"VALID": (0, 0), "SAME": (total // 2, total - total // 2), "SAME_LOWER": (total - total // 2, total // 2)}
        both_sides = (padding, padding) if not isinstance(padding, tuple | list | str) else None
        low, high = rules[padding] if isinstance(padding, str) else both_sides or padding[d]
        rows = rows_of(n, k, s, dilation[d], low, high, options["ceil_mode"])
        counted = options.get("count_include_pad", True)
        axes.append([(seen, count if counted else len(seen)) for seen, count in rows])
    return axes


def bins(sizes, out):
    out = out if isinstance(out, tuple | list) else (out,) * len(sizes)
    ends = [[(i * n // (p or n), -(-(i + 1) * n // (p or n))) for i in range(p or n)] for n, p in zip(sizes, out, strict=True)]
    return [[(list(range(a, b)), b - a) for a, b in pairs] for pairs in ends]


INTS = st.integers(-1, 5)
ANY = st.one_of(
    INTS, st.none(), st.booleans(), st.text(max_size=3), st.lists(INTS, max_size=3), st.lists(st.lists(INTS, max_size=3), max_size=3),
    st.sampled_from([1.5, np.inf, np.nan, 1j, 10**12, -(2**70), "first", "SAME", {}, np.float32(2), np.int8(2), np.ones(2), (None, 2)]),
)  # fmt: skip
SIZES = st.tuples(st.integers(1, 4), st.integers(1, 4))
PER_AXIS = st.integers(1, 3) | st.tuples(st.integers(1, 3), st.integers(1, 3)) | st.just(np.int64(2))
PADDING = st.sampled_from(["SAME", "VALID", "SAME_LOWER"]) | st.integers(0, 2) | st.tuples(*[st.tuples(*[st.integers(0, 2)] * 2)] * 2)
CLEAR = r"^{}: expected [^\n]*, got "


def mostly(sensible, otherwise=ANY):
    """What makes sense in nineteen of twenty draws."""
    return st.sampled_from(range(20)).flatmap(lambda i: otherwise if i == 13 else sensible)


OF_WINDOWS = {
    "stride": mostly(PER_AXIS | st.none()), "padding": mostly(PADDING), "dilation": mostly(PER_AXIS), "ceil_mode": mostly(st.booleans()),
}  # fmt: skip
TIES, POWER = mostly(st.sampled_from(["first", "split"])), mostly(st.sampled_from([1, 1.5, 2, 3, np.float64(2.5)]))
OUT = mostly(st.integers(1, 6) | st.tuples(*[st.integers(1, 6) | st.none()] * 2), ANY.filter(lambda v: v != 10**12))
OPTIONS = {
    "max_pool": {"size": mostly(SIZES), **OF_WINDOWS, "ties": TIES},
    "avg_pool": {"size": mostly(SIZES), **OF_WINDOWS, "count_include_pad": mostly(st.booleans())},
    "lp_pool": {"size": mostly(SIZES), **OF_WINDOWS, "p": POWER},
    "adaptive_max_pool": {"size": OUT, "ties": TIES},
    "adaptive_avg_pool": {"size": OUT},
    "global_max_pool": {},
    "global_avg_pool": {},
    "global_lp_pool": {"p": POWER},
}
ANYTHING = st.sampled_from(list(OPTIONS)).flatmap(lambda kind: st.tuples(st.just(kind), st.fixed_dictionaries(OPTIONS[kind])))
EVERY_ONE = {"stride": None, "padding": "VALID", "dilation": 1, "ceil_mode": False}


@settings(max_examples=1500, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@example(("max_pool", {"size": (2, 2), **EVERY_ONE, "ties": np.ones(2)}), (4, 4), 1)
@example(("avg_pool", {"size": (2, 2), **EVERY_ONE, "stride": 10**12, "count_include_pad": True}), (4, 4), 1)
@example(("avg_pool", {"size": (2, 2), **EVERY_ONE, "padding": 10**12, "count_include_pad": True}), (4, 4), 1)
@example(("max_pool", {"size": (2, 2), **EVERY_ONE, "padding": 1, "dilation": 2, "ties": "first"}), (1, 1), 1)
@example(("lp_pool", {"size": (3, 3), **EVERY_ONE, "ceil_mode": True, "p": 2}), (2, 2), 1)
@given(
    made=ANYTHING,
    sizes=mostly(st.lists(st.integers(1, 7), min_size=2, max_size=2), st.lists(st.integers(0, 4), max_size=4)),
    channels=mostly(st.integers(1, 3), st.just(0)),
)
def test_any_options_give_the_right_answer_or_a_clear_error(made, sizes, channels):
    """On NumPy, of small whole numbers, which tie."""
    kind, options = made
    rng = np.random.default_rng(0)
    try:
        x = rng.integers(-2, 3, (2, *sizes, channels)).astype("float64")
        layer, rest = getattr(fn, kind), {name: value for name, value in options.items() if name != "size"}
        layer = layer if isinstance(layer, fn.Layer) else layer(options["size"], **rest) if "size" in options else layer(**rest)
        y, _, residuals = layer.forward((), (), x)
        dy = rng.standard_normal(y.shape)
        dx = layer.backward(residuals, dy)[1]
    except (ValueError, TypeError) as error:
        assert re.match(CLEAR.format(kind), str(error)), error  # noqa: PT017
        return
    rule = largest(options.get("ties", "first")) if "max" in kind else mean if "avg" in kind else norm(options["p"])
    whole = kind.startswith("global")
    axes = windows(sizes, options["size"], options) if "padding" in options else bins(sizes, options.get("size", 1))
    positions = (1,) * len(sizes) if whole else y.shape[1:-1]
    expected, dx_expected = by_definition(axes, rule, x, dy.reshape(2, *positions, channels))
    check_close((y, dx), (expected.reshape(y.shape), dx_expected), f"{layer!r} of {sizes}")


# What no other test tells


@pytest.mark.parametrize("p", [1, 1.5, 2, 3, 40])
@pytest.mark.parametrize("scale", [0, 1e-30, 1, 1e4, 1e30])
def test_norms_neither_overflow_nor_vanish(p, scale):
    """In float32, of zeros too; backward, and `jax.grad` of the plain forward pass."""
    x = np.random.default_rng(0).integers(-3, 4, (2, 4, 4, 2)).astype("float32") * np.float32(scale)
    x[0, :2, :2] = 0
    for layer in (fn.lp_pool((2, 2), p=p), fn.global_lp_pool(p=p)):
        dy = np.random.default_rng(1).standard_normal(layer.apply((), (), x)[0].shape).astype("float32")
        (y, dx), wide = both(layer, x, dy), both(layer, x.astype("float64"), dy.astype("float64"))
        pulled = jax.jit(lambda x, dy, layer=layer: jax.vjp(lambda x: layer.apply((), (), x)[0], x)[1](dy)[0])(x, dy)
        assert np.isfinite(pulled).all()
        for got, expected in ((y, wide[0]), (dx, wide[1]), (pulled, wide[1])):
            np.testing.assert_allclose(got, expected, rtol=0, atol=3e-6 * p * np.abs(expected).max())


@pytest.mark.parametrize("layer", [fn.adaptive_max_pool(1), fn.adaptive_avg_pool(2), fn.global_max_pool, fn.global_lp_pool()], ids=repr)
def test_programs_do_not_grow_with_the_input(layer):
    def equations(size):
        x = jax.ShapeDtypeStruct((2, size, size, 3), "float32")
        dy = jax.eval_shape(lambda x: layer.apply((), (), x)[0], x)
        return len(jax.make_jaxpr(lambda x, dy: both(layer, x, dy))(x, dy).jaxpr.eqns)

    assert equations(64) == equations(16) <= 40


@pytest.mark.parametrize("out", [3, 7, 50])
def test_programs_do_not_grow_with_the_bins(out):
    for make in (fn.adaptive_max_pool, fn.adaptive_avg_pool):
        layer, x = make(out), jax.ShapeDtypeStruct((2, 64, 64, 3), "float32")
        dy = jax.eval_shape(lambda x, layer=layer: layer.apply((), (), x)[0], x)
        program = jax.make_jaxpr(lambda x, dy, layer=layer: both(layer, x, dy))(x, dy)
        assert len(program.jaxpr.eqns) <= 80
        assert "scatter" not in str(program)


def test_what_is_no_number_stays_in_its_bins():
    """An infinite or broken entry reaches the outputs whose bins hold it, and no other."""
    x = np.zeros((1, 5, 1))
    for value in (np.inf, np.nan):
        x[0, 0] = value
        for layer in (fn.adaptive_avg_pool(3), fn.adaptive_max_pool(3), fn.adaptive_max_pool(3, ties="split")):
            np.testing.assert_array_equal(layer.apply((), (), x)[0][0, :, 0], [value, 0, 0])
    assert np.isinf(fn.lp_pool((2,)).apply((), (), np.asarray([[[np.inf], [1.0]]]))[0]).all()
