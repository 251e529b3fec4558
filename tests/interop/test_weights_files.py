"""safetensors files of funcnn's own trees: exact, whole or not at all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnn as fn
from funcnn import interop
from tests.interop.test_weights_laws import random_trees, same

pytest.importorskip("safetensors")

pytestmark = pytest.mark.peers
NET = fn.serial(
    fn.named(stem=fn.conv(4, (3, 3)), norm=fn.batch_norm()), fn.repeat(fn.residual(fn.conv(4, (3, 3))), 3), fn.flatten, fn.dense(3)
)
IN_SHAPE = (4, 5, 2)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


@pytest.mark.parametrize("dtypes", [("float32",), ("float16", "bfloat16", "float32")])
def test_saved_and_loaded(path, dtypes):
    params, state = random_trees(NET, IN_SHAPE, 1, dtypes)
    params[3]["w"] = jnp.full_like(params[3]["w"], jnp.nan)
    interop.save(path, params, state)
    same(interop.load(path, NET, IN_SHAPE), (params, state))
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert "params.0.stem.w" in interop.read_safetensors(path)
    assert "state.0.norm.mean" in interop.read_safetensors(path)


def test_double_precision_stays(path):
    trees = fn.to_numpy(random_trees(NET, IN_SHAPE, 1), "float64")
    interop.save(path, *trees)
    same(interop.load(str(path), NET, IN_SHAPE), trees)


def test_any_memory_layout(path):
    """A view with other strides, numbers of the other byte order, a single number, none."""
    arrays = {
        "turned": np.arange(6.0).reshape(2, 3).T,
        "far": np.arange(9)[::3],
        "swapped": np.arange(3, dtype=">f4"),
        "none": np.ones((0, 2)),
    }
    interop.write_safetensors(path, arrays | {"one": np.array(3, "int64")})
    got = interop.read_safetensors(path)
    assert got["one"].shape == ()
    for name, a in arrays.items():
        np.testing.assert_array_equal(got[name], a)


@pytest.mark.parametrize("length", [0, 3, 7, 20, 400, -1])
def test_a_broken_file(path, length):
    interop.save(path, *random_trees(NET, IN_SHAPE))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"^read_safetensors: expected a whole safetensors file at .*net.safetensors, got "):
        interop.load(path, NET, IN_SHAPE)


def test_no_file(path):
    with pytest.raises(FileNotFoundError, match=r"net\.safetensors"):
        interop.load(path, NET, IN_SHAPE)
    path.write_bytes(b"PK\x03\x04" + bytes(range(200)))
    with pytest.raises(ValueError, match="expected a whole safetensors file"):
        interop.load(path, NET, IN_SHAPE)


def test_a_file_of_another_network(path):
    interop.save(path, *random_trees(NET, IN_SHAPE))
    other = fn.serial(fn.named(stem=fn.conv(5, (3, 3)), norm=fn.batch_norm()), fn.identity, fn.flatten, fn.dense(3))
    message = (
        r"(?s)^load: .*net.safetensors: expected .*expected params.0.stem.w of shape \(3, 3, 2, 5\), got shape \(3, 3, 2, 4\);\n.*"
        r"expected no params.1.0.0.w, got params.1.0.0.w of shape \(3, 3, 3, 4, 4\)"
    )
    with pytest.raises(ValueError, match=message):
        interop.load(path, other, IN_SHAPE)
    whole = {name: a.astype("int32") if name == "params.3.b" else a for name, a in interop.read_safetensors(path).items()}
    interop.write_safetensors(path, whole)
    with pytest.raises(ValueError, match=r"expected params.3.b of a dtype like float32, got int32"):
        interop.load(path, NET, IN_SHAPE)


def test_a_file_that_cannot_be_written_leaves_the_old_one(path, monkeypatch):
    params, state = random_trees(NET, IN_SHAPE)
    interop.save(path, params, state)
    before = path.read_bytes()
    for bad, message in ((np.ones(3, "complex128"), "complex128"), (jax.random.key(0), "random key"), ("text", "str"), (None, "")):
        if bad is not None:
            with pytest.raises(TypeError, match=message):
                interop.save(path, {"a": params, "b": bad}, state)
    with monkeypatch.context() as patch:

        def full(*args):
            raise OSError(28, "No space left on device")

        patch.setattr("os.replace", full)
        with pytest.raises(OSError, match="No space"):
            interop.save(path, params, state)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    with pytest.raises(FileNotFoundError):
        interop.save(path.parent / "nowhere" / "net.safetensors", params, state)
