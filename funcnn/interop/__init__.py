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
