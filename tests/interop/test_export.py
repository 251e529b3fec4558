"""Networks as programs in files: `fn.interop.export`."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import funcnn as fn
from tests.cases import CASES, FIRST_OF_EACH, params_of
from tests.cases.networks import CASES as NETWORKS
from tests.test_laws import KEY, random_like, worst

pytestmark = pytest.mark.usefixtures("compiled_quickly")
SIZES = 1, 3, 8


def learned(case):
    """Random params and state of a case, float32 on NumPy; a variance is positive."""
    rng = np.random.default_rng(5)
    params, state = random_like(rng, jax.eval_shape(lambda: case.layer.init(KEY, case.in_shape)))
    return fn.to_numpy((params, jax.tree.map(lambda a: np.abs(a) + 0.5, state)), "float32")


def examples(n, in_shape):
    return np.random.default_rng(n).standard_normal((n, *in_shape)).astype("float32")


def small():
    """A network with a state, its params, its state, and the shape of its examples."""
    net = fn.serial(fn.conv(4, (3, 3), stride=2), fn.batch_norm(), fn.relu, fn.flatten, fn.dropout(0.5), fn.dense(3))
    params, state = net.init(KEY, (6, 5, 2))
    return net, params, jax.tree.map(lambda a: a + 0.5, state), (6, 5, 2)


SOON = [FIRST_OF_EACH[name] for name in ("conv auto", "conv_transpose auto", "max_pool", "batch_norm", "parallel", "repeat", "upsample")]


KINDS = FIRST_OF_EACH | NETWORKS | {"parallel: multiply": CASES["parallel: multiply"]}


@pytest.mark.parametrize("case", params_of(KINDS, lambda case: case not in SOON))
def test_every_layer_for_any_batch_size(case):
    """Against float64 on NumPy; through the bytes of a file, as another process reads them."""
    params, state = learned(case)
    program = fn.interop.export(case.layer, params, state, case.in_shape)
    read = export.deserialize(program.serialize())
    for n in SIZES:
        x = examples(n, case.in_shape)
        expected = case.layer.apply(*fn.to_numpy((params, state, x), "float64"))[0]
        assert worst(read.call(x), expected.astype("float32")) <= case.float32


ANYWHERE = """
import sys
class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "funcnn":
            raise ModuleNotFoundError("no funcnn here")
sys.meta_path.insert(0, Nowhere())
try:
    import funcnn
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("funcnn is here")
"""
CALL = """
import jax.export, numpy as np
def run(path, x):
    return jax.export.deserialize(open(path, "rb").read()).call(x)
ABSENT = {"funcnn"}
"""
ASK = """
for path in sys.argv[1:]:
    for n in (2, 5):
        np.save(f"{path}.y{n}.npy", run(path, np.load(f"{path}.x{n}.npy")))
assert not ABSENT & {name.partition(".")[0] for name in sys.modules}
"""


def elsewhere(code, folder, files):
    """(name, x, y) by a fresh process without funcnn and its source, of each of the files, whose examples have such shapes."""
    for name, in_shape in files.items():
        for n in (2, 5):
            np.save(folder / f"{name}.x{n}.npy", examples(n, in_shape))
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true"}
    command = [sys.executable, "-I", "-W", "error", "-c", ANYWHERE + code + ASK, *files]
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return [(name, *(np.load(folder / f"{name}.{a}{n}.npy") for a in "xy")) for name in files for n in (2, 5)]


def test_a_process_without_funcnn_runs_the_file(tmp_path):
    net, params, state, in_shape = small()
    fn.interop.export(net, params, state, in_shape, tmp_path / "net.bin")
    for _, x, y in elsewhere(CALL, tmp_path, {"net.bin": in_shape}):
        assert worst(y, net.apply(*fn.to_numpy((params, state)), x)[0]) <= 1e-5


def test_such_a_process_really_has_no_funcnn(tmp_path):
    with pytest.raises(AssertionError, match="no funcnn here"):
        elsewhere("import funcnn", tmp_path, {})


@pytest.mark.slow
def test_a_process_without_funcnn_runs_every_network(tmp_path):
    learnt = {name: learned(case) for name, case in NETWORKS.items()}
    for name, case in NETWORKS.items():
        fn.interop.export(case.layer, *learnt[name], case.in_shape, tmp_path / name)
    for name, x, y in elsewhere(CALL, tmp_path, {name: case.in_shape for name, case in NETWORKS.items()}):
        expected = NETWORKS[name].layer.apply(*fn.to_numpy((*learnt[name], x), "float64"))[0]
        assert worst(y, expected.astype("float32")) <= NETWORKS[name].float32


def test_the_program_is_for_every_platform_or_for_those_that_are_named():
    net, *rest = small()
    assert set(fn.interop.export(net, *rest).platforms) == {"cpu", "cuda", "rocm", "tpu"}
    assert fn.interop.export(net, *rest, platforms="cpu").platforms == ("cpu",)
    elsewhere_only = fn.interop.export(net, *rest, platforms=["cuda"])
    with pytest.raises(ValueError, match="platform"):
        elsewhere_only.call(examples(2, (6, 5, 2)))


def test_a_batch_size_that_is_given_is_the_only_one():
    net, params, state, in_shape = small()
    program = fn.interop.export(net, params, state, in_shape, batch=4)
    x = examples(4, in_shape)
    assert worst(program.call(x), net.apply(params, state, jnp.asarray(x))[0]) <= 1e-5
    with pytest.raises(ValueError, match="shape"):
        program.call(x[:3])


@pytest.mark.parametrize(("trained", "dtype"), [("float16", "float32"), ("bfloat16", "float16"), ("float32", "bfloat16")])
def test_params_in_any_dtype_become_the_one_of_the_program(trained, dtype):
    net, params, state, in_shape = small()
    params = jax.tree.map(lambda a: a.astype(trained), params)
    program = fn.interop.export(net, params, state, in_shape, dtype=dtype)
    x = jnp.asarray(examples(3, in_shape), dtype)
    cast = jax.tree.map(lambda a: a.astype(dtype), params)
    y = program.call(x)
    assert y.dtype == dtype
    assert worst(y, net.apply(cast, state, x)[0]) <= 4 * float(jnp.finfo(dtype).eps)


@pytest.mark.usefixtures("x64")
def test_float64_where_it_is_on():
    net, params, state, in_shape = small()
    x = examples(3, in_shape).astype("float64")
    y = fn.interop.export(net, params, state, in_shape, dtype="float64").call(x)
    assert y.dtype == "float64"
    assert worst(y, net.apply(*fn.to_numpy((params, state), "float64"), x)[0]) <= 1e-12


def test_the_program_is_of_evaluation_and_of_the_state():
    net, params, state, in_shape = small()
    x = examples(3, in_shape)
    y = fn.interop.export(net, params, state, in_shape).call(x)
    assert worst(y, net.apply(params, jax.tree.map(lambda a: a + 1, state), jnp.asarray(x))[0]) > 1e-2
    assert worst(y, net.apply(params, state, jnp.asarray(x), key=KEY, train=True)[0]) > 1e-2


def by_loop(params, x):
    """A layer of a user's, whose program has a part for every example."""
    return jnp.stack([x[i] * 2 for i in range(x.shape[0])]), x[:0]


LOOP = fn.stateless("by_loop", by_loop, lambda empty, dy: ((), 2 * dy))


def test_a_layer_with_a_program_for_each_batch_size_is_named_and_exported_for_one(tmp_path):
    net = fn.serial(fn.relu, fn.residual(LOOP))
    params, state = net.init(KEY, (3,))
    where = r"in layer 1 \(residual\) of serial, in layer 0 \(serial\) of residual, in layer 0 \(by_loop\) of serial"
    with pytest.raises(ValueError, match=rf"^export: expected one program for any number of examples, got one for each, {where}"):
        fn.interop.export(net, params, state, (3,), tmp_path / "net.bin")
    assert list(tmp_path.iterdir()) == []
    y = fn.interop.export(net, params, state, (3,), batch=2).call(np.ones((2, 3), "float32"))
    np.testing.assert_array_equal(y, np.full((2, 3), 3, "float32"))


def refused():
    net, params, state, in_shape = small()
    args = net, params, state, in_shape
    huge = jax.tree.map(lambda a: a + 70_000, params)
    return {
        "no layer": ((fn.conv, params, state, in_shape), {}, r"export: expected layers, got function as argument 0; call it, conv\(...\)"),
        "params of another": ((net, params[1:], state, in_shape), {}, "serial: expected params to be a tuple of 6 entries"),
        "params in other shapes": (
            (net, (*params[:-1], jax.tree.map(lambda a: a[:-1], params[-1])), state, in_shape), {}, "dense: expected params",
        ),
        "no arrays": ((net, (*params[:-1], {"w": 1.0, "b": [2.0]}), state, in_shape), {}, "export: expected params to be a tree of"),
        "no state": ((net, params, (), in_shape), {}, "serial: expected state to be a tuple of 6 entries"),
        "an axis missing": ((net, params, state, (6, 5)), {}, r"conv: expected x of shape \(N, H, W, 2\), got \(N, 6, 5\)"),
        "other channels": ((net, params, state, (6, 5, 3)), {}, r"conv: expected x of shape \(N, H, W, 2\), got \(N, 6, 5, 3\)"),
        "another size": ((net, params, state, (9, 5, 2)), {}, r"dense: expected x of shape \(N, 36\), got \(N, 60\)"),
        "no shape": ((net, params, state, 6), {}, "export: expected in_shape to be the shape of one example, a tuple, got int"),
        "no size": ((net, params, state, (6, 0, 2)), {}, "export: expected every size of in_shape to be a whole number of at least 1"),
        "no batch": (args, {"batch": 0}, "export: expected batch to be a whole number of at least 1, got 0"),
        "no dtype": (args, {"dtype": "int8"}, "export: expected dtype to be one of"),
        "float64 that is off": (args, {"dtype": "float64"}, "export: expected float64 to be on in JAX, got it off"),
        "too large": ((net, huge, state, in_shape), {"dtype": "float16"}, "export: expected params that float16 holds, got numbers up to"),
        "no platform": (args, {"platforms": ()}, "export: expected platforms to be some of"),
        "another platform": (args, {"platforms": ("cpu", "gpu")}, "export: expected platforms to be some of"),
        "no path": (args, {"path": 3}, "export: expected path to be a text or a Path, got int"),
    }  # fmt: skip


@pytest.mark.parametrize("name", refused())
def test_what_cannot_be_right_is_refused_and_writes_nothing(name, tmp_path):
    args, options, sentence = refused()[name]
    with pytest.raises((TypeError, ValueError), match=f"^{sentence}"):
        fn.interop.export(*args, **{"path": tmp_path / "net.bin", **options})
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "net.bin"
    path.write_bytes(b"before")
    with pytest.raises(FileNotFoundError, match=r"^export: expected a path in a folder that is there"):
        fn.interop.export(*small(), tmp_path / "nowhere" / "net.bin")
    with pytest.raises(IsADirectoryError, match=r"^export: expected the path of a file, got the folder"):
        fn.interop.export(*small(), tmp_path)

    def full(source, target):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        fn.interop.export(*small(), path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("net.bin", b"before")]
    monkeypatch.undo()
    fn.interop.export(*small(), path)
    assert [p.name for p in tmp_path.iterdir()] == ["net.bin"]
    assert len(path.read_bytes()) > 1000


def test_without_flatbuffers_the_extra_is_named_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "flatbuffers", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'funcnn\[export\]'"):
        fn.interop.export(*small(), tmp_path / "net.bin")
    assert list(tmp_path.iterdir()) == []
