"""funcnn: convolutional networks as pure functions, with hand-written gradients that you can check."""

from funcnn import _compatibility as _compatibility
from funcnn import convolution as convolution
from funcnn.shown import overview as _overview

# The contract
from funcnn.layer import Layer as Layer
from funcnn.layer import stateless as stateless
from funcnn.layer import with_manual_vjp as with_manual_vjp

# Combinators
from funcnn.combinators import identity as identity
from funcnn.combinators import parallel as parallel
from funcnn.combinators import residual as residual
from funcnn.combinators import serial as serial

# Convolution and pooling
from funcnn.convolution.layers import conv as conv
from funcnn.convolution.transposed import conv_transpose as conv_transpose
from funcnn.pooling import avg_pool as avg_pool
from funcnn.pooling import global_avg_pool as global_avg_pool
from funcnn.pooling import max_pool as max_pool

# Everything else that is a layer
from funcnn.activations import relu as relu
from funcnn.linear import dense as dense
from funcnn.linear import flatten as flatten
from funcnn.normalization import batch_norm as batch_norm
from funcnn.stochastic import dropout as dropout

# Whole networks
from funcnn.networks import count_parameters as count_parameters
from funcnn.networks import stages as stages

# Losses and metrics
from funcnn.losses import accuracy as accuracy
from funcnn.losses import mean_squared_error as mean_squared_error
from funcnn.losses import softmax_cross_entropy as softmax_cross_entropy
from funcnn.losses import with_gradient as with_gradient

# Arrays, and how a CPU runs it
from funcnn.arrays import to_numpy as to_numpy
from funcnn.cpu import cpu_tuning as cpu_tuning
from funcnn.cpu import keep_memory as keep_memory

__doc__ = f"{__doc__}\n\n{_overview(globals())}"
