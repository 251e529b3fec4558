"""The layer `conv`. N H W C in, O output channels, KH KW kernel, P Q output rows and columns."""

from collections.abc import Sequence
from math import prod
from typing import Any, Literal

from jax.nn.initializers import Initializer, he_normal, zeros
from jax.random import fold_in

from funcnn.arguments import check_array, check_flag, check_in_shape, check_option, check_params
from funcnn.arrays import aligned
from funcnn.convolution.algorithm import ConvAlgorithm
from funcnn.convolution.auto import auto
from funcnn.convolution.geometry import Padding, Window, window
from funcnn.convolution.work import work as work_of
from funcnn.cpu import sum_rows
from funcnn.layer import Layer, constructor, stateless
from funcnn.padding import Mode, Widths, extended, folded


@constructor
def conv(
    features: int,
    kernel_size: Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding | Literal["REFLECT", "EDGE", "CIRCULAR", "CAUSAL"] = "SAME",
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
            "VALID" (none), a number of rows for all sides, or (low, high) for each spatial axis. "REFLECT", "EDGE" and "CIRCULAR"
            (P = ceil(H / stride)) add rows of x itself, as `pad` does: those of "SAME" at stride 1, whatever the stride; for other
            amounts put `pad` before a "VALID" convolution. "CAUSAL" (one axis): dilation (KH - 1) zeros in front. All as in Flax.
        groups: G, into which the input and the output channels are divided, in their order; each output channel sees
            only the C / G input channels of its own group. G = C is the depthwise convolution.
        bias: whether to add b.
        algorithm: one of `funcnn.convolution`; each computes the same.
        w_init, b_init: `jax.nn.initializers` for w (KH, KW, C / G, O) and b (O,).

    Returns:
        A layer from (N, H, W, C) to (N, P, Q, O) with params {"w", "b"}, or {"w"} without bias; it keeps what its
        algorithm keeps, at least x (with the rows that a mode adds) and w.

    Raises:
        ValueError: an option out of range; a kernel larger than the padded input; wrong channels; a geometry that
            `algorithm` does not support.
    """
    features, groups = check_option("conv", "features", features), check_option("conv", "groups", groups)
    if features % groups:
        raise ValueError(f"conv: expected features to be a multiple of the {groups} groups, got {features}")
    check_flag("conv", "bias", bias)
    if not isinstance(algorithm, ConvAlgorithm):
        raise ValueError(f"conv: expected algorithm to be one of fn.convolution, such as fn.convolution.im2col, got {algorithm!r}")
    options, mode, around = options_of(kernel_size, stride, padding, dilation)
    spatial, seen = options.letters, "C" if groups == 1 else f"C / {groups}"
    entries = {"w": (*options.sizes, seen, features)} | ({"b": (features,)} if bias else {})

    def geometry_of(x, around=around):
        sizes = [n + low + high for n, (low, high) in zip(x.shape[1:-1], around, strict=True)] if around else x.shape[1:-1]
        geometry = options.over(sizes)._replace(groups=groups)
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
        geometry = geometry_of(x)
        seen = extended("conv", x, mode, around) if around else x
        y, residuals = algorithm.forward(seen, params["w"], geometry)  # (N, P, Q, O)
        return (y + aligned(params["b"], y) if bias else y), residuals

    def backward(residuals, dy):
        """dw[kh, kw] = sum_{n, p, q} x[n, p * SH + kh, q * SW + kw]^T dy[n, p, q],  db = sum_{n, p, q} dy,  dx: see the algorithm."""
        geometry = geometry_of(residuals[0], ())
        check_array("conv", "dy", dy, (residuals[0].shape[0], *(a.out for a in geometry.axes), features))
        dx, dw = algorithm.backward(residuals, dy, geometry)
        return {"w": dw} | ({"b": sum_rows(dy)} if bias else {}), folded(dx, mode, around) if around else dx

    def work(params, x):
        geometry = geometry_of(x)
        return work_of(algorithm, x, params["w"], geometry, bias * prod(a.out for a in geometry.axes) * features)

    return stateless("conv", forward, backward, init)._replace(work=work)


MODES: dict[str, Mode] = {"REFLECT": "reflect", "EDGE": "edge", "CIRCULAR": "circular"}
"""Padding by rows of x itself."""


def options_of(
    kernel_size: Sequence[int], stride: int | Sequence[int], padding: Any, dilation: int | Sequence[int]
) -> tuple[Window, Mode, Widths]:
    """The checked options; and a mode, and the rows that it puts around x before the windows are laid, () where no mode does."""
    if not isinstance(padding, str) or padding not in (*MODES, "CAUSAL"):
        return window("conv", kernel_size, stride, padding, dilation), "edge", ()
    options = window("conv", kernel_size, stride, "VALID", dilation)
    rows = [(k - 1) * d for k, d in zip(options.sizes, options.dilations, strict=True)]
    if padding != "CAUSAL":
        return options, MODES[padding], tuple((n // 2, n - n // 2) for n in rows)
    if len(rows) > 1:
        raise ValueError(f'conv: expected padding "CAUSAL" over one spatial axis, got it over {len(rows)}')
    return options._replace(padding=((rows[0], 0),)), "edge", ()
