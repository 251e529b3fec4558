"""What the library promises of its source and of its compiled programs."""

import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

import funcnn as fn

SOURCE = Path(fn.__file__).parent
FORBIDDEN = re.compile(r"conv_general_dilated|reduce_window|select_and_scatter|select_and_gather|scatter")

shifted, im2col, direct, auto = fn.convolution.shifted, fn.convolution.im2col, fn.convolution.direct, fn.convolution.auto
EVERYTHING = fn.serial(
    fn.conv(4, (3, 3), stride=2, algorithm=im2col),
    fn.batch_norm(),
    fn.relu,
    fn.parallel(fn.conv(2, (3, 3), algorithm=shifted), fn.conv(2, (2, 2), algorithm=direct), merge="concatenate"),
    fn.max_pool((3, 3), stride=2, padding="SAME"),
    fn.residual(fn.conv(4, (3, 3), dilation=2), fn.max_pool((2, 2), stride=1, padding="SAME", ties="split"), fn.identity),
    fn.avg_pool((2, 2), stride=1, padding="SAME_LOWER", count_include_pad=False),
    fn.parallel(fn.global_avg_pool, fn.serial(fn.flatten, fn.dense(4))),
    fn.dropout(0.5),
    fn.dense(10),
)


def primitives(jaxpr):
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                if isinstance(inner, core.ClosedJaxpr | core.Jaxpr):
                    yield from primitives(inner.jaxpr if isinstance(inner, core.ClosedJaxpr) else inner)


def problem(shape=(3, 13, 16, 3)):
    params, state = EVERYTHING.init(jax.random.key(0), shape[1:])
    return params, state, jax.random.normal(jax.random.key(1), shape), jnp.arange(shape[0]) % 10


@pytest.mark.parametrize("train", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["train", "eval"])
def test_no_compiled_convolution_pooling_or_scatter(train):
    params, state, x, labels = problem()

    def passes(params, state, x, labels, key):
        logits, _, residuals = EVERYTHING.forward(params, state, x, key=key, train=train)
        return EVERYTHING.backward(residuals, fn.softmax_cross_entropy(logits, labels)[1])

    names = set(primitives(jax.make_jaxpr(passes)(params, state, x, labels, jax.random.key(2)).jaxpr))
    assert {"dot_general", "pad"} <= names
    assert not [name for name in names if FORBIDDEN.search(name)]


def test_the_search_for_primitives_finds_what_it_looks_for():
    """`jax.grad` of an indexed array scatters, and lax convolves, inside jit too."""
    grad = jax.jit(jax.grad(lambda x: x[jnp.asarray([0, 0])].sum()))
    assert any(FORBIDDEN.search(n) for n in primitives(jax.make_jaxpr(grad)(jnp.ones(3)).jaxpr))
    convolve = jax.jit(lambda x: jax.lax.conv(x, x, (1, 1), "SAME"))
    assert "conv_general_dilated" in set(primitives(jax.make_jaxpr(convolve)(jnp.ones((1, 1, 3, 3))).jaxpr))


def test_the_source_of_convolution_and_pooling_never_names_lax():
    files = [
        *(SOURCE / "convolution").glob("*.py"),
        *(SOURCE / "normalization").glob("*.py"),
        *(SOURCE / "pooling").glob("*.py"),
        *(SOURCE / name for name in ("padding.py", "resampling.py", "linear.py", "layer.py")),
    ]
    assert len(files) >= 15
    for file in files:
        code = re.sub(r'""".*?"""', "", file.read_text(), flags=re.S)
        assert not re.search(r"\blax\b|\.at\[|scatter", code), file


def test_array_kernels_import_nothing_of_jax_transformations():
    for file in (SOURCE / "convolution").glob("*.py"):
        if file.name not in ("layers.py", "transposed.py"):  # the layers
            assert not re.search(r"^\s*(import jax|from jax)", file.read_text(), flags=re.M), file


def test_one_custom_vjp_in_the_library():
    code = {f.name: re.sub(r'""".*?"""', "", f.read_text(), flags=re.S) for f in SOURCE.rglob("*.py")}
    assert [name for name, text in code.items() for _ in re.findall(r"@jax\.custom_\w+|\bcustom_\w+\(", text)] == ["layer.py"]
    params, state, x, _ = problem()
    names = set(primitives(jax.make_jaxpr(lambda *a: EVERYTHING.apply(*a))(params, state, x).jaxpr))
    assert not [name for name in names if "custom" in name]


def test_the_contract_and_dense_stay_small():
    assert len((SOURCE / "layer.py").read_text().splitlines()) <= 120
    dense = re.search(r"^def dense\(.*?^    return stateless[^\n]*\n", (SOURCE / "linear.py").read_text(), flags=re.S | re.M)
    assert dense is not None
    lines = re.sub(r'    """y = x w.*?"""\n', "", dense[0], flags=re.S).strip().splitlines()
    assert len([line for line in lines if line.strip()]) <= 15


def test_a_debugger_is_soon_where_a_convolution_multiplies():
    """How many calls of ours a step by step run sees before the first product on NumPy, and how many of them are checks."""
    net = fn.serial(fn.conv(4, (3, 3)), fn.relu)
    params, state, x = fn.to_numpy((*net.init(jax.random.key(0), (8, 8, 3)), jnp.ones((2, 8, 8, 3))))
    seen = []

    def look(frame, event, arg):
        if event == "call" and Path(frame.f_code.co_filename).is_relative_to(SOURCE):
            seen.append((Path(frame.f_code.co_filename).name, frame.f_code.co_name))

    sys.setprofile(look)
    try:
        net.forward(params, state, x)
    finally:
        sys.setprofile(None)
    before = seen[: seen.index(("algorithm.py", "contract"))]
    assert len(before) <= 40
    assert [name for file, name in before if file == "arguments.py"] == ["check_params", "check_params", "check_array"]


@pytest.mark.parametrize("rows", [32_768, 32_769, 40_000])
def test_jit_eager_and_numpy_agree_above_32768_rows(rows):
    """jaxlib 0.10.2 computes such sums wrongly (jax-ml/jax#39103)."""
    x = np.random.default_rng(0).standard_normal((rows, 16)).astype("float32")
    w = np.random.default_rng(1).standard_normal((16,)).astype("float32")

    def f(x, w):
        return (jax.vmap(lambda row: row @ w)(x) ** 2).sum()

    exact = ((x.astype("float64") @ w.astype("float64")) ** 2).sum()
    for got in (f(x, w), jax.jit(f)(x, w)):
        np.testing.assert_allclose(got, exact, rtol=1e-5)


@pytest.mark.slow
def test_a_network_of_every_layer_is_right_above_32768_rows():
    """Jitted float32 against eager NumPy float64, forward and backward, with 9 * 64 * 66 = 38,016 rows in the first layers."""
    net = fn.serial(
        fn.conv(4, (3, 3), bias=False), fn.batch_norm(), fn.relu, fn.conv(3, (3, 3)), fn.avg_pool((2, 2), stride=1, padding="SAME"),
        fn.residual(fn.conv(3, (3, 3))), fn.max_pool((2, 2)), fn.dropout(0.5), fn.flatten, fn.dense(5),
    )  # fmt: skip
    key, x = jax.random.key(1), jax.random.normal(jax.random.key(2), (9, 64, 66, 3))
    params, state = net.init(jax.random.key(0), x.shape[1:])

    def passes(params, state, x, dy):
        y, new_state, residuals = net.forward(params, state, x, key=key, train=True)
        return y, new_state, net.backward(residuals, dy)

    dy = jax.random.normal(jax.random.key(3), (9, 5))
    got = jax.jit(passes)(params, state, x, dy)
    expected = passes(*fn.to_numpy((params, state, x, dy), "float64"))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


@pytest.mark.parametrize("block", [2**21, 1])
def test_numpy_images_with_jax_params_give_jax_arrays(block, monkeypatch):
    monkeypatch.setattr(fn.cpu, "BLOCK", block)
    net = fn.serial(fn.relu, fn.conv(3, (3, 3)), fn.batch_norm(), fn.max_pool((2, 2)), fn.dropout(0.5), fn.flatten, fn.dense(3))
    params, state = net.init(jax.random.key(0), (4, 4, 2))
    x = np.random.default_rng(0).standard_normal((3, 4, 4, 2)).astype("float32")
    mixed, _, residuals = net.forward(params, state, x, key=jax.random.key(2), train=True)
    pure, _, _ = net.forward(params, state, jnp.asarray(x), key=jax.random.key(2), train=True)
    assert isinstance(mixed, jax.Array)
    np.testing.assert_allclose(mixed, pure, rtol=1e-4, atol=1e-5)
    dparams, _ = net.backward(residuals, np.ones(mixed.shape, "float32"))
    assert jax.tree.structure(dparams) == jax.tree.structure(params)


@pytest.mark.parametrize("algorithm", [direct, shifted, im2col, auto], ids=lambda a: a.name)
@pytest.mark.parametrize("n", [0, 1])
def test_a_batch_of_none_or_one_has_its_shapes(n, algorithm):
    net = fn.serial(
        fn.conv(2, (3, 3), algorithm=algorithm),
        fn.conv(4, (3, 3), groups=2, algorithm=algorithm),
        fn.conv(4, (3, 3), stride=2, algorithm=algorithm),
        fn.batch_norm(),
        fn.max_pool((2, 2)),
        fn.global_avg_pool,
        fn.dense(2),
    )
    params, state = fn.to_numpy(net.init(jax.random.key(0), (8, 8, 1)))
    x = np.zeros((n, 8, 8, 1), "float32")
    y, _, residuals = net.forward(params, state, x)
    assert y.shape == (n, 2)
    assert net.backward(residuals, y)[1].shape == x.shape


@pytest.mark.parametrize("block", [2**21, 1])
def test_numpy_data_may_be_closed_over_in_a_traced_function(block, monkeypatch):
    """Where x and dy are NumPy's and only params and key are traced, JAX computes."""
    monkeypatch.setattr(fn.cpu, "BLOCK", block)
    x = np.random.default_rng(0).standard_normal((2, 4, 4, 2)).astype("float32")
    for layer in (fn.conv(3, (3, 3), algorithm=direct), fn.conv(3, (3, 3), algorithm=im2col), fn.dropout(0.5), fn.max_pool((2, 2))):
        params, state = layer.init(jax.random.key(0), x.shape[1:])
        dy = np.ones(jax.eval_shape(layer.apply, params, state, x)[0].shape, "float32")

        def passes(params, key, layer=layer, state=state, dy=dy):
            return layer.backward(layer.forward(params, state, x, key=key, train=True)[2], dy)

        got, expected = jax.jit(passes)(params, jax.random.key(1)), passes(params, jax.random.key(1))
        assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True))
    numbers = (fn.dropout(np.float64(0.5)), fn.batch_norm(momentum=np.float64(0.9), epsilon=np.float64(1e-5)))
    for layer in numbers:
        params, state = fn.to_numpy(layer.init(jax.random.key(0), (3,)))
        outputs = layer.apply(params, state, x[0, 0, :, :1].repeat(3, 1), key=jax.random.key(0), train=True)
        assert {leaf.dtype.name for leaf in jax.tree.leaves(outputs)} == {"float32"}


def test_a_seed_means_the_same_network_on_both_libraries():
    """Also the dropout masks."""
    params, state, x, _ = problem()
    on_jax = jax.jit(lambda *a: EVERYTHING.apply(*a, key=jax.random.key(5), train=True)[0])(params, state, x)
    on_numpy = EVERYTHING.apply(*fn.to_numpy((params, state, x), "float64"), key=jax.random.key(5), train=True)[0]
    assert on_numpy.dtype == "float64"
    np.testing.assert_allclose(on_jax, on_numpy, atol=1e-4)
