"""The command `python -m experiments`: its list, options, progress and folders, and what it refuses in one sentence."""

import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.__main__ import NAMES, THEMES, described, main
from experiments.common import console
from experiments.common.options import Options, UserError
from experiments.common.run import Run
from tests.test_experiments import NEEDS_FILES, PICTURES

pytestmark = pytest.mark.usefixtures("optax_promotes")

ROOT = Path(__file__).parents[1]
README, PAGE = (ROOT / "README.md").read_text(), (ROOT / "experiments" / "README.md").read_text()


@pytest.mark.parametrize("name", sorted(NEEDS_FILES))
def test_without_its_files_an_experiment_says_what_to_do(name, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("FUNCNN_DATA", str(tmp_path))
    message = refused(capsys, name, "--smoke", "--out", str(tmp_path / "run"))
    assert re.match(rf"(fashion-)?mnist: expected the file train-images-idx3-ubyte.gz in {tmp_path} or in its subfolder", message)
    assert not (tmp_path / "run").exists()


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
            assert re.match(r"digits +5/1000  train loss", started.stdout.readline())
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
