"""The layer `conv`. N H W C in, O output channels, KH KW kernel, P Q output rows and columns."""

from collections.abc import Sequence
from math import prod

from jax.nn.initializers import Initializer, he_normal, zeros
from jax.random import fold_in

from funcnn.arguments import check_array, check_in_shape, check_option, check_params
from funcnn.convolution.algorithm import ConvAlgorithm
from funcnn.convolution.auto import auto, chosen
from funcnn.convolution.geometry import Padding, window
from funcnn.cpu import sum_rows
from funcnn.layer import Layer, constructor, stateless


@constructor
def conv(
    features: int,
    kernel_size: Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    bias: bool = True,
    algorithm: ConvAlgorithm = auto,
    w_init: Initializer = he_normal(),
    b_init: Initializer = zeros,
) -> Layer:
    """Convolution (the field's: cross-correlation) over as many spatial axes as `kernel_size` has.

    Args:
        features: O, the number of output channels.
        kernel_size: (KH, KW), or one number per spatial axis.
        stride, dilation: one number, or one per spatial axis.
        padding: "SAME" (P = ceil(H / stride), the odd row at the end), "SAME_LOWER" (the odd row at the beginning),
            "VALID" (none), a number of rows for all sides, or (low, high) for each spatial axis.
        groups: G, into which the input and the output channels are divided, in their order; each output channel sees
            only the C / G input channels of its own group. G = C is the depthwise convolution.
        bias: whether to add b.
        algorithm: one of `funcnn.convolution`; each computes the same.
        w_init, b_init: `jax.nn.initializers` for w (KH, KW, C / G, O) and b (O,).

    Returns:
        A layer from (N, H, W, C) to (N, P, Q, O) with params {"w", "b"}, or {"w"} without bias; it keeps what its
        algorithm keeps, at least x and w.

    Raises:
        ValueError: an option out of range; a kernel larger than the padded input; wrong channels; a geometry that
            `algorithm` does not support.
    """
    features, groups = check_option("conv", "features", features), check_option("conv", "groups", groups)
    if features % groups:
        raise ValueError(f"conv: expected features to be a multiple of the {groups} groups, got {features}")
    if not isinstance(algorithm, ConvAlgorithm):
        raise ValueError(f"conv: expected algorithm to be one of fn.convolution, such as fn.convolution.im2col, got {algorithm!r}")
    options = window("conv", kernel_size, stride, padding, dilation)
    spatial, seen = options.letters, "C" if groups == 1 else f"C / {groups}"
    entries = {"w": (*options.sizes, seen, features)} | ({"b": (features,)} if bias else {})

    def geometry_of(x):
        geometry = options.over(x.shape[1:-1])._replace(groups=groups)
        if not algorithm.supports(geometry):
            raise ValueError(f"conv: algorithm {algorithm.name!r} does not support {geometry}; use algorithm=fn.convolution.auto")
        return geometry

    def init(key, in_shape):
        check_in_shape("conv", in_shape, (*spatial, "C"), "it is the shape of one example, channels last")
        if in_shape[-1] % groups:
            raise ValueError(f"conv: expected input channels in a multiple of the {groups} groups, got in_shape {tuple(in_shape)}")
        w = w_init(key, (*options.sizes, in_shape[-1] // groups, features))
        return {"w": w, "b": b_init(fold_in(key, 1), (features,))} if bias else {"w": w}

    def forward(params, x):
        check_params("conv", params, entries)
        check_array("conv", "x", x, ("N", *spatial, params["w"].shape[-2] * groups))
        y, residuals = algorithm.forward(x, params["w"], geometry_of(x))  # (N, P, Q, O)
        return (y + params["b"].reshape((1,) * (y.ndim - 1) + (-1,)) if bias else y), residuals

    def backward(residuals, dy):
        """dw[kh, kw] = sum_{n, p, q} x[n, p * SH + kh, q * SW + kw]^T dy[n, p, q],  db = sum_{n, p, q} dy,  dx: see the algorithm."""
        geometry = geometry_of(residuals[0])
        check_array("conv", "dy", dy, (residuals[0].shape[0], *(a.out for a in geometry.axes), features))
        dx, dw = algorithm.backward(residuals, dy, geometry)
        return {"w": dw} | ({"b": sum_rows(dy)} if bias else {}), dx

    def work(params, x):
        geometry, w = geometry_of(x), params["w"]
        products, sums = geometry.products(x, w), bias * x.shape[0] * prod(a.out for a in geometry.axes) * features // 2
        name = chosen(x, w, geometry) if algorithm is auto else algorithm.name
        return products + sums, 2 * products + sums, name  # adding b, and summing db, is half a multiply-add each

    return stateless("conv", forward, backward, init)._replace(work=work)
