"""The options that experiments have in common, and when they make no sense. Imports nothing heavy: options are read before all else."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro


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

    def check(self, name: str) -> None:
        """Raise a UserError in the experiment's name where an option is out of range or needs another."""
        for option, value in asdict(self).items():
            if type(value) is int and option != "seed" and value < 1:
                raise UserError(f"{name}: expected --{option.replace('_', '-')} to be at least 1, got {value}")
        if not 0 <= self.seed < 2**31:
            raise UserError(f"{name}: expected --seed in [0, 2**31), got {self.seed}")
        if self.overwrite and not self.out:
            raise UserError(f"{name}: expected --out together with --overwrite; without --out a run gets a new folder")


@dataclass(frozen=True)
class TrainingOptions(Options):
    epochs: int | None = None
    """How often to go over the training data; by default as often as the claim says."""

    def epochs_or(self, default: int) -> int:
        """How many epochs: --epochs, or as many as the claim says; with --smoke one."""
        return 1 if self.smoke else self.epochs or default


@dataclass(frozen=True)
class SeedsOptions(TrainingOptions):
    runs: int = 5
    """How many trainings: with --seed, --seed + 1 and so on."""

    @property
    def seeds(self) -> range:
        """Of the trainings; with --smoke one."""
        return range(self.seed, self.seed + (1 if self.smoke else self.runs))
