"""Freed memory stays with the process, if asked to."""

import os
import platform
import subprocess
import sys

import pytest

import funcnn as fn

FAULTS = """
import resource, sys
import numpy as np
import funcnn as fn

if "keep" in sys.argv:
    assert fn.keep_memory()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**24, "float32")  # 64 MB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_what_is_freed_is_used_again():
    """Without it every large array is given to the process anew, page by page (of 2 MB at most)."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    kept, given = (int(subprocess.check_output([sys.executable, "-c", FAULTS, what], env=env)) for what in ("keep", "give back"))
    assert kept < 8 < 32 <= given


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert fn.keep_memory() is False
