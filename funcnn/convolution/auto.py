"""The default: the algorithm that was fastest for such a shape."""

from funcnn.convolution.algorithm import ConvAlgorithm
from funcnn.convolution.im2col import im2col
from funcnn.convolution.shifted import shifted


def _forward(x, w, geometry):
    """One input channel in a group: shifted slices fuse into one loop. More: one large matrix product."""
    return (shifted if w.shape[-2] == 1 else im2col).forward(x, w, geometry)


def _backward(residuals, dy, geometry):
    """The same, but for one input channel in all, where the matrix product wins."""
    depthwise = geometry.groups == residuals[0].shape[-1] > 1
    return (shifted if depthwise else im2col).backward(residuals, dy, geometry)


auto = ConvAlgorithm("auto", _forward, _backward)
