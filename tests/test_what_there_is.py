"""The page of names: what it calls funcnn's is exported, nothing is left out, and the names of the other libraries exist."""

import re
from functools import reduce
from importlib import import_module
from pathlib import Path

import pytest

import funcnn as fn

PAGE = (Path(__file__).parents[1] / "funcnn" / "README.md").read_text()
TABLES = [table.splitlines() for table in re.findall(r"(?:^\|.*\n)+", PAGE, flags=re.M)]
OTHERS = {"Layer", "Summary", "summary", "count_parameters", "stages", "with_gradient", "to_numpy", "cpu_tuning", "keep_memory"}
"""What is no layer, combinator, loss or metric."""
LIBRARIES = {
    "stax": "jax.example_libraries.stax", "Flax": "flax.linen", "Equinox": "equinox.nn", "Keras": "keras.layers", "PyTorch": "torch.nn",
}  # fmt: skip
ROOTS = {
    "jnp": "jax.numpy", "eqx": "equinox", "functional": "torch.nn.functional", "ops": "keras.ops", "activations": "keras.activations",
    "losses": "keras.losses", "metrics": "keras.metrics", "jax": "jax", "optax": "optax", "torch": "torch", "keras": "keras",
}  # fmt: skip


def rows():
    """Of each row of each table, what stands below each head."""
    for head, _, *lines in TABLES:
        heads = [cell.strip() for cell in head.strip("|").split("|")]
        for line in lines:
            yield dict(zip(heads, (cell.strip() for cell in line.strip("|").split("|")), strict=True))


def names(cell):
    """The names in a cell, without what stands behind "with", "of", "to" and "by"; `Conv1d` ... `Conv3d` are three."""
    found = []
    for part in cell.split(", "):
        quoted = re.findall(r"`([^`]+)`", re.split(r" (?:with|of|to|by) ", part)[0])
        first, *last = quoted or [""]
        found += [re.sub(r"1(?=[dD])", n, first, count=1) for n in "123"] if last else [first]
    return [name for name in found if name]


def of(library):
    """All that a library's column names."""
    cells = (cell for row in rows() for head, cell in row.items() if library in head)
    return sorted({name for cell in cells for name in names(cell)})


def found(library, name):
    root, *path = name.split(".")
    module, path = (ROOTS[root], path) if root in ROOTS else (LIBRARIES[library], [root, *path])
    try:
        return reduce(getattr, path, import_module(module)) is not None
    except AttributeError:
        return False


def test_nothing_is_left_out_and_all_is_there():
    named = [name for row in rows() for name in names(row["funcnn"])]
    assert sorted(named) == sorted(set(named))
    exported = set(re.findall(r"^from \S+ import (\w+) as \1$", (Path(fn.__file__)).read_text(), flags=re.M))
    modules = {name for name in exported if type(getattr(fn, name)) is type(pytest)}
    assert set(named) == exported - modules - OTHERS


def test_no_cell_is_empty():
    assert all(names(cell) or cell == "-" or cell.startswith("`GroupNorm`") for row in rows() for cell in row.values())


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.filterwarnings("ignore")
def test_the_names_of_others_exist(library):
    """Where that library is installed."""
    pytest.importorskip(LIBRARIES[library])
    if library == "PyTorch":
        import_module("torch.utils.checkpoint")
    assert len(of(library)) > 20
    assert [name for name in of(library) if not found(library, name)] == []


def test_flax_has_the_same_names_twice():
    """All layers but `Dense`, which is `Linear` in nnx, whose modules name their params as Python does."""
    nnx = pytest.importorskip("flax.nnx")
    assert [name for name in of("Flax") if name[0].isupper() and not hasattr(nnx, name)] == ["Dense", "Module.param"]
