"""Every experiment runs, keeps its results apart from others', and refuses what it cannot do in one sentence."""

import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnn as fn
from experiments import filters, simplecnn
from experiments.__main__ import NAMES, THEMES, described, main
from experiments.common import console
from experiments.common.comparing import multiply_adds
from experiments.common.options import Options, UserError
from experiments.common.run import Run
from experiments.common.trainings import fingerprint, train
from experiments.digits import TRAINER, digits
from tests.test_idx import OFFICIAL

pytestmark = pytest.mark.usefixtures("optax_promotes")
ALGORITHM_FILES = [
    path
    for path in (Path(fn.__file__).parent / "convolution").glob("*.py")
    if path.stem not in ("__init__", "algorithm", "geometry", "layers")
]
ROOT = Path(__file__).parents[1]
README, PAGE = (ROOT / "README.md").read_text(), (ROOT / "experiments" / "README.md").read_text()
COMMON = {"learning_curves", "filters", "feature_maps"}
PICTURES = {
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
}
NEEDS_FILES = {"fashion", "fashion5k", "filters", "mnist", "mnist1k", "separable", "strided"}
LARGE = set(NAMES) - {"digits", "edges", "loops"}  # these take long to compile
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
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "mnist1k")) for name in AS_WRITTEN])
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


def test_filters_that_are_left_as_drawn_do_not_move():
    params, _ = fn.serial(*filters.LAYERS).init(jax.random.key(0), (28, 28, 1))
    optimizer = filters.last_layer_only(10)
    updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), optimizer.init(params), params)
    for layer, update in zip(filters.LAYERS, updates, strict=True):
        assert all((leaf != 0).any() == (layer.name == "dense") for leaf in jax.tree.leaves(update))


def test_multiply_adds_are_counted_by_hand():
    layers = (fn.conv(4, (3, 3)), fn.relu, fn.conv(8, (5, 5), stride=2, groups=2), fn.max_pool((2, 2)), fn.flatten, fn.dense(10))
    by_hand = 8 * 8 * 4 * 9 * 1 + 4 * 4 * 8 * 25 * 2 + 32 * 10
    assert multiply_adds(layers, (8, 8, 1)) == by_hand
    with pytest.raises(ValueError, match=r"^multiply_adds: expected layers in a row, got the combinator residual; give its layers$"):
        multiply_adds((fn.residual(fn.conv(1, (3, 3))),), (8, 8, 1))


@pytest.mark.parametrize("name", sorted(NEEDS_FILES))
def test_without_its_files_an_experiment_says_what_to_do(name, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("FUNCNN_DATA", str(tmp_path))
    message = refused(capsys, name, "--smoke", "--out", str(tmp_path / "run"))
    assert re.match(rf"(fashion-)?mnist: expected the file train-images-idx3-ubyte.gz in {tmp_path} or in its subfolder", message)
    assert not (tmp_path / "run").exists()


def test_one_seed_is_one_result():
    def trained(seed):
        done = train(TRAINER, digits(smoke=True), seed, epochs=1)
        return fingerprint((done.ts.params, done.ts.state)), done.history

    first, again, other = trained(0), trained(0), trained(1)
    assert first == again
    assert first[0] != other[0]
    assert first[1] != other[1]


def test_alone_it_lists_all_experiments(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_its_docstring_says_the_theme_and_how_long_it_takes(name):
    theme, _, shows, takes = described(name)
    assert theme in THEMES or name not in PICTURES
    assert shows.endswith((".", "?"))
    assert re.fullmatch(r"\d+ (s|min|h)", takes)
    assert "Config" in vars(importlib.import_module(f"experiments.{name}"))


HEAVY = ("jax", "jaxlib", "numpy", "scipy", "matplotlib", "sklearn", "optax", "funcnn")


def test_nothing_heavy_is_imported_before_the_options_are_right():
    """Not for the list, for an option that is wrong, or for any experiment's help."""
    code = f"""
import sys
from experiments.__main__ import NAMES, main
for arguments in [], ["digit"], ["digits", "--epochs", "0"], ["digits", "--epoch", "1"], *([name, "--help"] for name in NAMES):
    try:
        main(arguments)
    except SystemExit:
        pass
    assert not (heavy := [name for name in {HEAVY} if name in sys.modules]), (arguments, heavy)
print("all", len(NAMES))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"all {len(NAMES)}"


@pytest.mark.slow
def test_a_new_experiment_is_one_file(tmp_path):
    """The page's own: its theme, its duration and its options are read from there, also where `Config` needs what is not light."""
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments", ignore=shutil.ignore_patterns("__pycache__"))
    source = re.search(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)[1]
    (tmp_path / "experiments" / "mine.py").write_text(source.replace("Theme: gradients", "Theme: greetings"))
    (tmp_path / "experiments" / "heavy.py").write_text(source.replace("3e-3", "optax.adam.__name__"))
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]), "COLUMNS": "200"}

    def said(*arguments):
        command = [sys.executable, "-m", "experiments", *arguments]
        return subprocess.run(command, cwd=tmp_path, env=env, check=True, capture_output=True, text=True).stdout

    assert re.search(r"greetings\W+mine\W+What it shows, in a sentence\.\W+2 min", said())
    for name in ("mine", "heavy"):
        assert "Adam's learning rate: this sentence is what --help says of it." in said(name, "--help")
    assert re.match(r"test accuracy [\d.]+ %; results in runs/mine$", said("mine", "--smoke", "--rate", "0.01").splitlines()[-1])


def test_the_folders_page_says_what_the_list_says():
    rows = re.findall(r"^\| ([\w ]*)\| `\.venv/bin/python -m experiments (\w+)[^`]*` \|.*\| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert len(rows) >= 18
    theme = None
    for heading, name, takes in rows:
        theme = heading.strip() or theme
        assert (theme, takes) == described(name)[::3], name
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        assert (ROOT / "experiments" / target).exists(), target


def test_a_pipe_sees_a_line_an_epoch_and_of_thousands_some(capsys, monkeypatch):
    monkeypatch.setattr(console, "MOST_LINES", 5)
    seen = {}
    for total in (3, 12):
        with console.progress("digits", total) as advance:
            for i in range(total):
                advance(loss=i)
                seen[total, i] = capsys.readouterr().out
    assert [re.sub(r"  \S+ s\n", "", seen[3, i]) for i in range(3)] == [f"digits  {i + 1}/3  loss {i}.0000" for i in range(3)]
    assert [i + 1 for i in range(12) if seen[12, i]] == [3, 6, 9, 12]
    assert seen[12, 8].startswith("digits   9/12  loss 8.0000  ")


@pytest.mark.parametrize("name", ["digits", pytest.param("seeds", marks=pytest.mark.slow)])
def test_ctrl_c_says_in_one_line_what_is_kept(name, tmp_path):
    """As a terminal does it: to the experiment and to all processes that it has started. Before, a pipe sees each epoch at once."""
    command = [sys.executable, "-m", "experiments", name, "--epochs", "1000", "--out", str(tmp_path / "run")]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "env": os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}}
    with subprocess.Popen(command, text=True, start_new_session=True, cwd=ROOT, **pipes) as started:
        if name == "digits":
            assert re.match(r"digits +5/1000  loss", started.stdout.readline())
        else:  # some way into the first process
            while started.poll() is None and not (tmp_path / "run" / "metrics.jsonl").exists():
                time.sleep(0.1)
            time.sleep(3)
        os.killpg(started.pid, signal.SIGINT)
        lines = [line for line in started.stdout.read().splitlines() if not re.match(rf"{name} +\d+/1000 ", line)]
    assert started.returncode == 130
    assert lines == [f"{name}: stopped; metrics.jsonl and config.json of what was done are in {tmp_path / 'run'}"]


def test_help_names_the_options(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["digits", "--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert all(option in out for option in ("--seed", "--epochs", "--gradients", "--smoke", "--out", "--overwrite"))


@pytest.mark.parametrize("option", [["--epoch", "3"], ["--gradients", "numeric"], ["--seed", "one"], ["surplus"]])
def test_an_unknown_option_is_refused(option, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["digits", *option])
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err + captured.out
    assert not (tmp_path / "runs").exists()


def refused(capsys, *arguments):
    assert main(list(arguments)) == 2
    return capsys.readouterr().out.strip()


def test_an_unknown_experiment_is_refused(capsys):
    assert refused(capsys, "digit") == f"experiments: unknown experiment 'digit'; there are: {', '.join(NAMES)}"


def test_wrong_numbers_are_refused(capsys, tmp_path):
    assert refused(capsys, "digits", "--epochs", "0", "--out", str(tmp_path / "new")) == "digits: expected --epochs to be at least 1, got 0"
    assert refused(capsys, "seeds", "--runs", "0") == "seeds: expected --runs to be at least 1, got 0"
    assert refused(capsys, "drift", "--every", "0") == "drift: expected --every to be at least 1, got 0"
    assert refused(capsys, "mutants", "--other-seeds", "-1") == "mutants: expected --other-seeds to be at least 1, got -1"
    assert refused(capsys, "loops", "--seed", "-1") == "loops: expected --seed in [0, 2**31), got -1"
    assert refused(capsys, "digits", "--seed", "99999999999999999999").startswith("digits: expected --seed in [0, 2**31), got 999")
    assert refused(capsys, "simplecnn", "--store") == "simplecnn: expected --as-written together with --store"
    assert refused(capsys, "simplecnn", "--as-written", "--data", "mnist").startswith("simplecnn: expected --data digits together with")
    assert refused(capsys, "routes", "--overwrite").startswith("routes: expected --out together with --overwrite")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_refused(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        message = refused(capsys, "digits", "--smoke", "--out", str(folder))
        assert message.startswith(f"digits: cannot write to {folder}: ")
        assert message.endswith("choose another folder with --out")


def test_results_are_never_overwritten_unasked(tmp_path, monkeypatch):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("do not lose me")
    with pytest.raises(UserError, match=rf"^digits: {mine} already holds results; add --overwrite, or choose another folder with --out$"):
        Run("digits", Options(out=mine))
    assert [file.name for file in mine.iterdir()] == ["thesis.txt"]
    assert Run("digits", Options(out=mine, overwrite=True)).folder == mine
    assert {file.name for file in mine.iterdir()} == {"thesis.txt", "config.json", "metrics.jsonl"}
    monkeypatch.chdir(tmp_path)
    assert [str(Run("digits", Options()).folder) for _ in range(3)] == ["runs/digits", "runs/digits-2", "runs/digits-3"]


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
