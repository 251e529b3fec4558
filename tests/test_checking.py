"""The gradient checker: right gradients pass, what is wrong is found and named, and what cannot be checked is said."""

import io
import re
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import chain
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnn as fn
from funcnn import datasets
from funcnn.checking import GradientError, check_layer, check_pair, check_vjp, comparing
from funcnn.checking.oracles import autodiff, jitted
from funcnn.checking.points import points_of_layer

LAYERS = (fn.conv(3, (3, 3)), fn.batch_norm(), fn.relu, fn.max_pool((2, 2)), fn.dropout(0.4), fn.flatten, fn.dense(3))


def scaled(layer, factor=1.0005):
    return layer._replace(backward=lambda r, dy: jax.tree.map(lambda a: factor * a, layer.backward(r, dy)))


@pytest.fixture(scope="module")
def right():
    return check_layer(fn.serial(*LAYERS), (6, 6, 1))


def test_right_gradients_are_right_by_every_oracle(right):
    assert right.ok
    assert right.wrong == ()
    right.raise_if_wrong()
    by_oracle = {row.oracle for row in right.rows}
    assert by_oracle == {"jax.vjp", "complex step", "differences", "unit step", "adjoint", "linear in dy", "jitted"}
    assert [row.layer for row in right.rows if row.leaf == "x" and row.oracle == "jax.vjp" and "train" in row.case][:3] == [
        "4 dropout"
    ] * 2 + ["1 batch_norm"]
    assert max(row.relative for row in right.rows if row.oracle in ("jax.vjp", "complex step", "unit step", "linear in dy")) <= 2e-13
    assert max(row.relative for row in right.rows if row.oracle == "differences" and not row.kinks and row.layer) <= 1e-8
    assert all(0 < row.tolerance < 1e-10 for row in right.rows if row.oracle in ("jax.vjp", "linear in dy"))


def test_modes_ties_and_kinks_are_checked_where_there_are_any(right):
    cases = {
        layer: {row.case for row in right.rows if row.layer == layer} for layer in ("1 batch_norm", "2 relu", "3 max_pool", "4 dropout")
    }
    both = {"train", "train, ties", "eval", "eval, ties"}
    assert cases == {"1 batch_norm": both, "4 dropout": both, "2 relu": {"", "ties"}, "3 max_pool": {"", "ties"}}
    kinks = {(row.layer, row.case) for row in right.rows if row.kinks and row.layer}
    assert kinks == {("2 relu", "ties"), ("3 max_pool", "ties")}


@pytest.mark.parametrize("i", [0, 3], ids=["conv", "max_pool"])
def test_the_first_wrong_layer_is_named(i):
    """Everything before it in the network gets a wrong cotangent, too; yet only that layer is to blame."""
    report = check_layer(fn.serial(*LAYERS[:i], scaled(LAYERS[i]), *LAYERS[i + 1 :]), (6, 6, 1))
    assert not report.ok
    assert {row.layer for row in report.wrong} == {report.first_wrong} == {f"{i} {LAYERS[i].name}"}
    assert all("a constant factor 1.0005" in row.words for row in report.wrong)


def test_what_is_compiled_ahead_is_what_is_needed():
    """Several at a time; then nothing is left to compile."""
    net = fn.serial(fn.dense(3), fn.relu, fn.dense(2))
    params, state = fn.to_numpy(net.init(jax.random.key(0), (4,)), "float64")
    at = params, state, np.random.default_rng(1).standard_normal((2, 4)), None
    points = list(points_of_layer(net, at, True, "float32", np.random.default_rng(2)))
    with ThreadPoolExecutor() as pool:
        wait(chain(*(comparing.compile_ahead(pool, point) for point in points)))
    before = autodiff._by_jax._cache_size(), jitted._jitted._cache_size()
    for point in points:
        assert all(row.ok for row in comparing.compare(point, np.random.default_rng(3))[0])
    assert (autodiff._by_jax._cache_size(), jitted._jitted._cache_size()) == before


def test_a_wrong_layer_deep_inside_has_its_path():
    inner = fn.residual(fn.conv(1, (3, 3)), scaled(fn.relu, 2.0))
    report = check_layer(fn.serial(fn.conv(1, (3, 3)), inner), (4, 4, 1))
    assert report.first_wrong == "1 residual / 0 serial / 1 relu"


def test_a_wrong_combinator_of_right_layers_is_itself_to_blame():
    net = fn.serial(fn.dense(3), fn.relu)
    report = check_layer(scaled(net), (4,))
    assert report.first_wrong == ""
    assert {row.layer for row in report.wrong} == {""}


def test_the_report_is_printed_plainly_and_by_rich(right):
    from rich.console import Console

    text = str(right)
    assert text.splitlines()[0] == "serial: right"
    assert "3 max_pool x ties" in text
    assert "kinks" in text
    wrong = check_layer(scaled(fn.dense(2), -1.0), (3,))
    with pytest.raises(
        GradientError, match=r"dense: WRONG[\s\S]*dw by jax.vjp: off by .* at \[\d, \d\]: got .*a constant factor -1; the sign"
    ):
        wrong.raise_if_wrong()
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(wrong)
    assert "dense: WRONG" in (shown := console.export_text())
    assert "the sign is wrong" in shown


def test_checking_changes_no_setting_and_is_reproducible():
    before = jax.config.jax_enable_x64
    first, second = (check_layer(fn.dense(2), (3,), seed=3) for _ in range(2))
    assert first == second
    assert jax.config.jax_enable_x64 == before


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_the_jitted_passes_are_compared_in_the_dtype_that_is_asked_for(dtype):
    report = check_layer(fn.serial(fn.dense(4), fn.relu), (5,), dtype=dtype)
    report.raise_if_wrong()
    error = max(row.relative for row in report.rows if row.oracle == "jitted")
    assert error <= 1e-13 if dtype == "float64" else 1e-4 < error < 0.1


def test_what_is_wrong_only_in_low_precision_is_found():
    def forward(params, state, x, **options):
        return 2 * x, state, (x[:0],)

    layer = fn.Layer("double", lambda key, shape: ((), ()), forward, lambda r, dy: ((), dy * (2 if dy.dtype == "float64" else 2.01)))
    (row,) = check_layer(layer, (3,)).wrong
    assert row.oracle == "jitted"
    assert "a constant factor 1.005" in row.words


ROOMS = ["trees", "patterns", "report", "pairs", "points", "tolerances", "contract", "slopes", "autodiff", "jitted", "comparing", "checks"]
"""From the lowest to the highest."""


def test_arrows_run_downwards():
    """Each room of the checker uses only those below it, and none its own test material."""
    folder = Path(comparing.__file__).parent
    files = {file.stem: file for file in (*folder.glob("*.py"), *folder.glob("oracles/*.py")) if file.stem not in ("__init__", "monitor")}
    assert set(files) == set(ROOMS)
    for name, file in files.items():
        used = re.findall(r"from funcnn\.checking(?:\.oracles)?\.(\w+)", file.read_text())
        assert set(used) <= set(ROOMS[: ROOMS.index(name)]), name


# Pairs and functions from outside


def forward_of_softplus(x, scale):
    xp = np if isinstance(x, np.ndarray) else jnp
    e = xp.exp(x)
    return scale * xp.log(1 + e), (e, scale)


def backward_of_softplus(residuals, dy):
    e, scale = residuals
    xp = np if isinstance(e, np.ndarray) else jnp
    return dy * scale * e / (1 + e), (dy * xp.log(1 + e)).sum().reshape(1, 1)


X, SCALE = np.random.default_rng(4).standard_normal((3, 4)), np.asarray([[2.0]])


def test_a_pair_is_checked():
    report = check_pair(forward_of_softplus, backward_of_softplus, X, SCALE)
    report.raise_if_wrong()
    assert {row.leaf for row in report.rows} == {"args[0]", "args[1]", "dy"}
    wrong = check_pair(
        forward_of_softplus, lambda r, dy: (backward_of_softplus(r, dy)[0].T.reshape(3, 4), backward_of_softplus(r, dy)[1]), X, SCALE
    )
    assert [row.leaf for row in wrong.wrong] == ["args[0]"]


def test_a_pair_of_plain_numpy_is_compared_with_differences():
    def forward(x):
        y = np.zeros_like(x)
        y[:] = x**3  # in place: no function for JAX
        return y, x

    report = check_pair(forward, lambda x, dy: (3 * x**2 * dy,), X)
    report.raise_if_wrong()
    assert any("JAX cannot trace forward" in why for why in report.skipped)
    (row,) = check_pair(forward, lambda x, dy: (3 * x**2 * dy + (x == x[1, 2]) * 1e-6,), X).wrong
    assert row.index == (1, 2)
    assert "one entry, [1, 2]" in row.words


def test_whole_numbers_are_no_variables():
    def forward(logits, labels):
        loss, dlogits = fn.softmax_cross_entropy(logits, labels)
        return loss, dlogits

    labels = np.asarray([0, 3, 1])
    check_pair(forward, lambda dlogits, dy: (dy * dlogits, None), X, labels).raise_if_wrong()
    assert not check_pair(forward, lambda dlogits, dy: (dlogits * 3 * dy, None), X, labels).ok


def test_a_custom_vjp_is_compared_with_the_function_that_it_wraps_and_one_inside_with_differences():
    def make(sign):
        cube = jax.custom_vjp(lambda x: x**3)
        cube.defvjp(lambda x: (x**3, x), lambda x, dy: (sign * 3 * x**2 * dy,))
        return cube

    check_vjp(make(1), X).raise_if_wrong()
    changing = make(-1)
    assert not check_vjp(changing, X).ok
    changing.defvjp(lambda x: (x**3, x), lambda x, dy: (3 * x**2 * dy,))
    check_vjp(changing, X).raise_if_wrong()
    (row,) = check_vjp(make(-1), X).wrong
    assert (row.oracle, row.words) == ("jax.vjp", "a constant factor -1; the sign is wrong")
    report = check_vjp(lambda x: jnp.sin(make(1)(x)), X)
    report.raise_if_wrong()
    assert any("hide a custom gradient" in why for why in report.skipped)
    (row,) = check_vjp(lambda x: jnp.sin(make(-1)(x)), X).wrong
    assert row.oracle in ("complex step", "differences")


def test_a_kink_is_told_apart_from_an_error():
    """|x| at 0: any slope in [-1, 1] is a subgradient, as long as it is the one of jax.grad; 1.5 is wrong by every oracle."""
    at = np.asarray([0.0, 1.0, -2.0])

    def check(slope_at_0):
        return check_pair(lambda x: (abs(x), x), lambda x, dy: (dy * np.sign(x) + dy * np.where(x == 0, slope_at_0, 0.0),), at)

    sign_of_jax = float(jax.grad(abs)(0.0))
    right = check(sign_of_jax)
    right.raise_if_wrong()
    assert next(row.kinks for row in right.rows if row.oracle == "differences") == 1
    other = check(0.25)
    assert {row.oracle for row in other.rows if not row.ok} >= {"jax.vjp"}
    assert all(row.ok for row in other.rows if row.oracle == "differences")
    assert not all(row.ok for row in check(1.5).rows if row.oracle == "differences")


def test_ties_inside_a_network_are_no_errors():
    """Real digits: their empty borders tie in every pool."""
    net, images = fn.serial(fn.conv(3, (3, 3)), fn.relu, fn.max_pool((2, 2)), fn.flatten, fn.dense(2)), datasets.digits().test_images[:3]
    report = check_layer(net, images.shape[1:], at=(*net.init(jax.random.key(1), images.shape[1:]), images))
    report.raise_if_wrong()
    assert any(row.kinks for row in report.rows if row.layer == "")
    assert not check_layer(scaled(net), images.shape[1:], at=(*net.init(jax.random.key(1), images.shape[1:]), images)).ok


def test_where_the_function_ends_only_the_directions_inside_count():
    """log x at 1e-9: a step of the size that suits the other entries leads to where it is not defined."""
    x = np.asarray([1e-9, 1.0, 2.0])
    report = check_pair(lambda x: (np.log(x), x), lambda x, dy: (dy / x,), x)
    report.raise_if_wrong()
    assert not check_pair(lambda x: (np.log(x), x), lambda x, dy: (1.001 * dy / x,), x).ok
