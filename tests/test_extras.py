"""Without the optional packages: what does not need them works, and what does names the extra in one sentence."""

import os
import subprocess
import sys

import pytest

from funcnn.extras import needs_extra
from tests.test_files import MNIST
from tests.test_idx import OFFICIAL

OPTIONAL = ("sklearn", "threadpoolctl", "matplotlib", "rich", "tyro", "pooch", "requests", "urllib3")
BLOCKED = f"import sys; sys.modules.update(dict.fromkeys({OPTIONAL}))"


def without_the_extra(code, **env):
    """What a process in which nothing of the extra can be imported answers to `code`: its output and its last line of errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{BLOCKED}\n{code}"],
        capture_output=True, text=True, timeout=120, env={k: v for k, v in os.environ.items() if k != "FUNCNN_DATA"} | env,
    )  # fmt: skip
    return done.stdout.strip(), (done.stderr.strip().splitlines() or [""])[-1]


def sentence(name, module):
    pip = "install it, pip install 'funcnn[experiments]'"
    return f"ModuleNotFoundError: {name}: expected the extra `experiments`, got no {module}; {pip}"


def test_pictures_name_the_extra():
    assert without_the_extra("from funcnn import datasets, figures") == ("", sentence("funcnn.figures", "matplotlib"))


def test_data_that_need_no_extra_are_there():
    code = "import jax; from funcnn import datasets; print(datasets.lines8(jax.random.key(0)).test_images.shape)"
    assert without_the_extra(code) == ("(12, 8, 8, 1)", "")


def test_digits_name_the_extra():
    assert without_the_extra("from funcnn import datasets\ndatasets.digits()") == ("", sentence("funcnn.datasets.digits", "sklearn"))


def test_a_download_names_the_extra(tmp_path):
    out, error = without_the_extra("from funcnn import datasets\ndatasets.mnist()", XDG_CACHE_HOME=str(tmp_path))
    assert (out, error) == ("", sentence("funcnn.datasets, to download mnist", "pooch"))


@pytest.mark.skipif(not OFFICIAL.exists(), reason="the official files are not here")
def test_files_of_ones_own_need_no_extra():
    code = f"from funcnn import datasets; print(datasets.mnist({str(OFFICIAL)!r}).test_images.shape)"
    assert without_the_extra(code) == ("(10000, 28, 28, 1)", "")


def test_hashes_need_no_extra(tmp_path):
    """A wrong file is told apart without pooch."""
    for name in MNIST.files:
        (tmp_path / name).write_bytes(b"wrong")
    out, error = without_the_extra(f"from funcnn import datasets\ndatasets.mnist({str(tmp_path)!r})")
    assert out == ""
    assert "expected mnist's train-images-idx3-ubyte.gz, whose SHA-256 is 440fcabf" in error


def test_a_summary_as_text_needs_no_extra():
    made = "import funcnn as fn; s = fn.summary(fn.relu, (3,))"
    assert without_the_extra(f"{made}; print(str(s).split()[0])") == ("layer", "")
    assert without_the_extra(f"{made}; s.__rich__()") == ("", sentence("funcnn.summary, to print it by rich", "rich"))


def test_data_sets_are_imported_quickly():
    code = f"import sys; from funcnn import datasets; print(*({{*{OPTIONAL}, 'scipy.sparse'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == ""


def test_a_module_of_our_own_that_is_missing_is_another_error():
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'funcnn.nowhere'$"), needs_extra("funcnn.figures", "experiments"):
        __import__("funcnn.nowhere")
