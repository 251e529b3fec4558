"""What exists only because of how a CPU runs a program: it changes nothing but rounding, and no other platform sees it."""

import os
import platform
import re
import subprocess
import sys
from collections import Counter

import jax
import numpy as np
import pytest

import funcnn as fn
from funcnn import cpu
from tests.cases import Case, each_tuned
from tests.test_laws import both_passes, on_jax, problem, worst


@pytest.fixture
def at_any_size(monkeypatch):
    """Everything that begins at a certain size begins at once."""
    for name in ("BLOCK", "FEW", "LARGE", "LARGE_CHEAP"):
        monkeypatch.setattr(cpu, name, 1)


@pytest.mark.usefixtures("x64", "at_any_size")
@each_tuned
def test_on_and_off_agree_to_rounding(case):
    """Compiled, forward and backward, in training; and on NumPy."""
    arrays = problem(case)
    results = []
    for on in (True, False):
        passes = both_passes(case.layer, train=True)  # anew, as what is compiled for one is not to be found for the other
        with fn.cpu_tuning(on):
            results.append((jax.jit(passes)(*on_jax(arrays)), passes(*arrays)))
    assert worst(*results) <= 1e-12


@pytest.mark.usefixtures("x64")
def test_rows_written_out_are_those_of_the_loop(monkeypatch):
    """Winograd's rows, of a batch in one block and in a block for each image."""
    layer = fn.conv(3, (3, 3), algorithm=fn.convolution.winograd4)
    arrays = problem(Case(layer, (9, 6, 2)))
    programs = []
    for least, block in ((1, cpu.BLOCK), (1, 300), (2**40, cpu.BLOCK), (2**40, 300)):
        monkeypatch.setattr(cpu, "WRITTEN_OUT", least)
        monkeypatch.setattr(cpu, "BLOCK", block)
        with fn.cpu_tuning(True):
            programs.append(jax.jit(both_passes(layer, train=True)).trace(*on_jax(arrays)))
    assert ["while" in str(program.jaxpr) or "scan" in str(program.jaxpr) for program in programs] == [False, True, True, True]
    plain = both_passes(layer, train=True)(*arrays)
    assert max(worst(program.lower().compile()(*on_jax(arrays)), plain) for program in programs) <= 1e-12


NETWORK = fn.serial(
    fn.conv(32, (3, 3)), fn.batch_norm(), fn.relu, fn.max_pool((2, 2)), fn.conv(32, (3, 3)), fn.conv(32, (3, 3), groups=32),
    fn.conv(8, (3, 3), stride=2), fn.conv(8, (5, 5), algorithm=fn.convolution.rowwise), fn.flatten, fn.dense(3),
)  # fmt: skip


def operations(target, on):
    """What both passes of the network are made of, lowered for a platform, with the switch where it is said."""
    params, state = jax.eval_shape(lambda: NETWORK.init(jax.random.key(0), (20, 20, 1)))
    x, dy = (jax.ShapeDtypeStruct(shape, "float32") for shape in ((8, 20, 20, 1), (8, 3)))
    with fn.cpu_tuning(on):
        traced = jax.jit(both_passes(NETWORK, train=True)).trace(params, state, x, dy)
    found = re.findall(r"stablehlo\.(\w+)", traced.lower(lowering_platforms=(target,)).as_text())
    return {name: count for name, count in Counter(found).items() if name in ("slice", "concatenate", "dynamic_slice", "dot_general")}


@pytest.mark.usefixtures("at_any_size")
def test_no_other_platform_sees_it():
    """Lowered for a GPU, from a machine that has none, it is the program without; for a CPU it is another one."""
    assert operations("cuda", None) == operations("cuda", False)
    assert operations("cpu", None) == operations("cpu", True)
    tuned, plain = operations("cpu", None), operations("cpu", False)
    assert tuned["slice"] > 2 * plain["slice"]
    assert tuned["concatenate"] > plain["concatenate"]
    assert plain["dot_general"] < tuned["dot_general"], "Winograd's many products are for CPUs"


def test_what_is_compiled_has_no_branch_in_it():
    net = fn.serial(fn.conv(8, (3, 3)), fn.relu, fn.max_pool((2, 2)))
    params, state = net.init(jax.random.key(0), (8, 8, 1))
    x, dy = np.ones((4, 8, 8, 1), "float32"), np.ones((4, 4, 4, 8), "float32")
    lowered = jax.jit(both_passes(net, train=True)).lower(params, state, x, dy)
    assert "stablehlo.case" in lowered.as_text()
    assert " conditional(" not in lowered.compile().as_text()


@pytest.mark.usefixtures("at_any_size")
def test_the_switch_is_seen_by_what_is_compiled_already():
    program = jax.jit(lambda a: cpu.sum_rows(a, cheap=True))
    a = jax.numpy.ones((16, 4, 2))
    texts = []
    for on in (True, False, True):
        with fn.cpu_tuning(on):
            np.testing.assert_array_equal(program(a), [64, 64])
            texts.append(program.lower(a).as_text().count("slice"))
    assert texts[0] == texts[2] > texts[1] == 0


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
