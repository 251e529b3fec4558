"""The options of the experiments on the tutorials. Imports nothing heavy: options are read before all else."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from experiments.common.options import SeedsOptions


@dataclass(frozen=True)
class TutorialOptions(SeedsOptions):
    as_written: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """The tutorial's own system, with what is wrong in it; by default the corrected one."""
