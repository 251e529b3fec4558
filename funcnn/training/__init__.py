"""Training as one value, a `Trainer`, and functions of it: the fresh state, a step, an epoch, an evaluation, a whole course.

Every feature of a training has its place in exactly one of four:

| what it changes | where it lives | examples |
|---|---|---|
| the arithmetic of a network | a layer or a combinator | `conv`, `residual`, precision, other gradient rules |
| how a batch becomes a gradient | `Trainer.gradients`: `(net, loss) -> gradient` (`gradients.py`) | by hand, by `jax.grad`, microbatches |
| the update | optax: `Trainer.optimizer` | schedules, clipping, weight decay, masks |
| the course of a training | `fit`, a generator of events, and the loop over it | epochs, evaluation, progress, stopping early |
"""

from funcnn.training.course import Event as Event
from funcnn.training.course import fit as fit
from funcnn.training.course import stop_early as stop_early
from funcnn.training.gradients import Gradient as Gradient
from funcnn.training.gradients import automatic as automatic
from funcnn.training.gradients import manual as manual
from funcnn.training.gradients import microbatched as microbatched
from funcnn.training.monitoring import Metrics as Metrics
from funcnn.training.monitoring import Monitor as Monitor
from funcnn.training.prediction import predict as predict
from funcnn.training.programs import make_epoch as make_epoch
from funcnn.training.programs import make_evaluate as make_evaluate
from funcnn.training.programs import make_step as make_step
from funcnn.training.trainer import Augment as Augment
from funcnn.training.trainer import Loss as Loss
from funcnn.training.trainer import Measure as Measure
from funcnn.training.trainer import Trainer as Trainer
from funcnn.training.trainer import TrainState as TrainState
from funcnn.training.trainer import init as init
