"""The folder of a run: what it began with, what it measured, what came out."""

import json
import platform
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from matplotlib.figure import Figure

from experiments.common.console import CONSOLE
from experiments.common.options import Options, UserError


class Run:
    """The folder of one run. `config.json` is there from the start; `metrics.jsonl` grows by a line an epoch."""

    def __init__(self, name: str, options: Options):
        options.check(name)
        self.name, self.folder = name, _claim(name, options)
        try:
            self.write("config", {"experiment": name, **asdict(options), "out": str(self.folder), **environment()})
            (self.folder / "metrics.jsonl").write_text("")
        except OSError as error:
            raise UserError(f"{name}: cannot write to {self.folder}: {error.strerror}; choose another folder with --out") from error
        _say_when_stopped(self.folder)

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


def _say_when_stopped(folder: Path) -> None:
    """From here on Ctrl-C says what it leaves behind: these are the words of its KeyboardInterrupt, which `__main__` prints."""

    def stop(number: int, frame: Any) -> None:
        raise KeyboardInterrupt(f"metrics.jsonl and config.json of what was done are in {folder}")

    if threading.current_thread() is threading.main_thread():  # the only one that signals reach
        signal.signal(signal.SIGINT, stop)


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
