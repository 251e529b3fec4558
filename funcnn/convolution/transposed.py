"""The layer `conv_transpose`. N P Q C in, H W rows and columns and F channels out, KH KW kernel.

Letters as in the convolution that it transposes, from (N, H, W, F) to (N, P, Q, C): what is a row p there is an input here.
"""

from collections.abc import Sequence
from math import prod

from jax.nn.initializers import Initializer, variance_scaling, zeros
from jax.random import fold_in

from funcnn.arguments import check_array, check_flag, check_in_shape, check_option, check_params
from funcnn.arrays import aligned
from funcnn.convolution.algorithm import ConvAlgorithm
from funcnn.convolution.auto import MANY, auto
from funcnn.convolution.geometry import Padding, Window, per_axis, window
from funcnn.convolution.work import work as work_of
from funcnn.cpu import after, sum_rows
from funcnn.layer import Layer, constructor, stateless


@constructor
def conv_transpose(
    features: int,
    kernel_size: Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = "SAME",
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    bias: bool = True,
    algorithm: ConvAlgorithm = auto,
    w_init: Initializer | None = None,
    b_init: Initializer = zeros,
) -> Layer:
    """Transposed convolution: the transpose of the linear map that `conv` is, with the same kernel. No zeros are multiplied.

    Of P rows it makes (P - 1) stride + dilation (KH - 1) + 1 - low - high + output_padding, as PyTorch and ONNX do.

    Args:
        features: F, the number of output channels.
        kernel_size: (KH, KW), or one number per spatial axis.
        stride, dilation: one number, or one per spatial axis.
        padding: "SAME" (P * stride rows: what is too much is cut on both sides, the odd row at the end, as by ONNX's SAME_UPPER, Keras
            and `jax.lax.conv_transpose`; what is missing is zeros at the end), "SAME_LOWER" (the odd row at the beginning), "VALID"
            (all rows), a number of rows to cut on all sides, or (low, high) for each spatial axis.
        output_padding: rows more at the end, one number, or one per spatial axis; each below its stride or dilation.
            "SAME" has none, its size is P * stride.
        groups: G, into which the input and the output channels are divided, in their order; each output channel sees
            only the C / G input channels of its own group.
        bias: whether to add b.
        algorithm: one of `funcnn.convolution`, which supports the convolution that is transposed; each computes the same.
        w_init, b_init: `jax.nn.initializers` for w (KH, KW, F / G, C), which is the kernel of the convolution that is transposed, and
            b (F,). None is He's normal for the C KH KW / (G SH SW) inputs that an output sees on average.

    Returns:
        A layer from (N, P, Q, C) to (N, H, W, F) with params {"w", "b"}, or {"w"} without bias; it keeps x and w.

    Raises:
        ValueError: an option out of range; no output left; wrong channels; a geometry that `algorithm` does not support.

    Source: Dumoulin & Visin 2016, arXiv:1603.07285.
    """
    name = "conv_transpose"
    features, groups = check_option(name, "features", features), check_option(name, "groups", groups)
    if features % groups:
        raise ValueError(f"{name}: expected features to be a multiple of the {groups} groups, got {features}")
    check_flag(name, "bias", bias)
    if not isinstance(algorithm, ConvAlgorithm) or not algorithm.input_gradient or not algorithm.weight_gradient:
        raise ValueError(f"{name}: expected algorithm to be one of fn.convolution, such as fn.convolution.im2col, got {algorithm!r}")
    to_input, to_weight = algorithm.input_gradient, algorithm.weight_gradient
    options = window(name, kernel_size, stride, padding, dilation)
    more = _checked_output_padding(options, output_padding)
    spatial, inputs = options.letters, "C" if groups == 1 else f"C, a multiple of {groups}"
    entries = {"w": (*options.sizes, features // groups, inputs)} | ({"b": (features,)} if bias else {})
    drawn = w_init or variance_scaling(2.0 * groups * prod(options.strides), "fan_in", "truncated_normal", in_axis=-1, out_axis=-2)

    def geometry_of(sizes):
        geometry = options.transposed(sizes, more)._replace(groups=groups)
        if not algorithm.supports(geometry):
            raise ValueError(
                f"{name}: expected a geometry that algorithm {algorithm.name!r} supports, got {geometry}; use algorithm=fn.convolution.auto"
            )
        return geometry

    def check_channels(what, shape):
        if shape[-1] % groups:
            raise ValueError(f"{name}: expected input channels in a multiple of the {groups} groups, got {what} {tuple(shape)}")

    def init(key, in_shape):
        check_in_shape(name, in_shape, (*spatial, "C"), "it is the shape of one example, channels last")
        check_channels("in_shape", in_shape)
        w = drawn(key, (*options.sizes, features // groups, in_shape[-1]))
        return {"w": w, "b": b_init(fold_in(key, 1), (features,))} if bias else {"w": w}

    def forward(params, x):
        """y[h] = sum over (k, p) with p * stride + k * dilation - low = h of x[p] w[k]^T: the input gradient of `conv`."""
        check_params(name, params, entries)
        check_channels("params['w'] of shape", params["w"].shape)
        check_array(name, "x", x, ("N", *spatial, params["w"].shape[-1]))
        y = to_input(params["w"], x, geometry_of(x.shape[1:-1]))  # (N, H, W, F)
        return (y + aligned(params["b"], y) if bias else y), (x, params["w"])

    def backward(residuals, dy):
        """dx is `conv`'s forward pass of dy; dw its weight gradient, whose input is dy and whose output's cotangent x; db = sum dy."""
        x, w = residuals
        geometry = geometry_of(x.shape[1:-1])
        check_array(name, "dy", dy, (x.shape[0], *(a.size for a in geometry.axes), features))
        dx, _ = algorithm.forward(dy, w, geometry)  # (N, P, Q, C)
        (later,) = after(dx, dy) if features >= MANY else (dy,)  # of few channels both passes read the same columns
        return {"w": to_weight(later, x, geometry)} | ({"b": sum_rows(dy)} if bias else {}), dx

    def work(params, x):
        geometry = geometry_of(x.shape[1:-1])
        return work_of(algorithm, x, params["w"], geometry, bias * prod(a.size for a in geometry.axes) * features, transposed=True)

    return stateless(name, forward, backward, init)._replace(work=work)


def _checked_output_padding(options: Window, output_padding: int | Sequence[int]) -> tuple[int, ...]:
    """It, one per axis; raise where it is out of range."""
    name, what = options.name, "output_padding"
    checked = per_axis(name, what, output_padding, len(options.sizes), 0)
    if any(v >= max(s, d) for v, s, d in zip(checked, options.strides, options.dilations, strict=True)):
        raise ValueError(
            f"{name}: expected every {what} below its stride or dilation, got {output_padding!r} "
            f"with strides {options.strides} and dilations {options.dilations}"
        )
    if any(checked) and options.padding in ("SAME", "SAME_LOWER"):
        raise ValueError(f"{name}: expected {what} 0 with padding {options.padding!r}, whose size is in * stride, got {output_padding!r}")
    return checked
