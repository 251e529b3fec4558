"""The table: what ONNX calls the layers. A kind is a layer without options, or the function that makes those with some."""

from typing import Any

from funcnn import activations, linear, normalization, padding, rectifiers, resampling, stochastic
from funcnn.combinators import identity, when_training
from funcnn.convolution.layers import conv
from funcnn.convolution.transposed import conv_transpose
from funcnn.interop.onnx_file import pointwise, shapes, windows
from funcnn.interop.onnx_file.pointwise import between, one, one_of, over_channels, unchanged
from funcnn.interop.onnx_file.shapes import Emit
from funcnn.layer import Layer
from funcnn.pooling import adaptive, average, maximum, whole


def kind(layer: Any) -> Any:
    """What `kind_of` finds: of a layer without options its forward pass, else the function that makes it."""
    return layer.forward if isinstance(layer, Layer) else layer.__wrapped__


TABLE: dict[Any, Emit] = {
    kind(layer): emit
    for layer, emit in (
        (conv, windows.conv),
        (conv_transpose, windows.conv_transpose),
        (maximum.max_pool, windows.max_pool),
        (average.avg_pool, windows.avg_pool),
        (average.lp_pool, windows.lp_pool),
        (adaptive.adaptive_avg_pool, windows.adaptive_avg_pool),
        (adaptive.adaptive_max_pool, windows.adaptive_max_pool),
        (whole.global_avg_pool, windows.global_avg_pool),
        (whole.global_max_pool, windows.global_max_pool),
        (whole.global_lp_pool, windows.global_lp_pool),
        (activations.relu, one("Relu")),
        (activations.sigmoid, one("Sigmoid")),
        (activations.log_sigmoid, pointwise.log_sigmoid),
        (activations.tanh, one("Tanh")),
        (activations.softsign, one("Softsign")),
        (activations.hard_tanh, between(-1, 1)),
        (activations.hard_sigmoid, one("HardSigmoid", alpha=1 / 6, beta=0.5)),
        (activations.softmax, over_channels("Softmax")),
        (activations.log_softmax, over_channels("LogSoftmax")),
        (rectifiers.relu6, between(0, 6)),
        (rectifiers.hard_swish, one("HardSwish")),
        (rectifiers.leaky_relu, one_of("LeakyRelu", alpha="slope")),
        (rectifiers.prelu, pointwise.prelu),
        (rectifiers.elu, one_of("Elu", alpha="alpha")),
        (rectifiers.celu, one_of("Celu", alpha="alpha")),
        (rectifiers.selu, one("Selu", alpha=1.6732632423543772, gamma=1.0507009873554805)),
        (rectifiers.softplus, one("Softplus")),
        (rectifiers.silu, pointwise.silu),
        (rectifiers.mish, one("Mish")),
        (rectifiers.gelu, one("Gelu")),
        (rectifiers.gelu_tanh, one("Gelu", approximate="tanh")),
        (linear.dense, pointwise.dense),
        (linear.bias, pointwise.bias),
        (linear.scale, pointwise.scale),
        (linear.flatten, shapes.flatten),
        (linear.reshape, shapes.reshape),
        (linear.transpose, shapes.transpose),
        (padding.pad, shapes.pad),
        (padding.crop, shapes.crop),
        (resampling.upsample, shapes.upsample),
        (resampling.pixel_shuffle, shapes.pixel_shuffle),
        (resampling.pixel_unshuffle, shapes.pixel_unshuffle),
        (normalization.batch_norm, pointwise.batch_norm),
        (normalization.layer_norm, pointwise.layer_norm),
        (normalization.rms_norm, pointwise.rms_norm),
        (normalization.group_norm, pointwise.group_norm),
        (normalization.instance_norm, pointwise.instance_norm),
        (normalization.local_response_norm, pointwise.local_response_norm),
        *((layer, unchanged) for layer in (identity, when_training, stochastic.dropout, stochastic.spatial_dropout, stochastic.drop_path)),
    )
}
