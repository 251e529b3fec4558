"""Which array of theirs is which of ours: by names that are given, else by order among those of one kind and shape.

The arrays of one layer are matched together, so that a bias of a convolution is not taken for one of a norm. Layers that have arrays of
the same names and shapes are matched in order; where the order of theirs says nothing, as in a tree that was sorted by name, that is an
error and no guess.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from funcnn.interop.conventions import Convention, Entry, Unit

ANY = "*"
"""Stands for the name of an array that may have any."""


class Theirs(NamedTuple):
    """An array of theirs: its path, what it is called, and in which of several collections it was."""

    path: tuple[Any, ...]
    name: str
    array: np.ndarray
    collection: str = ""


class Module(NamedTuple):
    """The arrays of one layer of theirs, by their last names, and where the layer stands: a text and a number for each step."""

    name: str
    entries: dict[str, Theirs]
    rank: tuple[tuple[tuple[str, ...], tuple[int, ...]], ...]


Pairs = list[tuple[Entry, Theirs]]
Names = Mapping[str, str] | Sequence[str] | None


def matched(who: str, convention: Convention, ours: list[Unit], theirs: list[Theirs], names: Names, ordered: bool) -> Pairs:
    """A pair for every array, or one error that names all that do not fit.

    Args:
        who: what the error calls itself.
        convention: of theirs.
        ours, theirs: all arrays, in order.
        names: what the user says of them: ours by theirs, of arrays or of layers, or theirs in our order.
        ordered: whether the order of theirs is meant, even where it is that of their names.
    """
    rank = _ranks(theirs, ordered)
    if names is None and {unit.path for unit in ours} == {".".join(map(str, other.path[:-1])) for other in theirs}:
        names = {unit.path: unit.path for unit in ours}
    pairs, wrong = _by_name(who, ours, theirs, names)
    taken_ours, taken = {entry.ours for entry, _ in pairs}, {other.path for _, other in pairs}
    units = [unit for unit in ours if not any(entry.ours in taken_ours for entry in unit.entries)]
    modules = _modules(convention, units, [other for other in theirs if other.path not in taken], rank)
    plain, left, others = _by_order(who, convention, units, modules, loose=False)
    loose, left, others = _by_order(who, convention, left, others, loose=True)
    pairs = [*pairs, *plain, *loose]
    wrong += _unlike(pairs, convention) + (_left_over(convention, units, modules, loose) if left or others else [])
    if wrong:
        raise ValueError(f"{who}: " + ";\n".join(wrong))
    for entry, other in pairs:
        if not jnp.issubdtype(other.array.dtype, jnp.inexact):
            raise TypeError(f"{who}: expected for {entry.ours} a floating-point dtype, got {other.name} of dtype {other.array.dtype}")
    return pairs


# What theirs are called, and in which order


def _modules(convention: Convention, ours: list[Unit], theirs: list[Theirs], rank: Mapping) -> list[Module]:
    """The arrays of a layer have one path and the convention's names; others are a layer each, if none of ours has just such names."""
    known = {frozenset(entry.name for entry in unit.entries) for unit in ours}
    groups: dict[tuple, dict[str, Theirs]] = {}
    for other in theirs:
        groups.setdefault(other.path[:-1], {})[str(other.path[-1])] = other
    modules = []
    for path, entries in groups.items():
        usual = {n: other for n, other in entries.items() if n in convention.names.values() or frozenset(entries) in known}
        name = ".".join(map(str, path))
        modules += [Module(name, usual, rank[path])] if usual else []
        modules += [Module(other.name, {n: other}, rank[other.path]) for n, other in entries.items() if n not in usual]
    return sorted(modules, key=lambda module: module.rank)


def _ranks(theirs: list[Theirs], ordered: bool) -> dict[tuple, tuple]:
    """Where every path stands: by its place at each step where the order is meant, else by the numbers in its name."""
    children: dict[tuple, dict[Any, set]] = {}
    for other in theirs:
        for i, step in enumerate(other.path):
            children.setdefault(other.path[:i], {}).setdefault(step, set()).add((other.collection, str(other.array.dtype)))
    ranks: dict[tuple, tuple] = {(): ()}
    for path, steps in children.items():  # a path comes after those it begins with
        meant = ordered or not _is_sorted(steps)
        for i, step in enumerate(steps):
            parts = re.split(r"(\d+)", str(step))
            key = ((), (i,)) if meant else (tuple(parts[::2]), tuple(map(int, parts[1::2])))
            ranks[(*path, step)] = (*ranks[path], key)
    return ranks


def _is_sorted(steps: Mapping[Any, set]) -> bool:
    """Whether the names of each collection and dtype are sorted, so by a program: JAX does so with dicts, safetensors with files."""
    for part in set().union(*steps.values()):
        names = [step for step, parts in steps.items() if part in parts]
        if all(names != sorted(names, key=key) for key in (lambda n: (isinstance(n, str), n), lambda n: f"{n}.")):
            return False
    return True


# By order


def _signature(convention: Convention, shapes: Iterable[tuple[str, tuple[int, ...]]], loose: bool) -> Any:
    shapes = [(name, _bare(convention, name, shape)) for name, shape in shapes]
    if loose and len(shapes) == 1:
        return ANY, tuple(n for n in shapes[0][1] if n != 1)
    return frozenset(shapes)


def _bare(convention: Convention, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without the axes by which the same numbers differ: a 1x1 convolution is a dense layer, a bias may be (O, 1, 1)."""
    if name not in ("weight", "kernel"):
        return tuple(n for n in shape if n != 1)
    if len(shape) < 2:
        return tuple(n for n in shape if n != 1)
    space, channels = (shape[2:], shape[:2]) if convention.channels_first else (shape[:-2], shape[-2:])
    return shape if any(n != 1 for n in space) else channels


def _by_order(
    who: str, convention: Convention, ours: list[Unit], theirs: list[Module], loose: bool
) -> tuple[Pairs, list[Unit], list[Module]]:
    """The pairs of layers with as many of one signature on both sides, and what is left."""
    sides: dict[Any, tuple[list[Unit], list[Module]]] = {}
    for i, units in enumerate((ours, theirs)):
        for unit in units:
            sides.setdefault(_signature_of(convention, unit, loose), ([], []))[i].append(unit)  # pyrefly: ignore
    pairs, left, others = [], [], []
    for units, modules in sides.values():
        if len(units) != len(modules):
            left, others = left + units, others + modules
            continue
        for unit, module in zip(units, _in_order(who, units, modules), strict=True):
            pairs += [(e, _of(module.entries, e)) for e in unit.entries]
    return pairs, left, others


def _of(given: Mapping[str, Theirs], entry: Entry) -> Any:
    """The one of the name, or a single one where any name will do; else None."""
    return next(iter(given.values())) if entry.loose and len(given) == 1 else given.get(entry.name)


def _signature_of(convention: Convention, unit: Unit | Module, loose: bool) -> Any:
    if isinstance(unit, Module):
        return _signature(convention, ((name, other.array.shape) for name, other in unit.entries.items()), loose)
    loose = loose and unit.entries[0].loose
    return _signature(convention, ((e.name, e.shape) for e in unit.entries), loose)


def _in_order(who: str, ours: list[Unit], theirs: list[Module]) -> list[Module]:
    """Theirs, which stand in order as far as that is known."""
    for a, b in pairwise(theirs):
        steps = next(((p, q) for p, q in zip(a.rank, b.rank, strict=False) if p != q), None)
        if steps and steps[0][0] != steps[1][0]:
            raise ValueError(
                f"{who}: expected to know which of {_listed(m.name for m in theirs)} is which of {_listed(u.path for u in ours)}, all with "
                f"arrays of shapes {_shapes((e.name, e.shape) for e in ours[0].entries)}; got theirs sorted by name, which does not tell; "
                f"pass names={{theirs: ours}}, or them as an OrderedDict in the order in which they run"
            )
    return theirs


# By name


def _by_name(who: str, ours: list[Unit], theirs: list[Theirs], names: Names) -> tuple[Pairs, list[str]]:
    """The pairs that `names` says, and what of it is missing."""
    names = _mapping(who, ours, names)

    units, entries = {u.path: u for u in ours}, {e.ours: e for u in ours for e in u.entries}
    arrays = {other.name: other for other in theirs}
    layers: dict[str, dict[str, Theirs]] = {}
    for other in theirs:
        layers.setdefault(".".join(map(str, other.path[:-1])), {})[str(other.path[-1])] = other
    pairs, wrong = [], []
    for name, path in names.items():
        if name in arrays and path in entries:
            pairs.append((entries[path], arrays[name]))
        elif name in arrays and path in units and len(units[path].entries) == 1:
            pairs.append((units[path].entries[0], arrays[name]))
        elif name in layers and path in units:
            given, unit = layers[name], units[path]
            found = [(e, _of(given, e)) for e in unit.entries]
            pairs += [(e, other) for e, other in found if other]
            wrong += [_missing(e, f"{name}.{e.name}".lstrip(".")) for e, other in found if not other]
        else:
            what, known = (path, (*units, *entries)) if name in arrays or name in layers else (name, (*layers, *arrays))
            raise ValueError(
                f"{who}: expected names={{theirs: ours}} of arrays or layers, got {name!r}: {path!r}, where {_unknown(what, known)}"
            )
    for which in ([entry.ours for entry, _ in pairs], [other.name for _, other in pairs]):
        twice = [name for name, count in Counter(which).items() if count > 1]
        if twice:
            raise ValueError(f"{who}: expected every array once in names, got {_listed(twice)} more than once")
    return pairs, wrong


def named(who: str, ours: list[Unit], names: Names) -> list[tuple[Entry, tuple[str, ...]]]:
    """Every array of ours with the path that it gets where there is nothing of theirs: the one that `names` says, else ours."""
    said = {path: name for name, path in _mapping(who, ours, names).items()}
    known = [u.path for u in ours] + [e.ours for u in ours for e in u.entries]
    for path in said.keys() - set(known):
        raise ValueError(
            f"{who}: expected names={{theirs: ours}} of arrays or layers, got {said[path]!r}: {path!r}, where {_unknown(path, known)}"
        )
    named = []
    for unit in ours:
        layer = said.get(unit.path, unit.path)
        named += [(e, tuple((said.get(e.ours) or f"{layer}.{e.name}".lstrip(".")).split("."))) for e in unit.entries]
    return named


def _mapping(who: str, ours: list[Unit], names: Names) -> Mapping[str, str]:
    """Names as {theirs: ours}."""
    if names is None or isinstance(names, Mapping):
        return names or {}
    if isinstance(names, str) or len(names) != len(ours):
        got = repr(names) if isinstance(names, str) else f"{len(names)} names"
        raise ValueError(f"{who}: expected names of their {len(ours)} layers for {_listed(u.path for u in ours)}, got {got}")
    if len(set(names)) != len(ours):
        raise ValueError(f"{who}: expected names of {len(ours)} layers, got one of them twice")
    return dict(zip(names, (unit.path for unit in ours), strict=True))


def _unknown(name: str, known: Iterable[str]) -> str:
    return f"there is no {name!r} among {_listed(known)}"


# What does not fit, in words


def _unlike(pairs: Pairs, convention: Convention) -> list[str]:
    """Pairs that have not one shape."""
    return [
        f"expected for {entry.ours} {entry.array.shape} an array of shape {entry.shape}, got {other.name} of shape {other.array.shape}"
        for entry, other in pairs
        if not fits(convention, entry, other)
    ]


def fits(convention: Convention, entry: Entry, other: Theirs) -> bool:
    if entry.loose:
        return [n for n in entry.shape if n != 1] == [n for n in other.array.shape if n != 1]
    return _bare(convention, entry.name, entry.shape) == _bare(convention, entry.name, other.array.shape)


def _missing(entry: Entry, wanted: str = "") -> str:
    return f"expected for {entry.ours} {entry.array.shape} an array {wanted or entry.name} of shape {entry.shape}, got nothing"


def _left_over(convention: Convention, ours: list[Unit], theirs: list[Module], but: Pairs) -> list[str]:
    """What is wrong with layers that have no other: what stands at the same point among all the others is compared."""
    ours = [unit for unit in ours if not any(entry is one for one, _ in but for entry in unit.entries)]
    theirs = [module for module in theirs if not any(other is one for _, one in but for other in module.entries.values())]
    a, b = ([_signature_of(convention, unit, False) for unit in units] for units in (ours, theirs))
    too_many = [Counter(a) - Counter(b), Counter(b) - Counter(a)]
    blocks = SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    wrong = []
    for _, i, j, k, m in (block for block in blocks if block[0] != "equal"):
        units = [ours[n] for n in range(i, j) if _taken(too_many[0], a[n])]
        modules = [theirs[n] for n in range(k, m) if _taken(too_many[1], b[n])]
        for n in range(max(len(units), len(modules))):
            wrong += _compared(convention, units[n] if n < len(units) else None, modules[n] if n < len(modules) else None)
    return wrong


def _taken(left: Counter, what: Any) -> bool:
    left[what] -= 1
    return left[what] >= 0


def _compared(convention: Convention, unit: Unit | None, module: Module | None) -> list[str]:
    """What is wrong with the arrays of a layer of ours and the one of theirs that stands at its place."""
    entries, given = list(unit.entries) if unit else [], dict(module.entries) if module else {}
    pairs = [(entry, given.pop(entry.name)) for entry in entries if entry.name in given]
    missing = [entry for entry in entries if not any(entry is one for one, _ in pairs)]
    wrong = _unlike(pairs, convention)
    wrong += [_missing(entry, f"{module.name}.{entry.name}" if module and pairs else "") for entry in missing]
    where = f"ours at {unit.path!r} has none" if unit and pairs else "ours have none"
    return wrong + [f"expected no {other.name} of shape {other.array.shape}, as {where}" for other in given.values()]


def _listed(names: Iterable[str]) -> str:
    names = [repr(name) for name in names]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _shapes(shapes: Iterable[tuple[str, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in shapes)
