"""Weights that do not fit are named, with both names and both shapes; nothing is changed. No other library is needed."""

import subprocess
import sys
from collections import OrderedDict

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnn as fn
from funcnn import interop

NET = fn.serial(
    fn.conv(6, (3, 3), bias=False), fn.batch_norm(), fn.relu, fn.conv(6, (3, 3), bias=False), fn.batch_norm(), fn.relu,
    fn.repeat(fn.residual(fn.conv(6, (3, 1)), fn.batch_norm()), 2), fn.flatten, fn.dense(4),
)  # fmt: skip
IN_SHAPE = (4, 5, 6)
NAMES = ["conv1", "bn1", "conv2", "bn2", "a.conv", "a.bn", "b.conv", "b.bn", "fc"]
SHAPES = jax.eval_shape(lambda: NET.init(jax.random.key(0), IN_SHAPE))
PATHS = ["0", "1", "3", "4", "6.0.0.0", "6.0.0.1", "6.1.0.0", "6.1.0.1", "8"]


def trees(seed=0, dtype="float32"):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda a: rng.standard_normal(a.shape).astype(dtype), SHAPES)


def good():
    return interop.params_to_torch(NET, *trees(), IN_SHAPE, names=NAMES)


def read(weights, **options):
    return interop.params_from_torch(NET, weights, IN_SHAPE, **options)


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for one, other in zip(*map(jax.tree.leaves, (a, b)), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def changed(weights, **new):
    made = OrderedDict(weights)
    for name, a in new.items():
        name = name.replace("__", ".")
        if a is None:
            del made[name]
        else:
            made[name] = a
    return made


def test_good_ones_fit():
    same(read(good()), trees())
    assert good()["bn1.num_batches_tracked"].dtype == "int64"
    assert good()["bn1.num_batches_tracked"].shape == ()
    assert good()["conv1.weight"].shape == (6, 6, 3, 3)
    assert good()["a.conv.weight"].shape == (6, 6, 3, 1)


ones = np.ones
MISTAKES = {
    "a missing array": ({"bn2__running_var": None}, r"expected for 4.var \(6,\) an array bn2.running_var of shape \(6,\), got nothing$"),
    "a missing layer": ({"conv2__weight": None}, r"expected for 3.w \(3, 3, 6, 6\) an array weight of shape \(6, 6, 3, 3\), got nothing$"),
    "an array too many": ({"conv1__bias": ones(6)}, r"expected no conv1.bias of shape \(6,\), as ours (at '0' has|have) none$"),
    "a layer too many": ({"extra__weight": ones((3, 6))}, r"expected no extra.weight of shape \(3, 6\), as ours have none$"),
    "a wrong shape": (
        {"fc__weight": ones((4, 119))},
        r"expected for 8.w \(120, 4\) an array of shape \(4, 120\), got fc.weight of shape \(4, 119\)$",
    ),
    "a turned kernel": (
        {"b__conv__weight": ones((6, 6, 1, 3))},
        r"expected for 6.1.0.0.w \(3, 1, 6, 6\) an array of shape \(6, 6, 3, 1\), got b.conv.weight of shape \(6, 6, 1, 3\)$",
    ),
    "a turned dense layer": (
        {"fc__weight": ones((120, 4))},
        r"expected for 8.w \(120, 4\) an array of shape \(4, 120\), got fc.weight of shape \(120, 4\)$",
    ),
    "two": (
        {"fc__bias": ones(5), "bn1__weight": ones(7)},
        r"expected for 1.scale \(6,\) .* bn1.weight of shape \(7,\);\nexpected for 8.b \(4,\) .* fc.bias of shape \(5,\)$",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.parametrize("given", [None, NAMES, dict(zip(NAMES, PATHS, strict=True))], ids=["by order", "names", "names: ours"])
def test_what_does_not_fit_is_named(name, given):
    new, message = MISTAKES[name]
    weights = changed(good(), **new)
    if given and "layer" in name and "turned" not in name:
        message = "no 'conv2'" if "missing" in name else message
    before = OrderedDict((n, a.copy()) for n, a in weights.items())
    with pytest.raises(ValueError, match=message) as error:
        read(weights, names=given)
    assert str(error.value).startswith("params_from_torch: expected ")
    assert list(before) == list(weights)
    for n, a in weights.items():
        np.testing.assert_array_equal(before[n], a)
    if name != "a missing layer":
        with pytest.raises(ValueError, match=message):
            interop.params_to_torch(NET, *trees(), IN_SHAPE, like=weights, names=given)


def test_whole_numbers_are_no_weights():
    with pytest.raises(TypeError, match=r"^params_from_torch: expected for 8.b a floating-point dtype, got fc.bias of dtype int32$"):
        read(changed(good(), fc__bias=np.ones(4, "int32")))
    with pytest.raises(TypeError, match=r"^params_from_torch: expected an array for 'epoch', got a dict with \['a'\]"):
        read({**good(), "epoch": {"a": 3}})
    with pytest.raises(TypeError, match=r"^params_from_torch: expected a state_dict, arrays by name, got tuple"):
        read((1, 2))
    with pytest.raises(TypeError, match=r"^params_from_torch: expected an array for epoch, got NoneType"):
        read({**good(), "epoch": None})


def test_nan_is_a_number():
    weights = changed(good(), fc__bias=np.array([np.nan, np.inf, -0.0, 1], "float32"))
    np.testing.assert_array_equal(read(weights)[0][-1]["b"], weights["fc.bias"])


def test_names_go_before_order():
    """Two layers of one shape, listed the other way round."""
    right = good()
    swapped = OrderedDict(sorted(right.items(), key=lambda item: not item[0].startswith("conv2")))
    assert next(iter(swapped)) == "conv2.weight"
    assert not np.array_equal(read(swapped)[0][0]["w"], trees()[0][0]["w"])
    for names in ({"conv1": "0"}, {"conv2.weight": "3.w"}, {"conv2": "3", "conv1": "0"}, NAMES, dict(zip(NAMES, PATHS, strict=True))):
        same(read(swapped, names=names), trees())
        got = interop.params_to_torch(NET, *trees(), IN_SHAPE, like=swapped, names=names)
        assert list(got) == list(swapped)
        for n, a in got.items():
            np.testing.assert_array_equal(a, right[n])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"conv1": "33"}, r"expected names=\{theirs: ours\} of arrays or layers, got 'conv1': '33', where there is no '33' among '0', "),
        ({"conf1": "0"}, r"got 'conf1': '0', where there is no 'conf1' among 'conv1', "),
        ({"conv1": "0", "conv1.weight": "0.w"}, "expected every array once in names, got '0.w' more than once"),
        (NAMES[1:], "expected names of their 9 layers for '0', .*, got 8 names"),
        ("conv1", "expected names of their 9 layers for '0', .*, got 'conv1'"),
        ([*NAMES[:-1], "conv1"], "expected names of 9 layers, got one of them twice"),
        ({"conv1": "1"}, r"expected for 1.scale \(6,\) .* got conv1.weight of shape \(6, 6, 3, 3\)|got nothing"),
    ],
)
def test_names_that_are_not_there(names, message):
    with pytest.raises(ValueError, match=message):
        read(good(), names=names)


def test_an_order_that_says_nothing_is_no_order():
    """Sorted by name, as in a safetensors file: which of the norms is which, names must say, unless numbers do."""
    weights = dict(sorted(good().items()))
    with pytest.raises(
        ValueError, match=r"^params_from_torch: expected to know which of 'a.bn', 'b.bn', 'bn1', 'bn2' is which of '1', '4', "
    ):
        read(weights)
    numbered = dict(zip(NAMES, ["x.0", "x.1", "x.2", "x.10", "x.11", "x.20", "x.100", "x.101", "fc"], strict=True))
    renamed = {numbered[n.rpartition(".")[0]] + "." + n.rpartition(".")[2]: a for n, a in good().items()}
    same(read(dict(sorted(renamed.items()))), trees())
    same(read(OrderedDict(weights), names={n: p for n, p in zip(NAMES, PATHS, strict=True) if "bn" in n}), trees())


def test_params_that_are_not_those_of_the_net():
    params, state = trees()
    wrong = (*params[:-1], {"w": np.ones((120, 5), "float32"), "b": np.ones(4, "float32")})
    with pytest.raises(ValueError, match=r"^params_to_torch: expected params.8.w of shape \(120, 4\), got shape \(120, 5\)$"):
        interop.params_to_torch(NET, wrong, state, IN_SHAPE)
    with pytest.raises(ValueError, match=r"^params_to_torch: expected params.8.b of shape \(4,\), got no params.8.b"):
        interop.params_to_torch(NET, (*params[:-1], {"w": params[-1]["w"]}), state, IN_SHAPE)
    with pytest.raises(TypeError, match=r"^params_to_torch: expected layers, got str"):
        interop.params_to_torch("net", params, state, IN_SHAPE)
    with pytest.raises(ValueError, match=r"^params_from_torch: expected in_shape"):
        interop.params_from_torch(NET, good(), 3)


def test_dtypes_are_kept():
    """Each array has the one of its own; nothing is rounded, where JAX cannot hold it either."""
    weights = changed(good(), fc__weight=good()["fc.weight"].astype("float64"), fc__bias=good()["fc.bias"].astype(jnp.bfloat16))
    weights["bn1.weight"] = weights["bn1.weight"].astype("float16")
    (params, _) = read(weights)
    assert [str(a.dtype) for a in (params[8]["w"], params[8]["b"], params[1]["scale"], params[1]["shift"])] == [
        "float64", "bfloat16", "float16", "float32",
    ]  # fmt: skip
    assert isinstance(params[8]["w"], np.ndarray)
    assert isinstance(params[8]["b"], jax.Array)
    back = interop.params_to_torch(NET, *read(weights), IN_SHAPE, like=weights)
    for name, a in weights.items():
        assert back[name].dtype == a.dtype
        np.testing.assert_array_equal(back[name], a)


def test_what_is_written_is_a_copy():
    params, state = trees()
    got = interop.params_to_torch(NET, params, state, IN_SHAPE)
    for a in got.values():
        assert a.flags.writeable
        a[...] = 7
    same((params, state), trees())
    given = good()
    params, _ = read(given)
    given["bn1.weight"][...] = 7
    np.testing.assert_array_equal(params[1]["scale"], trees()[0][1]["scale"])


def test_a_layer_that_cannot_be_turned_says_so():
    net = fn.serial(fn.conv(4, (3, 3)), fn.flatten, fn.group_norm(2), fn.dense(3))
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), (2, 3, 1)))
    params, state = jax.tree.map(lambda a: np.zeros(a.shape, "float32"), shapes)
    with pytest.raises(ValueError, match=r"^group_norm: expected at '2' a layer that treats all entries of a vector alike"):
        interop.params_to_torch(net, params, state, (2, 3, 1))
    assert interop.params_to_flax(net, params, state, (2, 3, 1))["params"]["3"]["kernel"].shape == (24, 3)


def test_no_other_library_is_imported_before_it_is_needed():
    program = "import sys, funcnn; print({'torch', 'flax', 'equinox', 'haiku', 'safetensors', 'onnx'} & set(sys.modules))"
    got = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert got.stdout == "set()\n"


def test_it_says_which_extra_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"expected the extra `safetensors`, got no safetensors; install it, pip install 'funcnn\[safetensors\]'"
    ):
        interop.save(tmp_path / "net.safetensors", *trees())
