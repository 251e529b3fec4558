"""Every experiment runs, and the claims that take little time hold."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnn as fn
from experiments import filters, simplecnn
from experiments.__main__ import NAMES, main
from experiments.common.trainings import fingerprint, train
from experiments.digits import TRAINER, digits
from tests.test_idx import OFFICIAL

pytestmark = pytest.mark.usefixtures("optax_promotes")
ALGORITHM_FILES = [
    path
    for path in (Path(fn.__file__).parent / "convolution").glob("*.py")
    if path.stem not in ("__init__", "algorithm", "geometry", "layers", "transposed", "work")
]
ROOT = Path(__file__).parents[1]
README, PAGE = (ROOT / "README.md").read_text(), (ROOT / "experiments" / "README.md").read_text()
COMMON = {"learning_curves", "filters", "feature_maps"}
PICTURES = {
    "deep": set(),
    "doors": set(),
    "digits": COMMON | {"confusion_matrix", "gradients", "misread"},
    "drift": {"error"},
    "edges": {"edges"},
    "fashion": COMMON | {"confusion_matrix", "misread"},
    "fashion5k": COMMON | {"confusion_matrix"},
    "filters": {"filters_as_drawn", "filters_trained", "maps_as_drawn", "maps_trained"},
    "lines8": COMMON | {"luck"},
    "lines28": COMMON,
    "loops": set(),
    "mnist": COMMON | {"misread"},
    "mnist1k": COMMON,
    "mutants": set(),
    "routes": {"curves"},
    "seeds": set(),
    "separable": {"error"},
    "speed": {"growth", "ratios"},
    "simplecnn": COMMON,
    "strided": {"error"},
    "transposed": set(),
}
NEEDS_FILES = {"fashion", "fashion5k", "filters", "mnist", "mnist1k", "separable", "strided"}
LARGE = set(NAMES) - {"edges", "loops"}  # these take long to compile
AS_WRITTEN = ("fashion5k", "lines8", "lines28", "mnist1k", "simplecnn")


@pytest.fixture
def official(monkeypatch):
    """`official(name)`: the experiment finds the official files, or the test is skipped where it needs them."""

    def use(name):
        if name in NEEDS_FILES and not OFFICIAL.exists():
            pytest.skip("the official files are not here")
        monkeypatch.setenv("FUNCNN_DATA", str(OFFICIAL))

    return use


@pytest.mark.usefixtures("compiled_quickly")
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in NAMES])
def test_smoke(name, tmp_path, capsys, official):
    official(name)
    assert main([name, "--smoke", "--out", str(tmp_path / "run")]) == 0
    folder = tmp_path / "run"
    config, results = (json.loads((folder / f"{file}.json").read_text()) for file in ("config", "results"))
    assert config["experiment"] == name
    assert {"python", "jax", "jaxlib", "numpy", "optax", "scikit-learn"} <= set(config["versions"])
    assert results
    assert all(json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines())
    assert {file.stem for file in folder.glob("*.png")} == PICTURES.get(name, {file.stem for file in folder.glob("*.png")})
    for picture in folder.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG\r\n")
    assert str(folder) in re.sub(r"\s", "", capsys.readouterr().out)


@pytest.mark.usefixtures("compiled_quickly")
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "lines8")) for name in AS_WRITTEN])
def test_smoke_as_written(name, tmp_path, official):
    official(name)
    assert main([name, "--as-written", "--smoke", "--out", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run" / "results.json").read_text())


def results_of(tmp_path, *arguments):
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 0
    return json.loads((tmp_path / "run" / "results.json").read_text())


def test_edges_are_those_of_scipy(tmp_path):
    rows = results_of(tmp_path, "edges")["responses"]
    assert max(row["error"] for row in rows) <= 1e-12
    assert {row["filter"]: row["largest"] for row in rows if row["image"] == "vertical edge"}["Sobel, vertical"] == 4


@pytest.mark.usefixtures("compiled_quickly")
def test_loops_compares_every_algorithm(tmp_path):
    rows = results_of(tmp_path, "loops", "--smoke")["rows"]
    assert {row["algorithm"].rstrip("24") for row in rows} == {path.stem for path in ALGORITHM_FILES}
    assert max(row["error"] for row in rows) <= 1e-5


@pytest.mark.slow
def test_compiled_programs_are_kept_as_the_readme_says(tmp_path):
    settings = re.search(r"`(JAX_COMPILATION_CACHE_DIR.*) \.venv/bin/python", README)[1].split()
    folder = tmp_path / "runs/compiled"
    env = (
        os.environ
        | dict(setting.split("=") for setting in settings)
        | {"JAX_COMPILATION_CACHE_DIR": str(folder), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    )
    kept = []
    for i in range(2):
        command = [sys.executable, "-m", "experiments", "digits", "--smoke", "--out", str(tmp_path / f"{i}")]
        done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
        assert "SIGILL" not in done.stderr
        kept.append({file.name for file in folder.glob("*-cache")})
    assert kept[0]
    assert kept[1] == kept[0], "the second run has compiled anew"


@pytest.mark.slow
def test_where_pytorch_is_missing_its_stored_values_serve(tmp_path, monkeypatch):
    def missing(given):
        raise ModuleNotFoundError("No module named 'torch'")

    monkeypatch.setattr(simplecnn, "by_torch", missing)  # an import that fails would break other packages that look for torch
    results = results_of(tmp_path, "simplecnn", "--as-written")
    assert results["against"] == "PyTorch's stored values"
    assert results["within"]
    assert set(results["differences"]) == {"logits", "loss", "dx", "dw1", "db1", "dw2", "db2", "dw3", "db3"}
    given, gave = simplecnn.stored()
    monkeypatch.setattr(simplecnn, "stored", lambda: (given, gave | {"dw1": gave["dw1"] * 1.0001}))
    assert not results_of(tmp_path / "wrong", "simplecnn", "--as-written")["within"]


@pytest.mark.peers
def test_the_stored_values_are_those_of_pytorch():
    pytest.importorskip("torch")
    given, gave = simplecnn.stored()
    for name, value in simplecnn.by_torch(given).items():
        np.testing.assert_allclose(value, gave[name], rtol=0, atol=1e-14)
    for name, value in simplecnn.problem().items():
        np.testing.assert_allclose(value, given[name], rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_filters_that_are_left_as_drawn_do_not_move():
    params, _ = fn.serial(*filters.LAYERS).init(jax.random.key(0), (28, 28, 1))
    optimizer = filters.last_layer_only(10)
    updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), optimizer.init(params), params)
    for layer, update in zip(filters.LAYERS, updates, strict=True):
        assert all((leaf != 0).any() == (layer.name == "dense") for leaf in jax.tree.leaves(update))


@pytest.mark.slow
def test_one_seed_is_one_result():
    def trained(seed):
        done = train(TRAINER, digits(smoke=True), seed, epochs=1)
        return fingerprint((done.ts.params, done.ts.state)), done.history

    first, again, other = trained(0), trained(0), trained(1)
    assert first == again
    assert first[0] != other[0]
    assert first[1] != other[1]


@pytest.mark.slow
def test_digits_reach_what_is_claimed(tmp_path):
    """One seed of the five; `python -m experiments seeds` gives the mean."""
    assert main(["digits", "--out", str(tmp_path / "run")]) == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["test_accuracy"] >= 0.98
    assert len(results["gradients"]) > 100
    assert all(row["error"] <= row["tolerance"] for row in results["gradients"])


@pytest.mark.slow
def test_the_lines_are_learned_from_nearly_every_seed(tmp_path):
    luck = results_of(tmp_path, "lines8")["luck"]
    assert luck["100 % right"] >= 99
    unlucky = results_of(tmp_path / "written", "lines8", "--as-written")["luck"]
    assert 0 < unlucky["at most 60 % right"] <= 40
    assert all(row["test_accuracy"] == 1 for row in results_of(tmp_path / "28", "lines28", "--as-written")["last_epochs"])


@pytest.mark.slow
def test_a_thousand_digits_teach_what_is_claimed(tmp_path, official):
    official("mnist1k")
    corrected = results_of(tmp_path, "mnist1k", "--runs", "1")
    assert corrected["last_epochs"][0]["test_accuracy"] >= 0.88
    written = results_of(tmp_path / "written", "mnist1k", "--as-written", "--runs", "1")
    assert written["last_epochs"][0]["test_accuracy"] <= 0.7
