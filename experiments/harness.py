"""What all experiments share: their options, the folder a run writes to, and its progress bar."""

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

CONSOLE = Console()
if not CONSOLE.is_terminal and "COLUMNS" not in os.environ:
    CONSOLE.width = 160  # of a file or pipe, which else gets 80 columns and numbers cut to fit


class UserError(Exception):
    """Something the user can mend; shown as one sentence, without a traceback."""


@dataclass(frozen=True)
class Options:
    seed: int = 0
    """What all random numbers follow from."""
    smoke: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """As little as shows that everything runs: little data, one epoch, one seed."""
    out: Path | None = None
    """The folder for the results; by default runs/NAME, or runs/NAME-2 and so on where that is taken."""
    overwrite: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Allow --out to be a folder that already holds something."""


@dataclass(frozen=True)
class TrainingOptions(Options):
    epochs: int | None = None
    """How often to go over the training data; by default as often as the claim says."""


@dataclass(frozen=True)
class SeedsOptions(TrainingOptions):
    runs: int = 5
    """How many trainings: with --seed, --seed + 1 and so on."""


class Run:
    """The folder of one run. `config.json` is there from the start; `metrics.jsonl` grows by a line an epoch."""

    def __init__(self, name: str, options: Options):
        for option, value in asdict(options).items():
            if type(value) is int and option != "seed" and value < 1:
                raise UserError(f"{name}: expected --{option.replace('_', '-')} to be at least 1, got {value}")
        if not 0 <= options.seed < 2**31:
            raise UserError(f"{name}: expected --seed in [0, 2**31), got {options.seed}")
        if options.overwrite and not options.out:
            raise UserError(f"{name}: expected --out together with --overwrite; without --out a run gets a new folder")
        self.name, self.folder = name, _claim(name, options)
        try:
            self.write("config", {"experiment": name, **asdict(options), "out": str(self.folder), **environment()})
            (self.folder / "metrics.jsonl").write_text("")
        except OSError as error:
            raise UserError(f"{name}: cannot write to {self.folder}: {error.strerror}; choose another folder with --out") from error

    def write(self, name: str, value: Mapping[str, Any]) -> None:
        (self.folder / f"{name}.json").write_text(json.dumps(value, indent=2, default=str) + "\n")

    def log(self, row: Mapping[str, Any]) -> None:
        with (self.folder / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")

    def finish(self, results: Mapping[str, Any], summary: str = "pictures, metrics and configuration") -> None:
        """Write results.json and say, after `summary`, where everything lies."""
        self.write("results", results)
        CONSOLE.print(f"{summary} in {self.folder}", highlight=False, soft_wrap=True)

    def picture(self, name: str, figure: Figure) -> None:
        figure.savefig(self.folder / f"{name}.png", dpi=150)


def _claim(name: str, options: Options) -> Path:
    """Make the run's folder; never one that holds another run's results, unless --overwrite says so."""
    candidates = [options.out] if options.out else [Path("runs", name), *(Path("runs", f"{name}-{i}") for i in range(2, 10_000))]
    for folder in candidates:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not any(folder.iterdir()) or (options.out and options.overwrite):
                return folder
        except OSError as error:
            raise UserError(f"{name}: cannot write to {folder}: {error.strerror}; choose another folder with --out") from error
    raise UserError(f"{name}: {candidates[-1]} already holds results; add --overwrite, or choose another folder with --out")


def environment() -> dict[str, Any]:
    """The versions and the machine that a result belongs to."""
    git = shutil.which("git")
    commit = git and subprocess.run([git, "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return {
        "versions": {"python": platform.python_version(), **{p: version(p) for p in ("jax", "jaxlib", "numpy", "optax", "scikit-learn")}},
        "commit": (commit.stdout.strip() if commit else "") or None,
        "device": jax.devices()[0].device_kind,
        "backend": jax.default_backend(),
        "platform": platform.platform(),
    }


@contextmanager
def progress(description: str, total: int) -> Generator[Any, None, None]:
    """A live bar; `advance(**numbers)` moves it by one and shows the numbers."""
    columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TextColumn("{task.fields[numbers]}"))
    with Progress(*columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), console=CONSOLE) as bar:
        task = bar.add_task(description, total=total, numbers="compiling")

        def advance(**numbers: float) -> None:
            bar.update(task, advance=1, numbers="  ".join(f"{name} {value:.4f}" for name, value in numbers.items()))

        yield advance


def table(title: str, header: Iterable[Any], rows: Iterable[Iterable[Any]], text_columns: int = 1) -> None:
    """Print a table whose first `text_columns` columns are aligned to the left, the others to the right."""
    made = Table()
    for i, name in enumerate(header):
        made.add_column(str(name), justify="left" if i < text_columns else "right")
    for row in rows:
        made.add_row(*map(str, row))
    CONSOLE.print(title, highlight=False)
    CONSOLE.print(made)
