"""The JAX releases that compute wrongly: warned of once by name, and never what pip ends on."""

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


def test_the_requirement_excludes_the_broken_and_only_those():
    assert _compatibility.REQUIREMENT in PROJECT["dependencies"]
    specifier = Requirement(_compatibility.REQUIREMENT).specifier
    assert not [version for version in _compatibility.BROKEN if version in specifier]
    assert all(version in specifier for version in ("0.9.2", "0.11.2", "0.12.0"))


def test_the_core_has_three_dependencies():
    assert [Requirement(d).name for d in PROJECT["dependencies"]] == ["numpy", "jax", "optax"]
