"""Networks as ONNX files, in onnxruntime: `fn.interop.to_onnx`."""

import os
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name

import funcnn as fn
from funcnn.interop.onnx_file import model as model_module
from funcnn.interop.onnx_file.graph import Graph, Value
from funcnn.interop.onnx_file.kinds import At, kind_of
from funcnn.interop.onnx_file.primitives import PRIMITIVES
from funcnn.interop.onnx_file.table import TABLE, kind
from tests.cases import CASES, FIRST_OF_EACH, Case, some_quickly
from tests.cases.networks import CASES as NETWORKS
from tests.interop.drawn import network
from tests.interop.test_export import elsewhere, examples, learned, small
from tests.test_laws import KEY, worst

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.peers
onnxruntime.set_default_logger_severity(4)


def running(model):
    """x -> y by onnxruntime, with all its optimisations."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"x": x})[0]


def assert_agrees(layer, params, state, in_shape, sizes=(1, 3, 8)):
    """In onnxruntime the outputs are those of float64 on NumPy to 1e-5 of the largest."""
    run = running(fn.interop.to_onnx(layer, params, state, in_shape))
    for n in sizes:
        x = examples(n, in_shape)
        expected = layer.apply(*fn.to_numpy((params, state, x), "float64"))[0]
        assert worst(run(x), expected.astype("float32")) <= 1e-5


def kinds(model):
    return {node.op_type for node in model.graph.node}


# By the table


@some_quickly
def test_every_layer_for_any_batch_size(case):
    assert_agrees(case.layer, *learned(case), case.in_shape)


@pytest.mark.slow
@pytest.mark.parametrize("case", NETWORKS.values(), ids=NETWORKS.keys())
def test_every_network_at_other_scales(case):
    """Where float32 loses more digits, onnxruntime loses no more than three times as many as funcnn's own passes."""
    params, state = learned(case)
    run = running(fn.interop.to_onnx(case.layer, params, state, case.in_shape))
    for scale in (1e-3, 1e3):
        x = np.float32(scale) * examples(2, case.in_shape)
        expected = case.layer.apply(*fn.to_numpy((params, state, x), "float64"))[0].astype("float32")
        own = worst(case.layer.apply(params, state, x)[0], expected)
        assert worst(run(x), expected) <= max(1e-5, 3 * own)


def test_every_layer_of_the_library_is_in_the_table():
    layers = {n: v for n, v in vars(fn).items() if isinstance(v, fn.Layer) or getattr(v, "__wrapped__", None)}
    assert len(layers) >= 60
    assert [n for n, v in layers.items() if kind(v) not in model_module.KINDS] == []


BY_PROGRAM = {
    "adaptive_avg_pool", "adaptive_max_pool", "local_response_norm", "pad", "pixel_shuffle", "pixel_unshuffle", "upsample",
}  # fmt: skip
"""Of whose options ONNX has not all, as the documentation says."""


def test_what_goes_by_its_program_is_what_the_documentation_says():
    seen = set()
    for case in CASES.values():
        known, options = kind_of(case.layer, TABLE)
        if known and TABLE[known](Graph(), At(case.layer, options, *learned(case)), Value("x", case.in_shape)) is None:
            seen.add(case.layer.name)
    assert seen == BY_PROGRAM
    assert all(name in fn.interop.to_onnx.__doc__ for name in BY_PROGRAM)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_networks_that_nobody_chose(seed):
    net, *rest = network(seed)
    assert_agrees(net, *rest, sizes=(1, 4))


def test_the_graph_is_short():
    """Channels come first but once, and go last but once."""
    case = NETWORKS["network: vgg11"]
    model = fn.interop.to_onnx(case.layer, *learned(case), case.in_shape)
    assert kinds(model) == {"Transpose", "Conv", "BatchNormalization", "Relu", "MaxPool", "Flatten", "Gemm", "Identity"}
    assert len([node for node in model.graph.node if node.op_type == "Transpose"]) <= 2


def test_the_model_says_what_it_takes():
    net, *rest = small()
    model = fn.interop.to_onnx(net, *rest)
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 20)]
    assert model.ir_version == 9
    dims = {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*model.graph.input, *model.graph.output)}
    assert dims == {"x": ["N", 6, 5, 2], "y": ["N", 3]}


def test_a_transposed_convolution_of_which_only_rows_beyond_are_left():
    """onnxruntime refuses an output that its windows do not reach, and takes no more output padding than a stride."""
    for padding, more, dilation in (((2, 0), 2, 4), ((0, 2), 2, 4), ((1, 1), 2, 4), ((0, 0), 3, 4)):
        layer = fn.conv_transpose(3, (2,), padding=(padding,), output_padding=more, dilation=dilation)
        assert_agrees(layer, *learned(Case(layer, (1, 2))), (1, 2))
    layer = fn.conv_transpose(2, (1,), padding=((1, 0),), output_padding=2, dilation=3)
    assert_agrees(layer, *learned(Case(layer, (1, 2))), (1, 2))


def test_a_mean_far_from_zero_costs_no_digits():
    """onnxruntime's own layer norm takes a variance as a mean of squares less a squared mean."""
    for layer in (fn.layer_norm(), fn.layer_norm(axes=3), fn.group_norm(2), fn.instance_norm()):
        params, state = layer.init(KEY, (6, 5, 4))
        run, x = running(fn.interop.to_onnx(layer, params, state, (6, 5, 4))), examples(3, (6, 5, 4)) + np.float32(300)
        assert worst(run(x), layer.apply(*fn.to_numpy((params, state, x), "float64"))[0].astype("float32")) <= 1e-4


# By the program


@pytest.fixture
def without_a_table(monkeypatch):
    """All layers go by their programs."""
    for known in TABLE:
        monkeypatch.delitem(model_module.KINDS, known)


@pytest.mark.slow
@pytest.mark.usefixtures("without_a_table")
@pytest.mark.parametrize("case", FIRST_OF_EACH.values(), ids=FIRST_OF_EACH.keys())
def test_every_kind_of_layer_by_its_program(case):
    if "fft" in str(case.layer):
        with pytest.raises(ValueError, match="to_onnx: expected operations that ONNX has, got fft of complex64 in the layer conv"):
            fn.interop.to_onnx(case.layer, *learned(case), case.in_shape)
    else:
        assert_agrees(case.layer, *learned(case), case.in_shape)


@pytest.mark.slow
@pytest.mark.usefixtures("without_a_table")
@pytest.mark.parametrize("seed", range(100, 110))
def test_networks_that_nobody_chose_by_their_programs(seed):
    net, *rest = network(seed)
    assert_agrees(net, *rest, sizes=(1, 4))


def lifted(function):
    """A layer of a user's."""
    return fn.stateless("mine", lambda params, x: (function(x), x), lambda x, dy: jax.vjp(function, x)[1](dy))


def pooled(x, start, operation, window=(1, 2, 3, 1), strides=(1, 2, 1, 1), padding=((0, 0), (1, 0), (2, 1), (0, 0))):
    return jax.lax.reduce_window(x, np.float32(start), operation, window, strides, padding)


def convolved(x, layout, shape, **options):
    w = np.random.default_rng(1).standard_normal(shape).astype("float32")
    return jax.lax.conv_general_dilated(x, jnp.asarray(w), dimension_numbers=layout, **options)


SAME_2 = {"window_strides": (2, 1), "padding": ((1, 1), (0, 2)), "rhs_dilation": (1, 2)}
TRANSPOSED = {"window_strides": (1, 2), "padding": ((2, 1), (-1, 3)), "lhs_dilation": (2, 3)}
PROGRAMS = {  # of x (N, 6, 4, 2)
    "trigonometry": lambda x: jnp.sin(x) + jnp.cos(x) * jnp.tan(x / 4) + jnp.arctan(x) + jnp.sinh(x / 2) - jnp.cosh(x / 3),
    "inverse": lambda x: jnp.arcsin(x / 9) - jnp.arccos(x / 9) + jnp.arcsinh(x) + jnp.arccosh(2 + x * x) + jnp.arctanh(x / 9),
    "rounded": lambda x: jnp.floor(3 * x) + jnp.ceil(2 * x) + jnp.round(5 * x) + jax.lax.round(7 * x) + jnp.sign(x) * abs(x),
    "powers": lambda x: x**2 + x**3 + jnp.exp2(x) + jax.lax.rsqrt(1 + x * x) + jax.lax.square(x) + jnp.sqrt(abs(x)) + abs(x) ** 1.7,
    "small": lambda x: jnp.expm1(1e-4 * x) + jnp.log1p(1e-4 * x),
    "logarithms": lambda x: jnp.log(1 + x * x) + jnp.log1p(x * x) + jnp.expm1(x) + jnp.logaddexp(x, -x),
    "errors": lambda x: jax.scipy.special.erf(x) * jax.scipy.special.erfc(x) + jax.nn.sigmoid(x),
    "remainders": lambda x: jnp.remainder(x, 0.7) + jax.lax.rem(x, jnp.full_like(x, 0.3)),
    "bounded": lambda x: jnp.clip(x, -0.5, 0.8) + jax.lax.clamp(np.float32(-1), x, np.float32(1)) + jnp.minimum(x, x[:, :1]),
    "compared": lambda x: jnp.where((x > 0.5) & ~(x >= 1) | (x <= -1) | (x != x) ^ (x == 0), x, -x) * (x < 0).astype("float32"),
    "any and all": lambda x: jnp.where((x > 1).any(-1, keepdims=True) | (x > -2).all((1, 2), keepdims=True), x, 2 * x),
    "moments": lambda x: (x - x.mean((1, 2), keepdims=True)) / x.std(-1, keepdims=True) + jnp.var(x, axis=1, keepdims=True),
    "largest": lambda x: x.max(1) - x.min(1) + jnp.prod(x, axis=1) * (x.argmax(1) - x.argmin(1)).astype("float32"),
    "sums so far": lambda x: jnp.cumsum(x, 1) + jax.lax.cumsum(x, 2, reverse=True),
    "turned": lambda x: jnp.concatenate([x[:, ::-1], jnp.flip(x, (1, 2)), jnp.roll(x, 1, 2), x.swapaxes(2, 3).reshape(x.shape)], -1),
    "parts": lambda x: sum(jnp.split(x, 3, axis=1)) + jnp.split(x, [1, 3], axis=1)[1],
    "indexed": lambda x: x[:, jnp.asarray([0, 5, 5, -1])] + x[:, 1:5] * x[:, ::-2, 1:2][:, :1] + x[:, 2, None],
    "indexed once": lambda x: jnp.take(x, 3, axis=1) + x[:, -1] + x[..., 2, :][:, :4],
    "indexed by a table": lambda x: x[:, np.asarray([[0, 1], [4, 5]])].sum(2) - jnp.take(x, np.asarray([2, 9]), 1, mode="clip"),
    "of nothing": lambda x: jnp.concatenate([x[:, 3:3], x, jnp.repeat(x, 0, 2).reshape(x.shape[0], 0, 4, 2), x[:, np.zeros(0, int)]], 1),
    "strided": lambda x: x[:, 1::2, ::3] + x[:, 1:4, ::2] + jax.lax.slice(x, (0, 0, 0, 0), (x.shape[0], 5, 3, 2), (1, 2, 2, 1)),
    "padded": lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 0), (3, 0)), constant_values=2.5),
    "padded between": lambda x: jax.lax.pad(x, np.float32(1.5), ((0, 0, 0), (2, -1, 2), (-1, 1, 1), (0, 0, 0))),
    "repeated": lambda x: jnp.repeat(x, 3, 1) + jnp.tile(x, (1, 3, 1, 1)) + jnp.broadcast_to(x[:, :1], (x.shape[0], 18, 4, 2)),
    "products": lambda x: jnp.einsum("nhwc,nkwc->nhk", x, x) @ x.sum(-1) + jnp.einsum("nhwc,hd->ndw", x, np.ones((6, 6), "float32")),
    "by a matrix": lambda x: jnp.tensordot(x, np.ones((3, 2), "float32"), ((3,), (1,))) + jnp.dot(x, np.ones((2, 3), "float32")),
    "of all examples": lambda x: (x.reshape(-1, 8) @ np.ones((8, 4), "float32")).reshape(x.shape[0], -1),
    "sizes of examples": lambda x: x + jnp.zeros(x.shape, "float32") + jnp.ones((2 * x.shape[0], 24), "float32").reshape(x.shape),
    "mean of all examples": lambda x: x - x.mean(keepdims=True),
    "whole numbers": lambda x: (jnp.floor(4 * x).astype("int32") // 2 * 3 - jnp.arange(2)[None, None, None]).astype("float32"),
    "the first example": lambda x: x + x[0][None],
    "small whole numbers": lambda x: (x > 0).astype("int8").sum(1, dtype="int32").astype("float32") * x[:, 0],
    "softmax": lambda x: jax.nn.softmax(x, 2) + jax.nn.log_softmax(x, 1) + jax.nn.gelu(x) + jax.nn.silu(x) + jax.nn.relu(x) + jax.nn.elu(x),
    "convolution": lambda x: convolved(x, ("NHWC", "HWIO", "NHWC"), (3, 2, 2, 4), **SAME_2),
    "convolution, channels first": lambda x: convolved(x, ("NCHW", "OIHW", "HWNC"), (4, 3, 3, 2), **SAME_2, feature_group_count=2).sum(0),
    "convolution, transposed": lambda x: convolved(x, ("NHWC", "HWIO", "NHWC"), (3, 4, 2, 3), **TRANSPOSED),
    "max of windows": lambda x: pooled(x, -np.inf, jax.lax.max),
    "sum of windows": lambda x: pooled(x, 0, jax.lax.add),
    "recomputed": lambda x: jax.checkpoint(lambda x: jnp.tanh(x) * x)(x) + jax.jit(jnp.sin)(x) + jax.lax.stop_gradient(x),
    "another gradient": lambda x: fn.with_manual_vjp(fn.gelu).apply((), (), x)[0],
    "left as it is": lambda x: jax.lax.optimization_barrier(x) + checkpoint_name(jnp.copy(x), "x"),
    "a loop over constants": lambda x: jax.lax.scan(lambda x, a: (jnp.tanh(x * a), None), x, 0.5 * jnp.arange(3.0), reverse=True)[0],
    "a loop that keeps": lambda x: jax.lax.scan(lambda x, a: (x * a, (x + a, x)), x, np.ones(3, "float32"))[1][0].sum(0) + x,
    "a loop that counts": lambda x: jax.lax.fori_loop(0, 3, lambda i, x: x * 0.5 + i.astype("float32"), x),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_layer_of_a_users_is_its_program(name):
    layer = fn.serial(fn.conv(2, (3, 3)), lifted(PROGRAMS[name]), fn.relu)
    params, state = layer.init(KEY, (6, 4, 2))
    assert_agrees(layer, params, state, (6, 4, 2))


@pytest.mark.slow
@pytest.mark.usefixtures("without_a_table")
def test_every_operation_that_is_known_is_tried(monkeypatch):
    seen = set()
    for name, make in PRIMITIVES.items():
        monkeypatch.setitem(PRIMITIVES, name, lambda *a, name=name, make=make: seen.add(name) or make(*a))
    for function in PROGRAMS.values():
        fn.interop.to_onnx(lifted(function), (), (), (6, 4, 2))
    for name in ("upsample: uneven", "global_lp_pool"):
        fn.interop.to_onnx(CASES[name].layer, (), (), CASES[name].in_shape)
    assert sorted(set(PRIMITIVES) - seen) == []


def test_a_layer_with_other_passes_is_not_what_its_name_says():
    """A forward pass that was replaced, and a layer of a user's that is called like one of ours."""
    conv = fn.conv(2, (1, 1))
    twice = conv._replace(forward=lambda *a, **o: (lambda y, s, r: (2 * y, s, r))(*conv.forward(*a, **o)))
    mine = fn.stateless("relu", lambda params, x: (x * 3, x), lambda x, dy: ((), 3 * dy))
    other = fn.stateless("conv", lambda params, x: (x @ params, x), lambda x, dy: (x, dy), lambda key, shape: jnp.ones((2, 2)))
    net = fn.serial(twice, mine, fn.residual(other._replace(call=conv.call)), fn.relu._replace(name="softmax"))
    params, state = net.init(KEY, (3, 2, 2))
    assert_agrees(net, params, state, (3, 2, 2))


def test_a_network_of_flax_is_its_program():
    """Attention too, and a transposed convolution, which it makes of one with rows between."""
    nn = pytest.importorskip("flax.linen")

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.max_pool(nn.relu(nn.Conv(8, (3, 3))(x)), (2, 2), (2, 2))
            x = nn.avg_pool(nn.ConvTranspose(6, (3, 3), strides=(2, 2))(nn.BatchNorm(use_running_average=True)(x)), (3, 3), (2, 2), "SAME")
            x = nn.LayerNorm()(nn.gelu(nn.GroupNorm(3)(x)))
            x = nn.Conv(12, (3, 3), strides=2, feature_group_count=6)(x).reshape(x.shape[0], -1, 12)
            return nn.log_softmax(nn.Dense(5)(nn.MultiHeadDotProductAttention(2)(x, x).mean(1)))

    net, in_shape = Net(), (12, 10, 3)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        params = jax.tree.map(np.asarray, net.init(KEY, examples(1, in_shape)))
        layer = fn.stateless("flax", lambda params, x: (net.apply(params, x), x), lambda x, dy: ((), dy), lambda key, in_shape: params)
        run = running(fn.interop.to_onnx(layer, params, (), in_shape))
        for n in (1, 4):
            assert worst(run(examples(n, in_shape)), net.apply(params, examples(n, in_shape))) <= 1e-5


def test_a_combinator_of_a_users_is_its_program():
    inner = fn.conv(2, (3, 3)), fn.lp_pool((2, 2), stride=1, padding="SAME")

    def forward(params, state, x, *, key=None, train=False):
        a, b = (layer.apply(p, s, x)[0] for layer, p, s in zip(inner, params, state, strict=True))
        return a - 2 * b, state, x

    def init(key, in_shape):
        params = inner[0].init(key, in_shape)[0]
        return (params, ()), ((), ())

    net = fn.Layer("difference", init, forward, lambda r, dy: ((), dy), layers=inner)
    params, state = net.init(KEY, (4, 5, 2))
    assert_agrees(net, params, state, (4, 5, 2))


# What cannot be


REFUSED = {
    "sorted": (lambda x: jnp.sort(x, 1), "the operation 'sort'"),
    "drawn": (lambda x: x + jax.random.normal(KEY, x.shape), "random numbers"),
    "Fourier": (lambda x: jnp.fft.fft(x, axis=1).real, ".* of complex64"),
    "an end that it computes": (lambda x: jax.lax.while_loop(lambda x: x.sum() < 9, lambda x: x + 1, x), "the operation 'while'"),
    "halves": (lambda x: x.astype("bfloat16").astype("float32"), "convert_element_type of bfloat16"),
    "bits": (lambda x: jax.lax.bitcast_convert_type(x, "int32").astype("float32"), "numbers as their bits"),
    "an index that it computes": (lambda x: jnp.take(x, x.argmax(1).max()[None], axis=1) + x, "an index that it computes"),
    "an index beyond": (lambda x: jnp.take(x, np.asarray([9]), axis=1) + x, "an index beyond an array"),
    "rows that it computes": (lambda x: jax.lax.scan(lambda c, a: (c + a, None), x, 2 * x.sum((0, 2, 3)))[0], "a loop over arrays"),
    "a window over channels": (lambda x: pooled(x, 0, jax.lax.add, (1, 2, 2, 2), (1,) * 4, "SAME"), "a window over examples or channels"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_an_operation_that_onnx_has_not_is_named_with_its_layer(name, tmp_path):
    function, what = REFUSED[name]
    net = fn.serial(fn.relu, fn.residual(lifted(function)))
    with pytest.raises(ValueError, match=f"^to_onnx: expected operations that ONNX has, got {what}.* in the layer mine; ") as raised:
        fn.interop.to_onnx(net, *net.init(KEY, (6, 4, 2)), (6, 4, 2), tmp_path / "net.onnx")
    assert raised.value.__notes__[-3:] == [
        "in layer 0 (mine) of serial",
        "in layer 0 (serial) of residual",
        "in layer 1 (residual) of serial",
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_program_for_each_batch_size_is_named(tmp_path):
    net = fn.serial(lifted(lambda x: jnp.stack([x[i] for i in range(x.shape[0])])))
    with pytest.raises(
        ValueError, match=r"^to_onnx: expected one program for any number of examples, got one for each, in layer 0 \(mine\)"
    ):
        fn.interop.to_onnx(net, ((),), ((),), (6, 4, 2), tmp_path / "net.onnx")


def refused():
    net, params, state, in_shape = small()
    huge = jax.tree.map(lambda a: np.asarray(a, "float64") + 1e300, params)
    return {
        "no layer": ((fn.conv, params, state, in_shape), r"to_onnx: expected layers, got function as argument 0; call it, conv\(...\)"),
        "params of another": ((net, params[1:], state, in_shape), "serial: expected params to be a tuple of 6 entries"),
        "no state": ((net, params, (), in_shape), "serial: expected state to be a tuple of 6 entries"),
        "other channels": ((net, params, state, (6, 5, 3)), r"conv: expected x of shape \(N, H, W, 2\), got \(N, 6, 5, 3\)"),
        "another size": ((net, params, state, (9, 5, 2)), r"dense: expected x of shape \(N, 36\), got \(N, 60\)"),
        "no shape": ((net, params, state, 6), "to_onnx: expected in_shape to be the shape of one example, a tuple, got int"),
        "too large": ((net, huge, state, in_shape), "to_onnx: expected params that float32 holds, got numbers up to 1e"),
        "no path": ((net, params, state, in_shape, 3), "to_onnx: expected path to be a text or a Path, got int"),
    }


@pytest.mark.parametrize("name", refused())
def test_what_cannot_be_right_is_refused(name, tmp_path):
    args, sentence = refused()[name]
    with pytest.raises((TypeError, ValueError), match=f"^{sentence}"):
        fn.interop.to_onnx(*args, *([tmp_path / "net.onnx"] if len(args) == 4 else []))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_params_in_any_dtype_become_float32(dtype):
    net, params, state, in_shape = small()
    given = jax.tree.map(lambda a: np.asarray(a).astype(jnp.dtype(dtype)), (params, state))
    assert_agrees(net, *fn.to_numpy(given, "float32"), in_shape)
    as_float32 = fn.interop.to_onnx(net, *fn.to_numpy(given, "float32"), in_shape)
    assert fn.interop.to_onnx(net, *given, in_shape).SerializeToString() == as_float32.SerializeToString()


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_with_float64_on_the_model_is_the_same():
    for name in ("upsample: uneven", "adaptive_max_pool: shared", "network: resnet20"):
        assert_agrees(CASES[name].layer, *learned(CASES[name]), CASES[name].in_shape)
    assert_agrees(lifted(PROGRAMS["moments"]), (), (), (6, 4, 2))


# Files

RUN = """
import numpy as np, onnxruntime
def run(path, x):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
ABSENT = {"funcnn", "jax", "onnx"}
"""


@pytest.mark.slow
def test_a_process_with_onnxruntime_alone_runs_every_network(tmp_path):
    learnt = {name: learned(case) for name, case in NETWORKS.items()}
    for name, case in NETWORKS.items():
        fn.interop.to_onnx(case.layer, *learnt[name], case.in_shape, tmp_path / name)
    for name, x, y in elsewhere(RUN, tmp_path, {name: case.in_shape for name, case in NETWORKS.items()}):
        expected = NETWORKS[name].layer.apply(*fn.to_numpy((*learnt[name], x), "float64"))[0]
        assert worst(y, expected.astype("float32")) <= 1e-5


def test_a_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"before")

    def full(source, target):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        fn.interop.to_onnx(*small(), path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("net.onnx", b"before")]
    monkeypatch.undo()
    model = fn.interop.to_onnx(*small(), path)
    assert onnx.load(path) == model
    with pytest.raises(FileNotFoundError, match=r"^to_onnx: expected a path in a folder that is there"):
        fn.interop.to_onnx(*small(), tmp_path / "nowhere" / "net.onnx")


def test_without_onnx_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'funcnn\[onnx\]'"):
        fn.interop.to_onnx(*small())


def test_more_than_a_file_can_hold_is_refused(monkeypatch):
    monkeypatch.setattr(model_module, "MOST", 100)
    with pytest.raises(ValueError, match=r"^to_onnx: expected less than 2 GB of constants, got "):
        fn.interop.to_onnx(*small())
