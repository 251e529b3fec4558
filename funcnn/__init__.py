"""funcnn: convolutional networks as pure functions, with hand-written gradients that you can check."""

from funcnn import _compatibility as _compatibility
from funcnn import convolution as convolution
from funcnn import interop as interop
from funcnn import networks as networks
from funcnn.shown import overview as _overview

# The contract
from funcnn.layer import Layer as Layer
from funcnn.layer import stateless as stateless
from funcnn.layer import with_manual_vjp as with_manual_vjp

# Combinators
from funcnn.combinators import identity as identity
from funcnn.combinators import named as named
from funcnn.combinators import parallel as parallel
from funcnn.combinators import recompute as recompute
from funcnn.combinators import repeat as repeat
from funcnn.combinators import residual as residual
from funcnn.combinators import serial as serial
from funcnn.combinators import when_training as when_training

# Convolution and pooling
from funcnn.convolution.layers import conv as conv
from funcnn.convolution.transposed import conv_transpose as conv_transpose
from funcnn.pooling.adaptive import adaptive_avg_pool as adaptive_avg_pool
from funcnn.pooling.adaptive import adaptive_max_pool as adaptive_max_pool
from funcnn.pooling.average import avg_pool as avg_pool
from funcnn.pooling.average import lp_pool as lp_pool
from funcnn.pooling.maximum import max_pool as max_pool
from funcnn.pooling.whole import global_avg_pool as global_avg_pool
from funcnn.pooling.whole import global_lp_pool as global_lp_pool
from funcnn.pooling.whole import global_max_pool as global_max_pool

# Activations
from funcnn.activations import hard_sigmoid as hard_sigmoid
from funcnn.activations import hard_tanh as hard_tanh
from funcnn.activations import log_sigmoid as log_sigmoid
from funcnn.activations import log_softmax as log_softmax
from funcnn.activations import relu as relu
from funcnn.activations import sigmoid as sigmoid
from funcnn.activations import softmax as softmax
from funcnn.activations import softsign as softsign
from funcnn.activations import tanh as tanh
from funcnn.rectifiers import celu as celu
from funcnn.rectifiers import elu as elu
from funcnn.rectifiers import gelu as gelu
from funcnn.rectifiers import gelu_tanh as gelu_tanh
from funcnn.rectifiers import hard_swish as hard_swish
from funcnn.rectifiers import leaky_relu as leaky_relu
from funcnn.rectifiers import mish as mish
from funcnn.rectifiers import prelu as prelu
from funcnn.rectifiers import relu6 as relu6
from funcnn.rectifiers import selu as selu
from funcnn.rectifiers import silu as silu
from funcnn.rectifiers import softplus as softplus

# Padding and resampling
from funcnn.padding import crop as crop
from funcnn.padding import pad as pad
from funcnn.resampling import pixel_shuffle as pixel_shuffle
from funcnn.resampling import pixel_unshuffle as pixel_unshuffle
from funcnn.resampling import upsample as upsample

# Everything else that is a layer
from funcnn.linear import bias as bias
from funcnn.linear import dense as dense
from funcnn.linear import flatten as flatten
from funcnn.linear import reshape as reshape
from funcnn.linear import scale as scale
from funcnn.linear import transpose as transpose
from funcnn.normalization import batch_norm as batch_norm
from funcnn.normalization import group_norm as group_norm
from funcnn.normalization import instance_norm as instance_norm
from funcnn.normalization import layer_norm as layer_norm
from funcnn.normalization import local_response_norm as local_response_norm
from funcnn.normalization import rms_norm as rms_norm
from funcnn.stochastic import drop_path as drop_path
from funcnn.stochastic import dropout as dropout
from funcnn.stochastic import spatial_dropout as spatial_dropout

# What there is to know of a network
from funcnn.inspection import Summary as Summary
from funcnn.inspection import count_parameters as count_parameters
from funcnn.inspection import stages as stages
from funcnn.inspection import summary as summary

# Losses and metrics
from funcnn.losses import binary_cross_entropy as binary_cross_entropy
from funcnn.losses import hinge as hinge
from funcnn.losses import huber as huber
from funcnn.losses import mean_absolute_error as mean_absolute_error
from funcnn.losses import mean_squared_error as mean_squared_error
from funcnn.losses import negative_log_likelihood as negative_log_likelihood
from funcnn.losses import softmax_cross_entropy as softmax_cross_entropy
from funcnn.losses import with_gradient as with_gradient
from funcnn.metrics import accuracy as accuracy
from funcnn.metrics import top_k_accuracy as top_k_accuracy

# Arrays, and how a CPU runs it
from funcnn.arrays import to_numpy as to_numpy
from funcnn.cpu import cpu_tuning as cpu_tuning
from funcnn.cpu import keep_memory as keep_memory

__doc__ = f"{__doc__}\n\n{_overview(globals())}"
