"""What an experiment prints: tables, and how far it has come. Imports nothing heavy: the list of experiments is a table."""

import os
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from math import ceil
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

CONSOLE = Console()
if not CONSOLE.is_terminal and "COLUMNS" not in os.environ:
    CONSOLE.width = 160  # of a file or pipe, which else gets 80 columns and numbers cut to fit
MOST_LINES = 200
"""Of one progress, where it is written line by line."""


@contextmanager
def progress(description: str, total: int) -> Generator[Callable[..., None], None, None]:
    """`advance(**numbers)` moves it by one and shows the numbers: a live bar in a terminal, elsewhere a line each time.

    Where there are many, every second, third or so alone gets a line.
    """
    with (_bar if CONSOLE.is_interactive else _lines)(description, total) as advance:
        yield advance


@contextmanager
def _bar(description: str, total: int) -> Generator[Callable[..., None], None, None]:
    columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TextColumn("{task.fields[numbers]}"))
    with Progress(*columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=CONSOLE) as bar:
        task = bar.add_task(description, total=total, numbers="compiling")
        yield lambda **numbers: bar.update(task, advance=1, numbers=_words(numbers))


@contextmanager
def _lines(description: str, total: int) -> Generator[Callable[..., None], None, None]:
    start, done, every = time.perf_counter(), 0, ceil(total / MOST_LINES)

    def advance(**numbers: float) -> None:
        nonlocal done
        done += 1
        if done % every == 0 or done == total:
            seconds = time.perf_counter() - start
            line = f"{description}  {done:{len(str(total))}}/{total}  {_words(numbers)}".rstrip()
            CONSOLE.print(f"{line}  {seconds:.1f} s", markup=False, highlight=False, soft_wrap=True)  # which flushes

    yield advance


def _words(numbers: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in numbers.items())


def table(title: str, header: Iterable[Any], rows: Iterable[Iterable[Any]], text_columns: int = 1) -> None:
    """Print a table whose first `text_columns` columns are aligned to the left, the others to the right."""
    made = Table()
    for i, name in enumerate(header):
        made.add_column(str(name), justify="left" if i < text_columns else "right")
    for row in rows:
        made.add_row(*map(str, row))
    CONSOLE.print(title, highlight=False)
    CONSOLE.print(made)
