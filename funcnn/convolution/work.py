"""What a convolution takes: multiply-adds, and by which algorithms; said of shapes, computed of nothing."""

from math import prod

from funcnn.arrays import Array
from funcnn.convolution.algorithm import ConvAlgorithm
from funcnn.convolution.auto import auto, chosen
from funcnn.convolution.geometry import Geometry


def work(algorithm: ConvAlgorithm, x: Array, w: Array, geometry: Geometry, biased: int, transposed: bool = False) -> tuple[int, int, str]:
    """Multiply-adds of y, of both gradients together, and the algorithms: one name, or "y/dx/dw" where they are not the same.

    Each pass takes C / G for each output channel, example and pair of an output and a tap that meets an input, and no padding. Adding b
    to an output is half a multiply-add, and so is summing one entry of db.

    Args:
        algorithm: the layer's.
        x: its input, a tracer.
        w: the kernel (KH, KW, C / G, O).
        geometry: that of the convolution.
        biased: how many entries of one example's output b is added to, 0 without b.
        transposed: whether the layer is the convolution's transpose: y is what its dx was, and dx its y.
    """
    products, sums = x.shape[0] * prod(a.hits for a in geometry.axes) * w.shape[-2] * w.shape[-1], x.shape[0] * biased // 2
    names = chosen(x, w, geometry) if algorithm is auto else (algorithm.name,) * 3
    y, dx, dw = (names[1], names[0], names[2]) if transposed else names
    return products + sums, 2 * products + sums, y if y == dx == dw else f"{y}/{dx}/{dw}"
