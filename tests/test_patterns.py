"""What the checker is made of: oracles, directions, and the words for patterns."""

import jax.numpy as jnp
import numpy as np
import pytest

from funcnn.checking.oracles.autodiff import by_jax
from funcnn.checking.oracles.slopes import Function, best_step, complex_step, differences, directions, unit_step
from funcnn.checking.patterns import describe
from funcnn.checking.points import Point, distinct


def test_the_oracles_are_right_where_the_derivative_is_known():
    """d<x^3, dy> = 3 x^2 dy, in float64 whatever the global setting."""
    x, v, dy = np.random.default_rng(6).standard_normal((3, 5))
    cube = lambda args, context: (args**3, args)
    point = Point(cube, lambda x, dy: 3 * x**2 * dy, x, (), {"x": ("axis 0",)}, plain=cube)
    (gradient,), dots = by_jax(point, dy, [v])
    assert gradient.dtype == "float64"
    np.testing.assert_allclose(gradient, 3 * x**2 * dy, rtol=1e-14)
    np.testing.assert_allclose(dots, 3 * x**2 * v, rtol=1e-14)
    slope = (3 * x**2 * dy * v).sum()
    noise = lambda values: 1e-15 * np.max(np.abs(values), axis=0)
    cubes, lines = (Function(f, x, f(x), dy, noise) for f in (lambda x: x**3, lambda x: 3 * x - 1))
    np.testing.assert_allclose(complex_step(cubes, v, 1e-15).value, slope, rtol=1e-14)
    found = differences(cubes, v, best_step(cubes, v, (1e-2, 1e-4, 1e-9)))
    assert abs(found.value - slope) <= found.tolerance <= 1e-5
    assert not found.kink
    assert unit_step(cubes, v) is None
    np.testing.assert_allclose(unit_step(lines, v).value, 3 * (dy * v).sum(), rtol=1e-14)


def test_directions_cover_every_entry():
    np.testing.assert_array_equal(directions(5, np.random.default_rng(7)), np.eye(5))
    vs = directions(1000, np.random.default_rng(8))
    assert vs.shape == (16, 1000)
    assert (vs[:4] != 0).all()
    assert (np.abs(vs[4:8]).sum(0) == 1).all()
    assert (np.abs(vs[8:]).sum(1) == 1).all()


def test_distinct_keeps_the_order_and_leaves_no_ties_and_no_zero():
    rng = np.random.default_rng(0)
    for x in (rng.integers(-3, 4, (20, 5)).astype("float64"), np.zeros((4, 4)), rng.standard_normal(7)):
        moved, spacing = distinct(x, rng), (np.ptp(x) or 1) / x.size
        assert moved.shape == x.shape
        assert (np.diff(np.sort(moved.ravel())) > 0.99 * spacing).all()
        assert np.abs(moved).min() > 0.49 * spacing
        assert (np.diff(x.ravel()[np.argsort(moved.ravel())]) >= 0).all()


G = np.random.default_rng(9).standard_normal((4, 5, 6, 3))
AXES = ("example", "row", "column", "channel")
PATTERNS = {
    "0 throughout": lambda g: 0 * g,
    "a constant factor 3": lambda g: 3 * g,
    "a constant factor 0.25; that is 1 / N": lambda g: g / 4,
    "flipped along row and column": lambda g: g[:, ::-1, ::-1],
    "rotated by 2 along channel": lambda g: np.roll(g, 2, 3),
    "shifted by 1 along row": lambda g: np.pad(g, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :5],
    "only the last column (the border, 5)": lambda g: g * (np.arange(6) < 5)[:, None],
    "only rows with index % 2 in [1] (a stride phase); there a constant factor 2": lambda g: g * np.asarray([1, 2, 1, 2, 1])[:, None, None],
    "one entry, [2, 1, 3, 1]": lambda g: g + (g == g[2, 1, 3, 1]),
    "only example 1, channel 1; there 0 throughout": lambda g: g * (1 - np.outer(np.arange(4) == 1, np.arange(3) == 1))[:, None, None],
    "off by a constant per channel": lambda g: g + np.asarray([1.0, -2.0, 0.5]),
    "off by -2 times x": lambda g: g - 2 * np.sin(G),
    "off by a multiple of x per channel": lambda g: g + np.sin(G) * np.asarray([1.0, -2.0, 0.5]),
    "rounded, as through bfloat16": lambda g: np.asarray(jnp.asarray(g, "bfloat16").astype("float32")).astype("float64"),
    "360 of 360 entries are not finite": lambda g: g * np.nan,
}  # fmt: skip


@pytest.mark.parametrize("words", PATTERNS)
def test_patterns_have_names(words):
    assert words in describe(PATTERNS[words](G), G, 1e-12, AXES, {"N": 4}, {"x": np.sin(G)})


def test_no_pattern_is_invented():
    assert describe(np.random.default_rng(10).standard_normal(G.shape), G, 1e-12, AXES, {"N": 4}, {"x": np.sin(G)}) == ""


def test_a_mask_has_a_name():
    masked = np.where(np.random.default_rng(11).random(G.shape) < 0.5, G, 0)
    assert "a mask is missing" in describe(G, masked, 1e-12, AXES, {}, {})
    assert "a mask stops too much" in describe(masked, G, 1e-12, AXES, {}, {})
