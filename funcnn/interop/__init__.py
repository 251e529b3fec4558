"""funcnn inside other people's JAX programs, and their functions and modules inside funcnn."""

# JAX's own operations, by funcnn's algorithms
from funcnn.interop.convolution import conv_general_dilated as conv_general_dilated

# Other people's functions and modules as layers
from funcnn.interop.automatic import from_apply as from_apply
from funcnn.interop.automatic import from_equinox as from_equinox
from funcnn.interop.automatic import from_flax as from_flax

# Layers as other people's modules
from funcnn.interop.modules import to_equinox as to_equinox
from funcnn.interop.modules import to_flax as to_flax
