"""funcnn inside other people's models, and theirs inside funcnn."""

# JAX's own operations, by funcnn's algorithms
from funcnn.interop.convolution import conv_general_dilated as conv_general_dilated
