"""The race of `experiments speed`: in turns, by medians, and only among those that compute the same."""

import multiprocessing
import os

import jax
import numpy as np
import pytest

import funcnn as fn
from experiments.benchmark import contenders, race, workloads
from funcnn import networks

WORK = workloads.layer("3x3", 2, 5, 6, 2, workloads.conv(3))
STEP = workloads.middle("small", 4, 8, 4)


def contender(name, log, results, times=(0.3, 0.1, 0.2)):
    """Answers as a process does, and notes when it was asked."""
    left = iter(times)

    def ask(command, argument=None):
        log.append((name, command))
        return (results, 1.0) if command == "prepare" else next(left)

    return ask


def test_everyone_has_a_turn_in_every_round_and_the_median_counts():
    log, y = [], np.arange(4.0)
    ask = {name: contender(name, log, {"y": y}) for name in (race.MANUAL, race.LAX, race.EPOCH)}
    timings = race.race(ask, WORK, rounds=3, seconds=0.1)
    assert set(timings) == {race.MANUAL, race.LAX}  # a layer has no epochs
    assert log == [(n, "prepare") for n in timings] + [(n, "time") for _ in range(3) for n in timings]
    assert all(t.median == 0.2 and t.error == 0 for t in timings.values())


@pytest.mark.parametrize("wrong", [{"y": 1.01 * np.arange(4.0)}, {"y": np.full(4, np.nan)}, {"y": np.arange(4.0)[None]}])
def test_whoever_computes_something_else_stops_the_race(wrong):
    log, right = [], {"y": np.arange(4.0)}
    ask = {race.MANUAL: contender("a", log, right), race.LAX: contender("b", log, wrong)}
    with pytest.raises(RuntimeError, match=r"^speed: expected all to compute the same on 2, 5, 6, 2 -> 3, 3x3"):
        race.race(ask, WORK, rounds=1, seconds=0.1)
    assert (("b", "time")) not in log


@pytest.mark.parametrize("keep", [True, False])
def test_all_contenders_keep_their_memory_or_none(keep, monkeypatch):
    """As their environment says when they are started; ours is as before."""
    seen = []

    class Process:
        def __init__(self, **options):
            pass

        def start(self):
            seen.append({name: value for name, value in os.environ.items() if name.startswith("MALLOC_")})

        terminate = join = lambda self: None

    monkeypatch.delenv("MALLOC_MMAP_MAX_", raising=False)
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_", raising=False)
    monkeypatch.setattr(type(multiprocessing.get_context("spawn")), "Process", Process)
    with race.processes([race.LAX, race.TORCH], keep):
        pass
    assert seen == [{"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)} if keep else {}] * 2
    assert "MALLOC_MMAP_MAX_" not in os.environ


@pytest.mark.slow
def test_all_contenders_compute_the_same():
    """In their processes, PyTorch where it is installed; an epoch too: the race raises where they do not."""
    with race.processes(race.contenders()) as ask:
        for workload in (WORK, STEP, workloads.layer("pool", 2, 6, 6, 2, ("max_pool", 2, 2))):
            timings = race.race(ask, workload, rounds=1, seconds=0.01)
            assert all(t.error < 1e-4 for t in timings.values())
            assert (race.EPOCH in timings) == (workload.kind == "step")


@pytest.mark.slow
def test_all_ways_through_a_deep_network_compute_the_same():
    work = workloads.resnet(14, 4, 8, 2)
    with race.processes((race.MANUAL, *race.DEEP, *race.torches()), quickly=True) as ask:
        timings = race.race(ask, work, rounds=0, seconds=0)
        assert all(t.error < 1e-4 for t in timings.values())
        program = ask[race.RECOMPUTED]("program")
    assert set(program) == {"trace_s", "compile_s", "temporary_mib"}
    assert min(program.values()) > 0


@pytest.mark.slow
def test_the_peak_is_that_of_the_process_itself():
    """Not that of the one which started it."""
    held = np.ones(10**8)  # 763 MiB
    with race.processes([race.LAX]) as ask:
        ask[race.LAX]("prepare", (WORK, race.initial(WORK)))
        assert 50 < ask[race.LAX]("peak") < held.nbytes / 2**20


def test_operations_are_those_of_the_plain_sum():
    strided = workloads.layer("other", 2, 7, 6, 4, workloads.conv(8, 3, stride=2, groups=2))
    assert workloads.operations(strided) == 3 * 2 * (2 * 4 * 3 * 8) * (3 * 3 * 2)
    assert workloads.operations(workloads.layer("pool", 2, 7, 6, 4, ("max_pool", 2, 2))) == 0


@pytest.mark.slow
def test_the_deep_network_is_the_one_in_funcnn():
    """From the same numbers the same, its repeated blocks written out too."""
    work, theirs = workloads.resnet(20, 2, size=8, width=2), networks.resnet20(width=2)
    params = race.initial(work)
    specs, copies = workloads.written_out(work.layers, params)
    x = work.inputs()[0]
    shapes, state = theirs.init(jax.random.key(0), work.in_shape)
    expected = theirs.forward(jax.tree.unflatten(jax.tree.structure(shapes), jax.tree.leaves(params)), fn.to_numpy(state), x, train=True)[0]
    for layers, p in ((work.layers, params), (specs, copies)):
        net = fn.serial(*contenders.build(layers, bias=work.bias))
        state = fn.to_numpy(net.init(jax.random.key(0), work.in_shape)[1])
        np.testing.assert_allclose(net.forward(p, state, x, train=True)[0], expected, rtol=1e-6, atol=1e-6)
