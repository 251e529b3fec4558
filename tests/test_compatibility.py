"""The JAX releases that compute wrongly: warned of once by name, and never what pip ends on."""

import os
import re
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import jaxlib
import pytest
from packaging.requirements import Requirement

from funcnn import _compatibility

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("version", _compatibility.BROKEN)
def test_a_broken_release_is_warned_of_by_its_bug(version):
    with pytest.warns(
        RuntimeWarning, match=rf"funcnn: jaxlib {re.escape(version)} .*jax-ml/jax#\d+\); install another, pip install 'jax>="
    ):
        _compatibility.warn_if_broken(version)


def test_importing_on_a_broken_release_warns_once():
    program = "import jaxlib; jaxlib.__version__ = '0.10.2'; import funcnn; import funcnn.training"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stderr.count("RuntimeWarning: funcnn: jaxlib 0.10.2") == 1


def test_a_good_release_is_not():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for version in ("0.9.2", "0.11.2", "0.12.0", jaxlib.__version__):
            _compatibility.warn_if_broken(version)


def test_float64_is_mended_where_jax_has_not_started(monkeypatch):
    monkeypatch.setattr(_compatibility, "_started", lambda: False)
    for before, after in (("", _compatibility.SMALL_GROUPS), ("--a=1", f"--a=1 {_compatibility.SMALL_GROUPS}")):
        monkeypatch.setenv("XLA_FLAGS", before)
        _compatibility.mend_float64("0.10.0")
        assert os.environ["XLA_FLAGS"] == before
        for _ in range(2):
            _compatibility.mend_float64("0.9.2")
            assert os.environ["XLA_FLAGS"] == after


def test_a_file_of_flags_stays_one(monkeypatch):
    """XLA takes flags that do not begin with a dash for the name of a file, and aborts where there is none."""
    monkeypatch.setattr(_compatibility, "_started", lambda: False)
    monkeypatch.setattr(_compatibility, "_joins_sums_rightly", lambda: False)
    monkeypatch.setenv("XLA_FLAGS", "flags.txt")
    with pytest.warns(RuntimeWarning, match=r"or XLA_FLAGS names a file; .* into XLA_FLAGS or its file$"):
        _compatibility.mend_float64("0.9.2")
    assert os.environ["XLA_FLAGS"] == "flags.txt"


def test_what_cannot_be_mended_is_warned_of(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(_compatibility, "_started", lambda: True)
    monkeypatch.setattr(_compatibility, "_joins_sums_rightly", lambda: False)
    with pytest.warns(RuntimeWarning, match=r"funcnn: jaxlib 0\.9\.2 computes wrongly in float64 .*import funcnn first, or put "):
        _compatibility.mend_float64("0.9.2")


@pytest.mark.parametrize("early", [True, False], ids=["funcnn first", "JAX first"])
def test_float64_is_right_or_warned_of(early):
    """In a process of its own, with no option set; which of the two it is without funcnn depends on the release and the CPU."""
    lines = ["import funcnn", "import jax; jax.numpy.ones(3)"]
    program = "; ".join([*(lines if early else lines[::-1]), "print(funcnn._compatibility._joins_sums_rightly())"])
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    warned = "computes wrongly in float64" in result.stderr
    assert (result.stdout.strip(), warned) == ("True", False) or (not early and (result.stdout.strip(), warned) == ("False", True))


def test_the_requirement_excludes_the_broken_and_only_those():
    assert _compatibility.REQUIREMENT in PROJECT["dependencies"]
    specifier = Requirement(_compatibility.REQUIREMENT).specifier
    assert not [version for version in _compatibility.BROKEN if version in specifier]
    assert all(version in specifier for version in ("0.9.2", "0.11.2", "0.12.0"))


def test_the_core_has_three_dependencies():
    assert [Requirement(d).name for d in PROJECT["dependencies"]] == ["numpy", "jax", "optax"]
