"""Contenders in processes of their own, timed in turns."""

import multiprocessing
import os
import re
import resource
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from experiments.benchmark.workloads import Way, Workload, timed
from experiments.common.processes import stop_silently

MANUAL, AUTO, EPOCH, LAX, TORCH, TORCH_LAST = "funcnn", "by jax.grad", "in an epoch", "lax", "PyTorch", "its NHWC"
OUT, RECOMPUTED, OUT_RECOMPUTED, LAX_REPEATED = "written out", "recompute", "written out, recompute", "lax in repeat"
HOW = {MANUAL: Way(), AUTO: Way("auto"), EPOCH: Way(epoch=True), LAX: Way("auto", lax=True, repeat=False)}
DEEP = {
    OUT: Way(repeat=False),
    RECOMPUTED: Way(recompute=True),
    OUT_RECOMPUTED: Way(repeat=False, recompute=True),
    LAX_REPEATED: Way("auto", lax=True),
}
"""More ways, of a deep network."""
DOOR, THROUGH = "funcnn for lax", "{}, funcnn"
DOORS = {DOOR: Way("auto", door=True, repeat=False)}
"""JAX's own convolution and pooling replaced."""
LIBRARIES = {"linen": "flax", "nnx": "flax", "equinox": "equinox", "haiku": "haiku"}
"""Those of `experiments.libraries`, and the module that each needs."""
IN_LIBRARIES = {form.format(name): (name, form == THROUGH) for name in LIBRARIES for form in ("{}", THROUGH)}
"""The library, and whether its convolutions and pools go through `funcnn.interop`."""


class Timing(NamedTuple):
    """Seconds of one contender: the median of each round, and of the first call, which compiles; `error` against the first contender."""

    rounds: tuple[float, ...]
    first: float
    error: float

    @property
    def median(self) -> float:
        return float(np.median(self.rounds))


Ask = Callable[..., Any]


def contenders() -> tuple[str, ...]:
    """Everyone, PyTorch where it is installed."""
    return (*HOW, *torches())


def torches() -> tuple[str, ...]:
    return (TORCH, TORCH_LAST) if find_spec("torch") else ()


@contextmanager
def processes(names: Sequence[str], keep_memory: bool = True, quickly: bool = False) -> Generator[Mapping[str, Ask], None, None]:
    """`ask[name](command, argument)` for a process of each contender; they wait without working while another one is asked.

    All of them alike keep freed memory, as `fn.keep_memory()` does, or do not; none finds a program that was compiled before.
    `quickly`: JAX compiles without most optimisations, where it need only run.
    """
    from funcnn.cpu import SETTINGS  # here, as it imports JAX, which stays out of PyTorch's process

    settings = {f"MALLOC_{name}_": str(value) for name, (_, value) in SETTINGS.items()} if keep_memory else {}
    settings |= {"JAX_ENABLE_COMPILATION_CACHE": "false"} | ({"JAX_DISABLE_MOST_OPTIMIZATIONS": "true"} if quickly else {})
    context, started, ask = multiprocessing.get_context("spawn"), [], {}
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # several processes share a GPU's memory
    try:
        for name in names:
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(name, theirs), daemon=True)
            with patch.dict(os.environ, settings):
                process.start()
            started.append((process, ours))

            def one(command: str, argument: Any = None, ours: Connection = ours, name: str = name) -> Any:
                ours.send((command, argument))
                answer = ours.recv()
                if isinstance(answer, Exception):
                    raise RuntimeError(f"speed: {name} failed at {argument}") from answer
                return answer

            ask[name] = one
        yield ask
    finally:
        for process, ours in started:
            ours.close()
            process.terminate()
            process.join()


def _serve(name: str, pipe: Connection) -> None:
    """What a process does: prepare one workload at a time, and run it for some seconds when asked."""
    stop_silently()
    prepared: Any = None
    while True:
        try:
            command, argument = pipe.recv()
        except EOFError:
            return
        try:
            if command == "prepare":
                prepared = None  # first give back the old one's memory
                prepared = _prepare(name, *argument)
                pipe.send((dict(prepared.results), prepared.first_seconds))
            elif command == "time":
                pipe.send(_median(prepared.run, argument) / prepared.each)
            elif command == "once":
                pipe.send(timed(prepared.run)[0] / prepared.each)
            elif command == "program":
                pipe.send(dict(prepared.program))
            elif command == "peak":
                pipe.send(_peak())
        except Exception as error:
            pipe.send(error)


def _peak() -> float:
    """The most memory that this process ever held, in MiB; on Linux not `ru_maxrss`, which begins with that of the parent."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1]) / 1024  # pyrefly: ignore
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on macOS


def _prepare(name: str, workload: Workload, initial: Any) -> Any:
    if name in HOW | DEEP | DOORS:
        from experiments.benchmark.contenders import prepare

        return prepare(workload, initial, (HOW | DEEP | DOORS)[name])
    if name in IN_LIBRARIES:
        from experiments.libraries.step import prepare as prepare_in_library

        return prepare_in_library(workload, initial, *IN_LIBRARIES[name])
    from experiments.benchmark.pytorch import prepare as prepare_torch

    return prepare_torch(workload, initial, channels_last=name == TORCH_LAST)


def _median(run: Callable[[], Any], seconds: float) -> float:
    """The median time of a call, of as many as fit into `seconds`, at least three."""
    run()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def initial(workload: Workload) -> Any:
    """The parameters that everyone begins with; what draws them stays out of PyTorch's process."""
    from experiments.benchmark.contenders import initial as draw

    return draw(workload)


def race(ask: Mapping[str, Ask], workload: Workload, rounds: int, seconds: float) -> dict[str, Timing]:
    """Everyone in turns, after a check that all compute the same.

    Raises:
        RuntimeError: they do not.
    """
    params = initial(workload)
    names = [name for name in ask if workload.kind == "step" or name != EPOCH]
    first, reference, errors, times = {}, None, {}, {name: [] for name in names}
    for name in names:
        results, first[name] = ask[name]("prepare", (workload, params))
        reference = results if reference is None else reference
        errors[name] = float(np.max([_apart(results[k], reference[k]) for k in reference]))  # keeps a NaN
    allowed = 5e-4 if workload.dtype == "float32" else 0.1
    if not all(error <= allowed for error in errors.values()):
        raise RuntimeError(f"speed: expected all to compute the same on {workload.name}, got relative errors {errors}")
    for _ in range(rounds):
        for name in names:
            times[name].append(ask[name]("time", seconds))
    return {name: Timing(tuple(times[name]), first[name], errors[name]) for name in names}


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max()) if a.shape == b.shape else float("inf")
