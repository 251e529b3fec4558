"""Every experiment runs, keeps its results apart from others', and refuses what it cannot do in one sentence."""

import json
import re

import pytest

from experiments.__main__ import NAMES, main
from experiments.digits import SYSTEM, digits
from experiments.harness import Options, Run, UserError
from experiments.system import fingerprint, make_train

pytestmark = pytest.mark.usefixtures("optax_promotes")
PICTURES = {
    "digits": {"learning_curves", "confusion_matrix", "filters", "feature_maps", "misread"},
    "routes": {"curves"},
    "seeds": set(),
}


@pytest.mark.parametrize("name", NAMES)
def test_smoke(name, tmp_path, capsys):
    assert main([name, "--smoke", "--out", str(tmp_path / "run")]) == 0
    folder = tmp_path / "run"
    config, results = (json.loads((folder / f"{file}.json").read_text()) for file in ("config", "results"))
    assert config["experiment"] == name
    assert {"python", "jax", "jaxlib", "numpy", "optax", "scikit-learn"} <= set(config["versions"])
    assert results
    assert all(json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines())
    assert {file.stem for file in folder.glob("*.png")} == PICTURES[name]
    for picture in folder.glob("*.png"):
        assert picture.read_bytes().startswith(b"\x89PNG\r\n")
    assert str(folder) in re.sub(r"\s", "", capsys.readouterr().out)


def test_one_seed_is_one_result():
    train = make_train(SYSTEM, 1, 128)

    def trained(seed):
        done = train(digits(smoke=True), seed, lambda row: None)
        return fingerprint((done.ts.params, done.ts.state)), done.history

    first, again, other = trained(0), trained(0), trained(1)
    assert first == again
    assert first[0] != other[0]
    assert first[1] != other[1]


def test_alone_it_lists_all_experiments(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in NAMES)


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
    assert all(row["error"] <= 1e-12 and row["difference_error"] <= 1e-6 for row in results["agreement"])
