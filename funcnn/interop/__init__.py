"""funcnn inside other people's models, and theirs inside funcnn."""

# JAX's own operations, by funcnn's algorithms
from funcnn.interop.convolution import conv_general_dilated as conv_general_dilated
from funcnn.interop.pooling import avg_pool as avg_pool
from funcnn.interop.pooling import max_pool as max_pool
from funcnn.interop.pooling import reduce_window as reduce_window
from funcnn.interop.replacing import conv_transpose as conv_transpose
from funcnn.interop.replacing import replacing_lax as replacing_lax
