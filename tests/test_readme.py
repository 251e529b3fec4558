"""What the README says is so: its code runs and prints what it says, its commands are those of CI, its links lead somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, flags=re.S)
COMMANDS = re.findall(r"```sh\n(.*?)\n```", README, flags=re.S)


def printed(capsys, code):
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    return float(re.search(r"[\d.]+(e-?\d+)?", capsys.readouterr().out)[0])


def claimed(code):
    return float(re.search(r"print\(.*# .*?([\d.]+(e-?\d+)?)", code)[1])


def test_the_gradients_differ_by_what_is_said(capsys):
    """Rounding differs between JAX releases: 5e-07 on 0.12, what is said on 0.9.2."""
    assert 0 < printed(capsys, PYTHON[0]) <= 2 * claimed(PYTHON[0]) <= 1e-5


@pytest.mark.usefixtures("optax_promotes")
def test_the_training_reaches_what_is_said(capsys):
    assert abs(printed(capsys, PYTHON[2]) - claimed(PYTHON[2])) <= 1.5  # percent; rounding differs between machines


def test_dense_is_shown_as_it_is():
    source = (ROOT / "funcnn" / "linear.py").read_text()
    source = re.search(r"^@constructor\ndef dense.*?^    return stateless[^\n]*\n", source, flags=re.S | re.M)[0]
    source = re.sub(r'    """y = x w \+ b.*?"""\n\n?', "", source, count=1, flags=re.S)
    source = re.sub(r": int|: Initializer| -> Layer", "", source)

    imports, shown = PYTHON[1].split("\n\n\n")
    exec(imports)

    def squeezed(code):
        return re.sub(r"\s+", " ", code).replace("= ", "=").replace(" =", "=").strip()

    assert squeezed(source) == squeezed(shown)


def test_the_commands_are_the_ones_that_ci_runs():
    first, second = COMMANDS[:2]
    ci = (ROOT / ".ci" / "run").read_text().splitlines()
    assert second in ci
    assert first.replace("[experiments]", "[test]").replace("experiments digits", "pytest") == second


def test_what_there_is_is_all_there_is():
    """The README's table names what `funcnn` exports, and nothing else."""
    rows = re.search(r"## What there is\n(.*?)\n## ", README, flags=re.S)[1].splitlines()[3:7]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    exported = set(re.findall(r"import (\w+) as \1", (ROOT / "funcnn" / "__init__.py").read_text()))
    assert named == exported - {"Layer", "stateless", "convolution", "_compatibility"}


def test_links_and_named_experiments_exist():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target
    contract = len((ROOT / "funcnn" / "layer.py").read_text().splitlines())
    assert f"(the contract, {contract} lines)" in README
    for name in set(re.findall(r"python -m experiments ([a-z]\w*)", README)):
        assert (ROOT / "experiments" / f"{name}.py").exists(), name


@pytest.mark.usefixtures("optax_promotes")
def test_the_reports_are_those_that_are_printed(capsys):
    """The same lines; their numbers depend on the machine's rounding."""
    exec(compile(PYTHON[3], "README.md", "exec"), {"__name__": "readme"})
    shown, got = re.search(r"```text\n(.*?)\n```", README, flags=re.S)[1], capsys.readouterr().out.rstrip()
    for expected, line in zip(shown.splitlines(), got.splitlines(), strict=True):
        assert [re.sub(r"[\d.]+(e[-+]?\d+)?", "#", word) for word in line.split()] == [
            re.sub(r"[\d.]+(e[-+]?\d+)?", "#", word) for word in expected.split()
        ]
