"""What two arrays that should be equal have in common, in words: where they differ, and how."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, product

import numpy as np

Axes = Sequence[str]
"""What the axes of an array are called: ("example", "row", "column", "channel")."""


def describe(
    got: np.ndarray, expected: np.ndarray, tolerance: float, axes: Axes, known: Mapping[str, float], like: Mapping[str, np.ndarray]
) -> str:
    """The simplest pattern that explains the difference, or "" where none is found.

    Args:
        got, expected: of one shape; they differ by more than `tolerance` somewhere.
        axes: names of the axes.
        known: numbers that a factor may be made of, such as {"N": 4}.
        like: arrays of the problem; those of the same shape may explain the difference.
    """
    if not np.isfinite(got).all():
        return f"{(~np.isfinite(got)).sum()} of {got.size} entries are not finite"
    wrong = abs(got - expected) > tolerance
    tests: tuple[Callable[[], str], ...] = (
        lambda: _factor(got, expected, tolerance, known),
        lambda: _moved(got, expected, tolerance, axes),
        lambda: _region(got, expected, wrong, tolerance, axes, known),
        lambda: _mask(got, expected, wrong),
        lambda: _offset(got - expected, tolerance, like),
        lambda: _precision(got, expected, tolerance),
    )
    return next((words for test in tests if (words := test())), "")


def _factor(got: np.ndarray, expected: np.ndarray, tolerance: float, known: Mapping[str, float]) -> str:
    """A constant factor, with its value and what it is likely to be."""
    if not got.any():
        return "0 throughout: this gradient is missing"
    square = float((expected * expected).sum())
    if abs(expected).max(initial=0) <= tolerance or expected.size < 2:
        return ""
    c = float((got * expected).sum()) / square
    if abs(got - c * expected).max() > max(1, abs(c)) * tolerance:
        return ""
    guesses = [
        f"{minus}{inverse}{name}"
        for name, value in known.items() if value != 1
        for minus, sign in (("", 1), ("-", -1))
        for inverse, v in (("", value), ("1 / ", 1 / value)) if np.isclose(c, sign * v, rtol=1e-6, atol=0)
    ]  # fmt: skip
    hint = "; the sign is wrong" if np.isclose(c, -1) else f"; that is {' or '.join(guesses)}" if guesses else ""
    return f"a constant factor {c:.6g}{hint}"


def _moved(got: np.ndarray, expected: np.ndarray, tolerance: float, axes: Axes) -> str:
    """The right entries in other places: transposed, flipped, or shifted along an axis (what enters at the border aside)."""

    def same(a: np.ndarray, b: np.ndarray) -> bool:
        return a.shape == b.shape and a.size > 1 and bool(abs(a).max() > tolerance) and bool((abs(a - b) <= tolerance).all())

    wide = [i for i, size in enumerate(got.shape) if size > 1]
    permuted = bool((abs(np.sort(got, None) - np.sort(expected, None)) <= tolerance).all())
    for i, j in combinations(wide, 2) if permuted else ():
        if same(got, expected.swapaxes(i, j)):
            return f"transposed: {axes[i]} and {axes[j]} are swapped"
    for count in (1, 2, 3) if permuted else ():
        for chosen in combinations(wide, count):
            if same(got, np.flip(expected, chosen)):
                return f"flipped along {' and '.join(axes[i] for i in chosen)}"
    for i in wide if permuted else ():
        for by in range(1, got.shape[i]):
            if same(got, np.roll(expected, by, i)):
                return f"rotated by {by} along {axes[i]}"
    for chosen in [*((i,) for i in wide), *combinations(wide, 2)]:
        for by in (1, -1, 2, -2):
            inside = tuple(slice(max(by, 0), s + min(by, 0)) if i in chosen else slice(None) for i, s in enumerate(got.shape))
            if all(got.shape[i] > 2 * abs(by) for i in chosen) and same(
                got[inside], np.roll(expected, (by,) * len(chosen), chosen)[inside]
            ):
                return f"shifted by {by} along {' and '.join(axes[i] for i in chosen)}"
    return ""


def _region(got: np.ndarray, expected: np.ndarray, wrong: np.ndarray, tolerance: float, axes: Axes, known: Mapping[str, float]) -> str:
    """Only some indices of some axes are wrong."""
    places = []
    for i, name in enumerate(axes):
        others = tuple(j for j in range(wrong.ndim) if j != i)
        hit = wrong.any(others)
        if hit.all() or wrong.shape[i] < 2:
            continue
        places.append(_indices(name, np.flatnonzero(hit), wrong.shape[i]))
    if not places or "" in places:
        return ""
    inside = _factor(got[wrong], expected[wrong], tolerance, known)
    if wrong.sum() == 1:
        return f"one entry, {list(map(int, np.argwhere(wrong)[0]))}" + ("; it is 0" if inside else "")
    return f"only {', '.join(places)}" + (f"; there {inside}" if inside else "")


def _indices(name: str, hit: np.ndarray, size: int) -> str:
    """The indices that are wrong along an axis, as a rule where there is one; "" where there is none."""
    plain, at = name.startswith("axis"), " and ".join(map(str, hit))
    one, many = (f"{name} at", f"{name} at") if plain else (name, f"{name}s")
    if set(hit) <= {0, size - 1}:
        ends = " and ".join("first" if h == 0 else "last" for h in hit)
        return f"{one} {at} (the border)" if plain else f"the {ends} {name} (the border, {at})"
    if len(hit) == 1:
        return f"{one} {at}"
    for stride in (2, 3, 4):
        phases = sorted({int(h) % stride for h in hit})
        if len(phases) < stride and len(hit) == sum(len(range(p, size, stride)) for p in phases) and size > stride:
            return f"{many}{'' if plain else ' with'} index % {stride} in {phases} (a stride phase)"
    if len(hit) == hit[-1] - hit[0] + 1:
        return f"{many} {hit[0]} to {hit[-1]}"
    return f"{many} {', '.join(map(str, hit))}" if len(hit) <= 4 else ""


def _mask(got: np.ndarray, expected: np.ndarray, wrong: np.ndarray) -> str:
    """Something passes that should have been stopped, or the other way round."""
    if not expected.any() or expected.size < 2:
        return ""
    if (expected[wrong] == 0).all():
        return "only where the right gradient is 0: a mask is missing"
    if (got[wrong] == 0).all():
        return "only entries that are 0 and should not be: a mask stops too much"
    return ""


def _offset(error: np.ndarray, tolerance: float, like: Mapping[str, np.ndarray]) -> str:
    """Off by a multiple of another array of this shape; or by a constant, or a multiple, per channel (the last axis)."""
    for name, a in like.items():
        if a.shape == error.shape and a.any() and error.size > 1:
            c = float((error * a).sum() / (a * a).sum())
            if abs(error - c * a).max() <= tolerance:
                return f"off by {c:.6g} times {name}"
    axes = tuple(range(error.ndim - 1))
    if not axes or error.size <= 2 * error.shape[-1]:
        return ""

    def centred(a: np.ndarray) -> np.ndarray:
        return a - a.mean(axes, keepdims=True)

    if abs(centred(error)).max() <= tolerance:
        return "off by a constant per channel: a sum or mean over the others is missing or wrong"
    for name, a in like.items():
        if a.shape != error.shape or not centred(a).any():
            continue
        slope = (centred(error) * centred(a)).sum(axes, keepdims=True) / np.maximum((centred(a) ** 2).sum(axes, keepdims=True), 1e-300)
        if abs(centred(error) - slope * centred(a)).max() <= tolerance:
            return f"off by a multiple of {name} per channel: a variance or projection term is missing or wrong"
    return ""


def _precision(got: np.ndarray, expected: np.ndarray, tolerance: float) -> str:
    """Everything is nearly right: a rounding, in bits."""
    relative = abs(got - expected)[expected != 0] / abs(expected[expected != 0])
    if relative.size < 4 or np.quantile(relative, 0.9) > 2**-6 or np.median(relative) == 0:
        return ""
    error = got - expected
    if abs((error * expected).sum()) > 0.5 * np.linalg.norm(error) * np.linalg.norm(expected):
        return ""  # rounding goes either way
    bits = -np.log2(np.quantile(relative, 0.9))
    precision = next((n for n, b in (("bfloat16", 8), ("float16", 11), ("float32", 24)) if abs(bits - b) <= 1.5), "")
    return f"right to about {bits:.0f} bits everywhere: rounded" + (f", as through {precision}" if precision else "")


def mistaken(a: np.ndarray, first: int) -> Iterator[tuple[str, np.ndarray]]:
    """What an array may have been taken for; its axes in space are those from `first` to the last but one, or but two."""
    space = tuple(range(first, a.ndim - 2 + first))
    if space:
        yield "flipped in space", np.flip(a, space)
    if len(space) > 1:
        yield "transposed in space", a.swapaxes(*space[:2])
    if a.ndim > 1 and not first:
        yield "transposed" + (" in its channels" if space else ""), a.swapaxes(-1, -2)
    for by, axes in product((1, -1, 2, -2), ((i,) for i in space) if len(space) < 2 else (*((i,) for i in space), space)):
        if all(a.shape[i] > abs(by) for i in axes):
            kept = np.pad(a, [(max(by, 0), max(-by, 0)) if i in axes else (0, 0) for i in range(a.ndim)])
            kept = kept[tuple(slice(max(-by, 0), max(-by, 0) + a.shape[i]) if i in axes else slice(None) for i in range(a.ndim))]
            yield f"shifted by {by} in space", kept
