"""Processes of their own for parts of an experiment. Imports nothing heavy: it is the first that such a process imports."""

import multiprocessing
import signal
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager


@contextmanager
def pool(processes: int, *, tasks_each: int | None = None, threads: int | None = None) -> Generator[ProcessPoolExecutor, None, None]:
    """A pool of processes that begin anew after `tasks_each` tasks, with so many `threads` each for matrix products of NumPy.

    What waits is left undone where the experiment is stopped.
    """
    context = multiprocessing.get_context("spawn")
    made = ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(threads,), max_tasks_per_child=tasks_each)
    try:
        yield made
    finally:
        made.shutdown(cancel_futures=True)


def _begin(threads: int | None) -> None:
    stop_silently()
    if threads:
        import numpy  # noqa: F401  (only what is loaded can be limited)
        from threadpoolctl import threadpool_limits

        threadpool_limits(threads)


def stop_silently() -> None:
    """Ctrl-C reaches every process of a terminal: only the first one has something to say about it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
