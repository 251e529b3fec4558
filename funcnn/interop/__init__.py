"""Doors: other people's models, weights and files; none of their libraries is imported before it is needed."""

# Weights
from funcnn.interop.equinox import params_from_equinox as params_from_equinox
from funcnn.interop.equinox import params_to_equinox as params_to_equinox
from funcnn.interop.files import load as load
from funcnn.interop.files import read_safetensors as read_safetensors
from funcnn.interop.files import save as save
from funcnn.interop.files import write_safetensors as write_safetensors
from funcnn.interop.weights import params_from_flax as params_from_flax
from funcnn.interop.weights import params_from_torch as params_from_torch
from funcnn.interop.weights import params_to_flax as params_to_flax
from funcnn.interop.weights import params_to_torch as params_to_torch

# JAX's own operations, by funcnn's algorithms
from funcnn.interop.convolution import conv_general_dilated as conv_general_dilated
from funcnn.interop.pooling import avg_pool as avg_pool
from funcnn.interop.pooling import max_pool as max_pool
from funcnn.interop.pooling import reduce_window as reduce_window
from funcnn.interop.replacing import conv_transpose as conv_transpose
from funcnn.interop.replacing import replacing_lax as replacing_lax

# Other people's functions and modules as layers
from funcnn.interop.automatic import from_apply as from_apply
from funcnn.interop.automatic import from_equinox as from_equinox
from funcnn.interop.automatic import from_flax as from_flax

# Layers as other people's modules
from funcnn.interop.modules import to_equinox as to_equinox
from funcnn.interop.modules import to_flax as to_flax

# Out
from funcnn.interop.onnx_file import to_onnx as to_onnx
from funcnn.interop.programs import export as export
