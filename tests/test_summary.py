"""A summary says what is so: by hand, by XLA's own analysis, by what NumPy really keeps; and it reads well."""

import io
import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnn as fn
from funcnn import networks
from funcnn.convolution.auto import chosen
from funcnn.convolution.geometry import Geometry, window
from funcnn.cpu import cpu_tuning


def block():
    return fn.residual(fn.conv(4, (3, 3)), fn.batch_norm(), fn.relu, fn.conv(4, (3, 3)), fn.batch_norm())


def stateless(name, forward, init=None):
    """A layer whose gradient is that of `jax.grad`."""
    return fn.stateless(name, lambda params, x: (forward(params, x), ()), None, init)  # pyrefly: ignore


# By hand


def test_a_network_by_hand():
    net = fn.serial(fn.conv(4, (3, 3)), fn.relu, fn.max_pool((2, 2)), fn.flatten, fn.dense(3))
    s = fn.summary(net, (5, 4, 2), batch=10)
    conv, relu, pool, flatten, dense = s.layers
    assert [layer.name for layer in s.layers] == ["conv", "relu", "max_pool", "flatten", "dense"]
    assert [layer.out_shape for layer in s.layers] == [(5, 4, 4), (5, 4, 4), (2, 2, 4), (16,), (3,)]
    assert [layer.parameters for layer in s.layers] == [9 * 2 * 4 + 4, 0, 0, 0, 16 * 3 + 3]
    products, sums = 10 * (5 * 3 - 2) * (4 * 3 - 2) * 2 * 4, 10 * 5 * 4 * 4 // 2  # no padding is multiplied
    assert (conv.multiply_adds_forward, conv.multiply_adds_backward) == (products + sums, 2 * products + sums)
    assert (dense.multiply_adds_forward, dense.multiply_adds_backward) == (10 * 16 * 3 + 15, 2 * 10 * 16 * 3 + (10 - 1) * 3 // 2)
    assert 10 * 5 * 4 * 4 // 2 <= relu.multiply_adds_forward <= 10 * 5 * 4 * 4 * 3 // 2
    assert (flatten.multiply_adds_forward, flatten.multiply_adds_backward) == (0, 0)
    windows = 10 * 2 * 2 * 4
    assert (pool.multiply_adds_forward, pool.multiply_adds_backward) == (3 * windows // 2, 4 * windows // 2)
    x, y, winners, rows = 10 * 5 * 4 * 2 * 4, 10 * 5 * 4 * 4 * 4, 10 * 2 * 2 * 4, 10 * 16 * 4
    assert [layer.residual_bytes for layer in s.layers] == [x, y, winners, 0, rows]
    assert (s.name, s.out_shape, s.residual_bytes) == ("serial", (3,), x + y + winners + rows)
    for total in ("parameters", "multiply_adds_forward", "multiply_adds_backward"):
        assert getattr(s, total) == sum(getattr(layer, total) for layer in s.layers)


def test_branches_add_what_they_do_themselves():
    relu = fn.summary(fn.relu, (6, 5), batch=2)

    def own(net):
        s = fn.summary(net, (6, 5), batch=2)
        branches = sum(layer.multiply_adds_forward for layer in s.layers), sum(layer.multiply_adds_backward for layer in s.layers)
        return 2 * (s.multiply_adds_forward - branches[0]) // 60, 2 * (s.multiply_adds_backward - branches[1]) // 60

    assert (
        own(fn.parallel(fn.relu, fn.relu))
        == own(fn.residual(fn.relu))
        == own(fn.recompute(fn.parallel(fn.relu, fn.relu)))[:1] * 2
        == (1, 1)
    )
    assert own(fn.parallel(fn.relu, fn.identity, fn.relu, merge="concatenate")) == (0, 2)
    assert own(fn.parallel(fn.relu, fn.relu, merge="multiply")) == (1, 3)
    assert own(fn.parallel(fn.relu)) == (0, 0)
    assert fn.summary(fn.parallel(fn.relu, fn.identity), (6, 5), batch=2).layers[0] == relu


def test_what_recompute_runs_again_and_keeps():
    plain, again = (fn.summary(fn.serial(fn.conv(4, (3, 3)), f(block())), (6, 5, 3)).layers[1] for f in (lambda net: net, fn.recompute))
    assert again.name == "recompute(residual)"
    assert again.layers == plain.layers
    assert again.multiply_adds_forward == plain.multiply_adds_forward
    assert again.multiply_adds_backward == plain.multiply_adds_backward + plain.multiply_adds_forward
    assert again.residual_bytes == 6 * 5 * 4 * 4 < plain.residual_bytes / 3
    conv = fn.summary(fn.recompute(fn.conv(4, (3, 3))), (6, 5, 3))
    assert conv.multiply_adds_backward == sum(fn.summary(fn.conv(4, (3, 3)), (6, 5, 3))[3:5])


def test_repeat_is_so_many_layers():
    one, s = fn.summary(block(), (6, 5, 4)), fn.summary(fn.repeat(block(), 7), (6, 5, 4))
    assert s.layers == (one,) * 7
    assert (s.parameters, *s[3:6]) == tuple(7 * n for n in (one.parameters, *one[3:6]))


def test_named_layers_go_by_their_names():
    s = fn.summary(fn.named(z=fn.conv(4, (3, 3)), a=fn.named(inner=fn.relu)), (6, 5, 3))
    assert [layer.name for layer in s.layers] == ["z: conv", "a: named"]
    assert s.layers[1].layers[0].name == "inner: relu"
    assert [layer.parameters for layer in s.layers] == [112, 0]


def test_when_training_is_its_layer_in_training_and_nothing_else():
    net = fn.when_training(fn.conv(3, (3, 3)))
    assert fn.summary(net, (6, 5, 3)).layers == (fn.summary(fn.conv(3, (3, 3)), (6, 5, 3)),)
    s = fn.summary(net, (6, 5, 3), train=False)
    assert (s.layers, s.multiply_adds_forward, s.multiply_adds_backward, s.residual_bytes) == ((), 0, 0, 0)


def test_when_training_is_seen_through_what_runs_it_in_another_way():
    net = fn.when_training(fn.conv(3, (3, 3)))
    plain = fn.summary(net, (6, 5, 3))
    assert fn.summary(fn.with_manual_vjp(net), (6, 5, 3)) == plain
    for wrap in (fn.recompute, lambda net: fn.with_manual_vjp(fn.recompute(net))):
        s = fn.summary(wrap(net), (6, 5, 3))
        assert (s.layers, s.multiply_adds_forward) == (plain.layers, plain.multiply_adds_forward)
        assert s.multiply_adds_backward == plain.multiply_adds_forward + plain.multiply_adds_backward


def test_layers_of_others():
    def forward(params, x):
        y = jnp.tanh(x @ params)
        return y, (x, params, y)

    def backward(residuals, dy):
        x, w, y = residuals
        dz = dy * (1 - y * y)
        return x.T @ dz, dz @ w.T

    mine = fn.stateless("mine", forward, backward, lambda key, in_shape: jax.random.normal(key, (in_shape[0], 7)))
    s = fn.summary(fn.serial(mine, fn.Layer("raw", fn.relu.init, fn.relu.forward, fn.relu.backward)), (5,), batch=3)
    assert s.layers[0][1:3] == ((7,), 35)
    assert s.layers[0].multiply_adds_forward == 3 * 35  # that of tanh XLA counts apart
    assert s.layers[0].multiply_adds_backward == pytest.approx(2 * 3 * 35 + 3 * 3 * 7 / 2, abs=3 * 7)
    assert s.residual_bytes == 4 * 3 * (5 + 7 + 7)
    assert s.layers[1].name == "raw"
    plain, manual = (
        fn.summary(f(fn.serial(mine, fn.relu, block_of_vectors())), (5,), batch=3) for f in (lambda net: net, fn.with_manual_vjp)
    )
    assert plain == manual


def block_of_vectors():
    return fn.residual(fn.dense(7), fn.relu)


# By XLA's own analysis of the same network of jax.lax


def lax_conv(features, kernel_size, *, stride=1, padding="SAME", dilation=1, groups=1, bias=True):
    ours, rank = (
        fn.conv(features, kernel_size, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias),
        len(kernel_size),
    )
    strides, dilations = ((v,) * rank if isinstance(v, int) else v for v in (stride, dilation))
    pads, s = [(padding, padding)] * rank if isinstance(padding, int) else padding, "HWD"[:rank]

    def forward(params, x):
        y = jax.lax.conv_general_dilated(
            x, params["w"], strides, pads, rhs_dilation=dilations, feature_group_count=groups,
            dimension_numbers=(f"N{s}C", f"{s}IO", f"N{s}C"),
        )  # fmt: skip
        return y + params["b"].reshape((1,) * (rank + 1) + (-1,)) if bias else y

    return stateless("conv", forward, lambda key, in_shape: ours.init(key, in_shape)[0])


def lax_conv_transpose(features, kernel_size, *, stride):
    ours, rank, s = fn.conv_transpose(features, kernel_size, stride=stride), len(kernel_size), "HWD"[: len(kernel_size)]

    def forward(params, x):
        numbers = (f"N{s}C", f"{s}IO", f"N{s}C")
        y = jax.lax.conv_transpose(x, params["w"], (stride,) * rank, "SAME", dimension_numbers=numbers, transpose_kernel=True)
        return y + params["b"].reshape((1,) * (rank + 1) + (-1,))

    return stateless("conv_transpose", forward, lambda key, in_shape: ours.init(key, in_shape)[0])


def lax_max_pool(window_size, *, stride=None, padding=0):
    sizes, rank = (1, *window_size, 1), len(window_size)
    strides = window_size if stride is None else (stride,) * rank
    pads = [(0, 0), *[(padding, padding)] * rank, (0, 0)]
    return stateless("max_pool", lambda params, x: jax.lax.reduce_window(x, -np.inf, jax.lax.max, sizes, (1, *strides, 1), pads))


def by_xla(net, in_shape, batch=2):
    """Multiply-adds of both passes: half the operations that XLA counts in a program that is not yet compiled."""
    params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), in_shape))
    x, key = jax.ShapeDtypeStruct((batch, *in_shape), "float32"), jax.random.key(0)

    def forward(params, x):
        return net.apply(params, state_of(x), x, key=key, train=True)

    def both(params, x, dy):
        y, pull, _ = jax.vjp(forward, params, x, has_aux=True)
        return y, pull(dy)

    def state_of(x):
        return jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), state)

    with cpu_tuning(False):
        y = jax.eval_shape(forward, params, x)[0]
        there, all_of_it = (jax.jit(f).lower(*a).cost_analysis()["flops"] / 2 for f, a in ((forward, (params, x)), (both, (params, x, y))))
    return there, all_of_it - there


def agree(ours, lax, in_shape, rtol=0.01):
    s, (there, back) = fn.summary(ours, in_shape, batch=2), by_xla(lax, in_shape)
    np.testing.assert_allclose((s.multiply_adds_forward, s.multiply_adds_backward), (there, back), rtol=rtol)


CONVOLUTIONS = {
    "3x3": ((9, 11, 3), (8, (3, 3)), {}),
    "strided, VALID": ((9, 11, 3), (8, (3, 3)), {"stride": (2, 3), "padding": "VALID"}),
    "dilated": ((9, 11, 3), (8, (3, 2)), {"dilation": (2, 3), "stride": 2, "padding": 2}),
    "grouped": ((9, 11, 6), (9, (3, 3)), {"groups": 3}),
    "depthwise": ((9, 11, 6), (12, (5, 3)), {"groups": 6, "stride": 2}),
    "1-D": ((33, 4), (8, (7,)), {"stride": 3, "dilation": 2}),
    "3-D": ((5, 6, 7, 2), (4, (3, 2, 3)), {"stride": (1, 2, 3)}),
    "1x1, strided": ((9, 9, 3), (4, (1, 1)), {"stride": 2}),
    "much padding": ((4, 4, 3), (4, (3, 3)), {"padding": 5}),
    "padding of one side": ((4, 5, 3), (4, (3, 3)), {"padding": ((0, 3), (2, 0)), "stride": 2, "bias": False}),
    "one pixel": ((1, 1, 3), (4, (3, 3)), {"bias": False}),
    "stride over window": ((9, 8, 3), (4, (2, 1)), {"stride": 3}),
}


@pytest.mark.parametrize(("in_shape", "args", "options"), CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
def test_convolutions_agree_with_xla(in_shape, args, options):
    agree(fn.conv(*args, **options), lax_conv(*args, **options), in_shape)


@pytest.mark.parametrize(
    ("in_shape", "args", "stride"), [((7, 5, 3), (4, (3, 3)), 2), ((9, 2), (3, (5,)), 3), ((3, 4, 2, 2), (3, (2, 2, 3)), 2)]
)
def test_transposed_convolutions_agree_with_xla(in_shape, args, stride):
    agree(fn.conv_transpose(*args, stride=stride), lax_conv_transpose(*args, stride=stride), in_shape)


NETWORKS = {
    "lenet5": (28, 28, 1), "vgg11": (32, 32, 3), "all_convolutional": (32, 32, 3), "resnet20": (32, 32, 3), "resnet56": (32, 32, 3),
    "resnet18": (64, 64, 3), "mobilenet": (32, 32, 3), "unet": (32, 32, 3), "convnext": (32, 32, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", [n if n == "resnet20" else pytest.param(n, marks=pytest.mark.slow) for n in NETWORKS])
def test_networks_agree_with_xla(name, monkeypatch):
    """The same network of `jax.lax`, all else as it is, differentiated by JAX; in a loop XLA would count one round."""
    ours = getattr(networks, name)()
    in_terms_of_lax(monkeypatch)
    agree(ours, getattr(networks, name)(), NETWORKS[name], rtol=0.002)


def in_terms_of_lax(monkeypatch):
    lax = {"conv": lax_conv, "conv_transpose": lax_conv_transpose, "max_pool": lax_max_pool}
    lax |= {"conv1x1": partial(lax_conv, kernel_size=(1, 1), bias=False), "conv3x3": partial(lax_conv, kernel_size=(3, 3), bias=False)}
    for what, instead in (lax | {"repeat": lambda layer, n: fn.serial(*n * [layer])}).items():
        monkeypatch.setattr(networks, what, instead)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet20", "vgg11"])
def test_they_agree_too_where_nothing_is_ours(name, monkeypatch):
    """Norm and ReLU as one writes them for JAX: other operations, but few of all."""
    ours, normalized = getattr(networks, name)(), networks.normalized
    in_terms_of_lax(monkeypatch)
    relu = stateless("relu", lambda params, x: jax.nn.relu(x))
    monkeypatch.setattr(networks, "relu", relu)
    monkeypatch.setattr(networks, "batch_norm", plain_batch_norm)
    monkeypatch.setattr(networks, "normalized", lambda layer, activation=relu: normalized(layer, activation))
    agree(ours, getattr(networks, name)(), NETWORKS[name])


def plain_batch_norm():
    def forward(params, state, x, *, key=None, train=False):
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        y = (x - mean[None, None, None]) * (jax.lax.rsqrt(var + 1e-5) * params["scale"])[None, None, None] + params["shift"][
            None, None, None
        ]
        return y, {"mean": 0.9 * state["mean"] + 0.1 * mean, "var": 0.9 * state["var"] + 0.1 * var}, ()

    return fn.Layer("batch_norm", fn.batch_norm().init, forward, None)  # pyrefly: ignore


# By what is kept


def buffers(tree):
    """The memory of NumPy arrays, each piece once, by who owns it."""
    found = {}
    for a in jax.tree.leaves(tree):
        owner = a
        while isinstance(owner, np.ndarray) and isinstance(owner.base, np.ndarray):
            owner = owner.base
        if isinstance(a, np.ndarray) and a.size:
            found[id(owner)] = max(a.nbytes, found.get(id(owner), 0))
    return found


KEPT = {
    "residual": (fn.serial(fn.conv(4, (3, 3)), block(), fn.relu, block(), fn.relu, fn.global_avg_pool, fn.dense(3)), (6, 5, 3)),
    "pools": (
        fn.serial(
            fn.conv(4, (3, 3)), fn.relu, fn.max_pool((2, 2)), fn.conv(4, (3, 3)), fn.relu, fn.max_pool((2, 2), ties="split"),
            fn.flatten, fn.dropout(0.5), fn.dense(3),
        ), (8, 8, 3),
    ),
    "branches": (
        fn.serial(
            fn.conv(4, (3, 3)), fn.parallel(fn.relu, fn.conv(4, (3, 3)), merge="multiply"),
            fn.parallel(fn.relu, fn.identity, merge="concatenate"), fn.avg_pool((2, 2)),
        ), (6, 5, 3),
    ),
    "named": (fn.named(a=fn.conv(4, (3, 3)), b=fn.when_training(fn.batch_norm()), c=fn.relu), (6, 5, 3)),
    "recompute": (fn.recompute(fn.serial(fn.conv(4, (3, 3)), fn.relu)), (6, 5, 3)),
    "with_manual_vjp": (fn.with_manual_vjp(fn.serial(fn.conv(4, (3, 3)), fn.relu, fn.flatten, fn.dense(2))), (6, 5, 3)),
    "repeat": (fn.repeat(fn.serial(block(), fn.relu), 3), (6, 5, 4)),
}  # fmt: skip


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize(("net", "in_shape"), KEPT.values(), ids=KEPT.keys())
def test_residuals_are_what_numpy_keeps(net, in_shape, train):
    params, state = fn.to_numpy(net.init(jax.random.key(0), in_shape), "float32")
    x = np.ones((2, *in_shape), "float32")
    _, _, residuals = net.forward(params, state, x, key=jax.random.key(0), train=train)
    kept, given = buffers(residuals), buffers((params, state))
    said = fn.summary(net, in_shape, batch=2, train=train).residual_bytes
    stacked = jax.tree.leaves(state) if net.name == "repeat" and not train else []  # JAX hands statistics on, NumPy copies them
    assert said + sum(a.nbytes for a in stacked) >= sum(size for owner, size in kept.items() if owner not in given) >= said


def test_no_arrays_are_made():
    before = len(jax.live_arrays())
    s = fn.summary(fn.serial(*4 * [fn.dense(50_000), fn.relu]), (50_000,), batch=4096)
    assert s.parameters == 4 * (50_000**2 + 50_000)  # 40 GB
    assert len(jax.live_arrays()) == before


# Which algorithm


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
@pytest.mark.parametrize(
    ("in_shape", "features", "sizes"),
    [((8, 9, 3), 16, (3, 3)), ((16, 16, 64), 64, (3, 3)), ((9, 9, 8), 8, (1, 1)), ((20, 20, 32), 32, (13, 13))],
)
def test_the_algorithms_are_those_that_auto_runs(platform, in_shape, features, sizes):
    """The same program, to the letter, as that of the algorithm that is named."""
    geometry = window("conv", sizes, 1, "SAME").over(in_shape[:-1])
    x, w = jnp.zeros((2, *in_shape)), jnp.zeros((*sizes, in_shape[-1], features))
    dy, auto, by_name = jnp.zeros((2, *in_shape[:-1], features)), fn.convolution.auto, vars(fn.convolution)
    passes = {
        "y": (lambda a: lambda x, w: a.forward(x, w, geometry)[0], x, w),
        "dx": (lambda a: lambda w, dy: a.input_gradient(w, dy, geometry), w, dy),
    }
    passes["dw"] = (lambda a: lambda x, dy: a.weight_gradient(x, dy, geometry), x, dy)
    with cpu_tuning(platform == "cpu"):
        names = chosen(x, w, geometry)
        for (of, *args), name in zip(passes.values(), names, strict=True):
            ran, said = (str(jax.make_jaxpr(of(algorithm))(*args)) for algorithm in (auto, by_name[name]))
            assert ran == said, name
    algorithm = fn.summary(fn.conv(features, sizes), in_shape, batch=2, platform=platform).algorithm
    assert algorithm == (names[0] if len(set(names)) == 1 else "/".join(names))


def test_algorithms_of_strides_of_choice_and_of_transposes():
    assert fn.summary(fn.conv(4, (3, 3), algorithm=fn.convolution.im2col), (6, 5, 3)).algorithm == "im2col"
    assert all(fn.summary(fn.conv(64, (3, 3), stride=2), (16, 16, 32)).algorithm.split("/"))
    geometry = Geometry(window("conv", (3, 3), 1, "SAME").over((16, 16)).axes)
    y, dx, dw = chosen(jnp.zeros((1, 16, 16, 2)), jnp.zeros((3, 3, 2, 64)), geometry)
    assert fn.summary(fn.conv_transpose(2, (3, 3)), (16, 16, 64)).algorithm in (f"{dx}/{y}/{dw}", y)


# As data, as text, as a table


def test_text_has_80_columns_at_most():
    deep = fn.relu
    for _ in range(30):
        deep = fn.serial(deep)
    named = fn.named({"an_exceedingly_long_name_for_a_layer_" * 3: fn.conv(8, (3, 3), stride=2)})
    nets = {
        networks.mobilenet(): (32, 32, 3), fn.serial(named, deep, fn.conv(4, (1, 1)), *3 * [fn.relu, block()]): (6, 5, 4),
        fn.conv(2**20, (3, 3, 3, 3)): (1000, 1000, 1000, 1000, 3), fn.identity: (), fn.serial(): (3,),
    }  # fmt: skip
    for net, in_shape in nets.items():
        lines = str(fn.summary(net, in_shape, batch=2**20)).splitlines()
        assert max(map(len, lines)) <= 80
        assert all(line == line.rstrip() for line in lines)


TEXT = """\
layer          output params forward backward residuals algorithm
serial        64x64x8  1,728   696 M   1.39 G  37.5 MiB
  3 x conv    64x64x8    576   231 M    462 M  12.5 MiB im2col
  2 x
    identity  64x64x8      0       0        0       0 B
    residual  64x64x8      0  1.64 M   1.64 M       0 B
      serial  64x64x8      0       0        0       0 B
      dropout 64x64x8      0       0        0       0 B
forward, backward: multiply-adds; N x: so many in a row, the numbers of one"""


def test_text():
    convs = 3 * [fn.conv(8, (3, 3), bias=False, algorithm=fn.convolution.im2col)]
    net = fn.serial(*convs, *2 * [fn.identity, fn.residual(shortcut=fn.dropout(0.5))])
    assert str(fn.summary(net, (64, 64, 8), batch=100, train=False)) == TEXT


def test_as_data():
    s = fn.summary(fn.serial(fn.conv(4, (3, 3)), block()), (6, 5, 3))
    data = json.loads(json.dumps(s.as_dict()))
    assert data["layers"][1]["layers"][0]["layers"][2]["name"] == "relu"
    assert set(data) == set(s._fields)
    rows = s.rows()
    json.dumps(rows)
    assert rows[0] == {"depth": 0, "path": ""} | {k: v for k, v in s._asdict().items() if k != "layers"}
    assert [row["path"] for row in rows[:5]] == ["", "0 conv", "1 residual", "1 residual/0 serial", "1 residual/0 serial/0 conv"]
    assert len(rows) == 10


def test_as_a_table_of_rich():
    console = pytest.importorskip("rich.console").Console(width=100, record=True, file=io.StringIO())
    console.print(fn.summary(fn.named({"[bold]": fn.conv(4, (3, 3), algorithm=fn.convolution.shifted)}), (6, 5, 3)))
    text = console.export_text()
    assert "[bold]: conv" in text
    assert "shifted" in text
    assert "6x5x4" in text


# What cannot be

WRONG = {
    "no layer": (lambda: fn.summary(fn.dense, (3,)), TypeError, "summary: expected layers, got function as argument 0; call it, dense("),
    "no shape": (lambda: fn.summary(fn.relu, 3), ValueError, "summary: expected in_shape to be the shape of one example, a tuple, got int"),
    "size 0": (lambda: fn.summary(fn.relu, (3, 0)), ValueError, "summary: expected every size of in_shape to be a whole"),
    "wrong rank": (lambda: fn.summary(fn.conv(3, (3, 3)), (6, 3)), ValueError, "conv: expected in_shape of shape (H, W, C), got (6, 3)"),
    "inside": (lambda: fn.summary(fn.serial(fn.relu, fn.dense(3)), (6, 5, 3)), ValueError, "dense: expected in_shape of shape (D,)"),
    "batch": (lambda: fn.summary(fn.relu, (3,), batch=0), ValueError, "summary: expected batch to be a whole number of at least 1, got 0"),
    "dtype": (lambda: fn.summary(fn.relu, (3,), dtype="int8"), ValueError, "summary: expected dtype to be one of ('float16',"),
    "no dtype": (lambda: fn.summary(fn.relu, (3,), dtype="half-ish"), ValueError, "summary: expected dtype to be one of ('float16',"),
    "platform": (lambda: fn.summary(fn.relu, (3,), platform="abacus"), ValueError, "summary: expected platform to be one of ('cpu', 'gpu'"),
    "train": (lambda: fn.summary(fn.relu, (3,), train="no"), ValueError, "summary: expected train to be one of (True, False), got 'no'"),
    "statistics of one": (
        lambda: fn.summary(fn.serial(fn.dense(3), fn.batch_norm()), (3,)), ValueError,
        "batch_norm: expected more than one value per channel in training",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be(call, kind, message):
    with pytest.raises(kind) as error:
        call()
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", np.float32, np.dtype("float64"), jnp.bfloat16])
def test_dtypes(dtype):
    s, usual = (fn.summary(fn.serial(fn.conv(4, (3, 3)), fn.relu, fn.dropout(0.5)), (6, 5, 4), dtype=d) for d in (dtype, "float32"))
    assert s.parameters == usual.parameters
    floats, bools = 2 * 6 * 5 * 4, 6 * 5 * 4
    assert s.residual_bytes == floats * jnp.dtype(dtype).itemsize + bools
    assert fn.summary(fn.relu, (3,)).residual_bytes == 12
