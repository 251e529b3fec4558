"""Layers made of layers: the backward pass of a whole network composes by itself.

`params`, `state` and the residuals of a combinator have one entry per layer: tuples, by name in `named`, stacked in `repeat`.
"""

from funcnn.combinators.branches import parallel as parallel
from funcnn.combinators.branches import residual as residual
from funcnn.combinators.inside import calls as calls
from funcnn.combinators.inside import divided as divided
from funcnn.combinators.inside import keys_of as keys_of
from funcnn.combinators.inside import out_shape as out_shape
from funcnn.combinators.repeated import repeat as repeat
from funcnn.combinators.series import identity as identity
from funcnn.combinators.series import named as named
from funcnn.combinators.series import serial as serial
from funcnn.combinators.wrappers import recompute as recompute
from funcnn.combinators.wrappers import when_training as when_training
