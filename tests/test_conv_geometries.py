"""`conv` and `conv_transpose` in random geometries against PyTorch, as each other's adjoint, and with options that make no sense."""

import re

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings

import funcnn as fn
from funcnn.convolution.geometry import window
from funcnn.convolution.winograd import winograd3

ALGORITHMS = [a for a in (*vars(fn.convolution).values(), winograd3) if isinstance(a, fn.convolution.ConvAlgorithm)]
GRID = 800


def drawn(rng):
    """A random geometry: (transposed, kernel, options, sizes, the channels of a group in and out)."""
    rank, transposed = int(rng.integers(1, 4)), bool(rng.integers(2))

    def draw(low, high):
        return tuple(map(int, rng.integers(low, high + 1, rank)))

    while True:
        kernel, stride, dilation = draw(1, 5 if rank < 3 else 3), draw(1, 4), draw(1, 3)
        padding = tuple(zip(draw(0, 3), draw(0, 3), strict=True)) if rng.random() < 0.5 else int(rng.integers(3))
        options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": int(rng.choice([1, 1, 2, 3]))}
        if transposed:
            options["output_padding"] = tuple(int(rng.integers(0, max(s, d))) for s, d in zip(stride, dilation, strict=True))
        sizes, channels = draw(1, 7 if rank < 3 else 4), tuple(map(int, rng.integers(1, 4, 2)))
        try:
            geometry_of(transposed, kernel, options, sizes)
        except ValueError:
            continue
        return transposed, kernel, options, sizes, channels


def geometry_of(transposed, kernel, options, sizes):
    made = window("conv", kernel, options["stride"], options["padding"], options["dilation"])
    geometry = made.transposed(sizes, options["output_padding"]) if transposed else made.over(sizes)
    return geometry._replace(groups=options["groups"])


def layer_of(transposed, kernel, options, channels, algorithm):
    make = fn.conv_transpose if transposed else fn.conv
    return make(channels[1] * options["groups"], kernel, algorithm=algorithm, **options)


def passes(layer, params, x, dy):
    y, _, residuals = layer.forward(params, (), x)
    dparams, dx = layer.backward(residuals, dy)
    return y, dx, dparams["w"], dparams["b"]


def problem(rng, transposed, kernel, options, sizes, channels):
    layer = layer_of(transposed, kernel, options, channels, fn.convolution.auto)
    (c, o), groups = channels, options["groups"]
    w = rng.standard_normal((*kernel, o, c * groups) if transposed else (*kernel, c, o * groups))
    params, x = {"w": w, "b": rng.standard_normal(o * groups)}, rng.standard_normal((2, *sizes, c * groups))
    return params, x, rng.standard_normal(jax.eval_shape(lambda: layer.apply(params, (), x)[0]).shape)


def by_pytorch(transposed, options, params, x, dy):
    """PyTorch pads on both sides alike: what is not is padded or cropped by hand."""
    import torch

    rank = x.ndim - 2
    pairs = ((options["padding"],) * 2,) * rank if isinstance(options["padding"], int) else options["padding"]
    w, b, tx = (torch.tensor(a, requires_grad=True) for a in (params["w"], params["b"], x))
    function = getattr(torch.nn.functional, f"conv{'_transpose' * transposed}{rank}d")
    given = {"stride": options["stride"], "dilation": options["dilation"], "groups": options["groups"]}
    kernel, images = w.movedim((-1, -2), (0, 1)).contiguous(), tx.movedim(-1, 1).contiguous()
    if transposed:
        y = function(images, kernel, b, output_padding=options["output_padding"], **given)
        y = y[(slice(None), slice(None), *(slice(low, n - high) for (low, high), n in zip(pairs, y.shape[2:], strict=True)))]
    else:
        flat = [side for pair in reversed(pairs) for side in pair]
        y = function(torch.nn.functional.pad(images, flat), kernel, b, **given)
    y = y.movedim(1, -1)
    return tuple(t.detach().numpy() for t in (y, *torch.autograd.grad(y, (tx, w, b), torch.tensor(dy))))


def check_close(got, expected, name):
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape, name
        assert np.abs(a - b).max(initial=0) <= 1e-10 * max(np.abs(b).max(initial=0), 1e-3), name


def against_pytorch(seeds, wrap):
    for seed in seeds:
        rng = np.random.default_rng(seed)
        transposed, kernel, options, sizes, channels = case = drawn(rng)
        arrays = problem(rng, *case)
        expected = by_pytorch(transposed, options, *arrays)
        fit = [a for a in ALGORITHMS if a.supports(geometry_of(transposed, kernel, options, sizes))]
        for algorithm in (fn.convolution.auto, *_some(rng, fit)):
            layer = layer_of(transposed, kernel, options, channels, algorithm)
            check_close(wrap(layer, arrays), expected, f"{seed}: {layer!r} by {algorithm} of {sizes}")


def _some(rng, algorithms, count=2):
    """A few of the algorithms."""
    return [algorithms[i] for i in rng.permutation(len(algorithms))[:count]]


@pytest.mark.peers
@pytest.mark.parametrize("part", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in range(1, 8))])
def test_random_geometries_are_those_of_pytorch(part):
    """On NumPy, in float64: y, dx, dw and db, by `auto` and two more algorithms each; 800 geometries in all."""
    pytest.importorskip("torch")
    each = GRID // 8
    against_pytorch(range(part * each, (part + 1) * each), lambda layer, arrays: passes(layer, *arrays))


@pytest.mark.peers
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("seed", [GRID, GRID + 1, *(pytest.param(GRID + i, marks=pytest.mark.slow) for i in range(2, 12))])
def test_some_of_them_compiled(seed):
    pytest.importorskip("torch")

    def compiled(layer, arrays):
        return fn.to_numpy(jax.jit(lambda *a: passes(layer, *a))(*jax.tree.map(jnp.asarray, arrays)))

    against_pytorch([seed], compiled)


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda a: a.name)
def test_conv_transpose_is_the_adjoint_of_conv(algorithm):
    """<conv(x), y> = <x, conv_transpose(y)> with one kernel, and each one's input gradient is the other's forward pass."""
    checked = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        rank = int(rng.integers(1, 4)) if algorithm.name[:8] != "winograd" else 2
        size = {"winograd2": (3, 5), "winograd3": (2,), "winograd4": (3,)}.get(algorithm.name, (1, 2, 3, 4, 6))
        kernel = (int(rng.choice(size)),) * rank
        stride, dilation = (int(rng.integers(1, 4)) if rng.random() < 0.7 else 1), int(rng.choice([1, 1, 2]))
        groups, padding = int(rng.choice([1, 1, 2])), rng.choice(["SAME", "VALID", "SAME_LOWER"])
        options = {"stride": stride, "dilation": dilation, "groups": groups, "padding": str(padding), "bias": False}
        smalls = tuple(map(int, rng.integers(1, 5 if rank < 3 else 3, rank)))
        geometry = window("conv", kernel, stride, options["padding"], dilation).transposed(smalls, (0,) * rank)._replace(groups=groups)
        if not algorithm.supports(geometry):
            continue
        conv, back = (make(f * groups, kernel, algorithm=algorithm, **options) for make, f in ((fn.conv, 3), (fn.conv_transpose, 2)))
        x, y = rng.standard_normal((2, *(a.size for a in geometry.axes), 2 * groups)), rng.standard_normal((2, *smalls, 3 * groups))
        params = {"w": rng.standard_normal((*kernel, 2, 3 * groups))}
        of_x, _, kept = conv.forward(params, (), x)
        of_y, _, kept_back = back.forward(params, (), y)
        np.testing.assert_allclose((of_x * y).sum(), (x * of_y).sum(), rtol=0, atol=1e-10 * np.abs(x).sum())
        (dw, dx), (dw_back, dy) = conv.backward(kept, y), back.backward(kept_back, x)
        for a, b in ((dx, of_y), (dy, of_x), (dw["w"], dw_back["w"])):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * max(1, np.abs(b).max()))
        checked += 1
        if checked == 12:
            return
    assert checked >= 12


def test_same_is_that_of_lax(x64):
    """`jax.lax.conv_transpose`'s "SAME", Keras' and ONNX's SAME_UPPER, which sets the odd row at the end."""
    rng = np.random.default_rng(0)
    for k, s, d in ((1, 1, 1), (2, 3, 1), (3, 2, 1), (4, 2, 1), (5, 2, 1), (4, 3, 1), (6, 3, 1), (3, 2, 2), (2, 4, 2), (7, 4, 1)):
        x, w = rng.standard_normal((2, 5, 3)), rng.standard_normal((k, 2, 3))
        y, _ = fn.conv_transpose(2, (k,), stride=s, dilation=d, bias=False).apply({"w": w}, (), x)
        layout = ("NWC", "WIO", "NWC")
        theirs = jax.lax.conv_transpose(x, w, (s,), "SAME", rhs_dilation=(d,), dimension_numbers=layout, transpose_kernel=True)
        assert y.shape == theirs.shape == (2, 5 * s, 2)
        np.testing.assert_allclose(y, theirs, rtol=0, atol=1e-12, err_msg=f"{k, s, d}")


@pytest.mark.parametrize(("stride", "groups"), [(1, 1), (2, 1), (3, 1), (2, 4)])
def test_initial_weights_keep_the_variance_as_those_of_conv(stride, groups):
    """Behind a ReLU, that is twice the variance: of what a transposed convolution makes as of what a convolution makes."""
    layer = fn.conv_transpose(64, (4, 4), stride=stride, padding="VALID", groups=groups)
    params, _ = fn.to_numpy(layer.init(jax.random.key(0), (12, 12, 64)), "float64")
    y, _ = layer.apply(params, (), np.random.default_rng(0).standard_normal((2, 12, 12, 64)))
    inside = y[:, 4 * stride : -4 * stride, 4 * stride : -4 * stride]
    assert 1.8 < inside.var() < 2.2


def test_work_counts_what_reaches_an_output():
    layer = fn.conv_transpose(6, (3, 4), stride=2, padding=1, groups=2, bias=False)
    x = np.ones((2, 3, 4, 4))
    params = {"w": np.ones((3, 4, 3, 4))}
    there, back, _ = layer.work(params, x)
    assert there == int(layer.apply(params, (), x)[0].sum())  # of ones, every product adds one
    assert back == 2 * there


def test_float32_of_blocks_is_close_to_float64():
    """Where `auto` takes F(3x3, 2x2) over blocks, and the Fourier transform over those of a long window."""
    for layer, shape in (
        (fn.conv_transpose(32, (4, 4), stride=2, padding=1, bias=False), (2, 7, 8, 64)),
        (fn.conv_transpose(2, (256,), stride=2, bias=False), (2, 300, 8)),
    ):
        rng = np.random.default_rng(0)
        params, _ = fn.to_numpy(layer.init(jax.random.key(0), shape[1:]), "float64")
        x = rng.standard_normal(shape)
        dy = rng.standard_normal(layer.apply(params, (), x)[0].shape)

        def run(params, x, dy, layer=layer):
            y, _, residuals = layer.forward(params, (), x)
            return y, layer.backward(residuals, dy)

        got = jax.jit(run)(*fn.to_numpy((params, x, dy), "float32"))
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(run(params, x, dy)), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=5e-6 * np.abs(b).max())


ANY = st.one_of(
    st.integers(-1, 5), st.none(), st.just(1.5), st.just(True), st.lists(st.integers(-1, 4), max_size=3).map(tuple), st.text(max_size=3)
)
SENSIBLE = st.one_of(st.integers(1, 3), st.tuples(st.integers(1, 3), st.integers(1, 3)))
PADDING = st.one_of(
    st.sampled_from(["SAME", "VALID", "SAME_LOWER"]), st.integers(0, 3), st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2)
)
CLEAR = re.compile(r"^(conv|conv_transpose): (expected .*, got [^\n]*|algorithm '\w+' does not support [^\n]*; use algorithm=[\w.]+)$")


def mostly(sensible, otherwise=ANY):
    """What makes sense in nineteen of twenty draws."""
    return st.sampled_from(range(20)).flatmap(lambda i: otherwise if i == 13 else sensible)


@pytest.mark.slow
@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@example(True, 2, (2, 2), 3, "VALID", 1, 1, True, fn.convolution.auto, 2, (4, 3, 2))
@example(True, 2, (3, 3), 1, 2, 0, 1, 1, fn.convolution.auto, 1, (2, 2, 2))
@given(
    transposed=st.booleans(), features=mostly(st.sampled_from([6, 12])), kernel=mostly(st.tuples(*[st.integers(1, 4)] * 2)),
    stride=mostly(SENSIBLE), padding=mostly(PADDING), more=mostly(st.sampled_from([0, 0, 1, 2])), dilation=mostly(SENSIBLE),
    groups=mostly(st.sampled_from([1, 1, 2, 3])), algorithm=mostly(st.sampled_from(ALGORITHMS), st.sampled_from([None, "im2col"])),
    channels=mostly(st.sampled_from([6, 12]), st.integers(0, 6)),
    sizes=mostly(st.lists(st.integers(1, 6), min_size=2, max_size=2), st.lists(st.integers(0, 6), max_size=3)),
)  # fmt: skip
def test_any_options_give_the_right_answer_or_a_clear_error(
    transposed, features, kernel, stride, padding, more, dilation, groups, algorithm, channels, sizes
):
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    try:
        if transposed:
            layer = fn.conv_transpose(features, kernel, algorithm=algorithm, output_padding=more, bias=False, **options)
        else:
            layer = fn.conv(features, kernel, algorithm=algorithm, bias=False, **options)
        x = np.random.default_rng(0).standard_normal((2, *sizes, channels))
        params = {"w": np.random.default_rng(1).standard_normal(layer.init(jax.random.key(0), x.shape[1:])[0]["w"].shape)}
        y, _, residuals = layer.forward(params, (), x)
        dparams, dx = layer.backward(residuals, y)
    except (ValueError, TypeError) as error:
        assert CLEAR.match(str(error)), error  # noqa: PT017
        return
    axes = geometry_of(transposed, kernel, options | {"output_padding": (more,) * 2 if isinstance(more, int) else more}, sizes)
    other = by_definition(x, params["w"], y, axes, transposed)
    check_close((y, dx, dparams["w"]), other, f"{layer!r} of {sizes}")


def by_definition(x, w, dy, geometry, transposed):
    """(y, dx, dw) by the slow loops."""
    direct = fn.convolution.direct
    if transposed:
        return direct.input_gradient(w, x, geometry), direct.forward(dy, w, geometry)[0], direct.weight_gradient(dy, x, geometry)
    return direct.forward(x, w, geometry)[0], direct.input_gradient(w, dy, geometry), direct.weight_gradient(x, dy, geometry)
