"""Whole networks, a dozen lines each, to start from: read one, copy it, change it.

All take images (H, W, C) of any number of channels. `classes` is the number of outputs, `width` the channels of the first stage; the
defaults are those of the papers, where there is one.
"""

from functools import partial

from funcnn.activations import hard_sigmoid, relu, tanh
from funcnn.arguments import check_array
from funcnn.arrays import namespace
from funcnn.combinators import identity, parallel, repeat, residual, serial
from funcnn.convolution.layers import conv
from funcnn.convolution.transposed import conv_transpose
from funcnn.layer import Layer, constructor, stateless
from funcnn.linear import dense, flatten, reshape
from funcnn.normalization import batch_norm, layer_norm
from funcnn.pooling.average import avg_pool
from funcnn.pooling.maximum import max_pool
from funcnn.pooling.whole import global_avg_pool
from funcnn.rectifiers import gelu, hard_swish
from funcnn.stochastic import dropout

conv1x1, conv3x3 = partial(conv, kernel_size=(1, 1), bias=False), partial(conv, kernel_size=(3, 3), bias=False)


def normalized(convolution: Layer, activation: Layer = relu) -> Layer:
    """Convolution, batch norm, activation."""
    return serial(convolution, batch_norm(), activation)


@constructor
def lenet5(classes: int = 10) -> Layer:
    """LeNet-5 (LeCun et al. 1998) as it is taught, with plain means and all connections: 61,706 parameters for 28x28x1."""
    return serial(
        conv(6, (5, 5)), tanh, avg_pool((2, 2)),
        conv(16, (5, 5), padding="VALID"), tanh, avg_pool((2, 2)),
        flatten, dense(120), tanh, dense(84), tanh, dense(classes),
    )  # fmt: skip


@constructor
def vgg11(classes: int = 10, *, width: int = 64) -> Layer:
    """VGG-11 (Simonyan & Zisserman 2015, arXiv:1409.1556) with batch norm and one dense layer, for images from 32x32."""
    stages = (1, 1), (2, 1), (4, 2), (8, 2), (8, 2)  # times the width, convolutions
    features = ((*(normalized(conv3x3(times * width)) for _ in range(count)), max_pool((2, 2))) for times, count in stages)
    return serial(*(layer for stage in features for layer in stage), flatten, dense(classes))


@constructor
def all_convolutional(classes: int = 10, *, width: int = 96) -> Layer:
    """All-CNN-C (Springenberg et al. 2015, arXiv:1412.6806): strides in place of pools, 1x1 in place of dense layers."""
    stages = ((width, 1), (width, 1), (width, 2), (2 * width, 1), (2 * width, 1), (2 * width, 2), (2 * width, 1))
    layers = [layer for features, stride in stages for layer in (conv(features, (3, 3), stride=stride), relu)]
    return serial(dropout(0.2), *layers, conv(2 * width, (1, 1)), relu, conv(classes, (1, 1)), global_avg_pool)


@constructor
def resnet20(classes: int = 10, *, width: int = 16) -> Layer:
    """The residual network with 20 layers for 32x32 images (He et al. 2016, arXiv:1512.03385): 0.27 M parameters."""
    return _resnet_of_small_images(3, classes, width)


@constructor
def resnet56(classes: int = 10, *, width: int = 16) -> Layer:
    """The same with 56 layers, which compiles as fast: 0.85 M parameters."""
    return _resnet_of_small_images(9, classes, width)


def _resnet_of_small_images(blocks: int, classes: int, width: int) -> Layer:
    stages = (
        repeat(_block(width), blocks),
        _block(2 * width, 2, serial(avg_pool((1, 1), stride=2), _wider)), repeat(_block(2 * width), blocks - 1),
        _block(4 * width, 2, serial(avg_pool((1, 1), stride=2), _wider)), repeat(_block(4 * width), blocks - 1),
    )  # fmt: skip
    return serial(normalized(conv3x3(width)), *stages, global_avg_pool, dense(classes))


def _block(features: int, stride: int = 1, shortcut: Layer = identity) -> Layer:
    first, second = normalized(conv3x3(features, stride=stride, padding=1)), normalized(conv3x3(features), identity)
    return serial(residual(first, second, shortcut=shortcut), relu)


def _wider_forward(params, x):
    """y = x and as many channels of zeros behind: (N, H, W, 2 C)."""
    check_array("wider", "x", x, ("N", "...", "C"))
    return namespace(x).concatenate([x, namespace(x).zeros_like(x)], axis=-1), x[:0]


def _wider_backward(empty, dy):
    """dx = the first half of dy."""
    check_array("wider", "dy", dy, ("N", *empty.shape[1:-1], 2 * empty.shape[-1]))
    return (), dy[..., : empty.shape[-1]]


_wider = stateless("wider", _wider_forward, _wider_backward)


@constructor
def resnet18(classes: int = 1000, *, width: int = 64) -> Layer:
    """ResNet-18 of the same paper, for images from 64x64: 11,689,512 parameters for 1,000 classes."""

    def down(features: int) -> Layer:
        return _block(features, 2, normalized(conv1x1(features, stride=2), identity))

    stem = normalized(conv(width, (7, 7), stride=2, padding=3, bias=False)), max_pool((3, 3), stride=2, padding=1)
    later = ((down(times * width), _block(times * width)) for times in (2, 4, 8))
    blocks = (_block(width), _block(width), *(block for stage in later for block in stage))
    return serial(*stem, *blocks, global_avg_pool, dense(classes))


@constructor
def squeeze_and_excitation(features: int, *, ratio: int = 4) -> Layer:
    """x times a gate per channel, made of the means of all channels (Hu et al. 2018, arXiv:1709.01507); x has `features` channels."""
    gate = global_avg_pool, dense(max(features // ratio, 1)), relu, dense(features), hard_sigmoid, reshape(1, 1, features)
    return parallel(identity, serial(*gate), merge="multiply")


@constructor
def mobilenet(classes: int = 10, *, width: int = 32) -> Layer:
    """Depthwise separable convolutions with squeeze-and-excitation, after MobileNet v1 and v3 (arXiv:1704.04861, arXiv:1905.02244)."""

    def separable(seen: int, features: int, stride: int) -> Layer:
        depthwise = normalized(conv3x3(seen, stride=stride, padding=1, groups=seen), hard_swish)
        return serial(depthwise, squeeze_and_excitation(seen), normalized(conv1x1(features), hard_swish))

    stages = (1, 2, 1), (2, 4, 2), (4, 4, 1), (4, 8, 2), (8, 8, 1)  # times the width: seen, made; stride
    blocks = (separable(seen * width, made * width, stride) for seen, made, stride in stages)
    return serial(normalized(conv3x3(width), hard_swish), *blocks, global_avg_pool, dense(classes))


@constructor
def unet(classes: int = 2, *, width: int = 16, depth: int = 3) -> Layer:
    """A U-Net (Ronneberger et al. 2015, arXiv:1505.04597): a class for every pixel, (H, W, classes); H and W multiples of 2^depth."""

    def level(features: int, deeper: int) -> Layer:
        twice = serial(normalized(conv3x3(features)), normalized(conv3x3(features)))
        if not deeper:
            return twice
        below = serial(max_pool((2, 2)), level(2 * features, deeper - 1), conv_transpose(features, (2, 2), stride=2))
        return serial(twice, parallel(identity, below, merge="concatenate"), twice)

    return serial(level(width, depth), conv(classes, (1, 1)))


@constructor
def convnext(classes: int = 10, *, width: int = 32, depths: tuple[int, ...] = (2, 2, 2)) -> Layer:
    """Blocks of a 7x7 depthwise convolution, layer norm and two 1x1 convolutions around a GELU (Liu et al. 2022, arXiv:2201.03545)."""

    def block(features: int) -> Layer:
        depthwise = conv(features, (7, 7), groups=features)
        return residual(depthwise, layer_norm(), conv(4 * features, (1, 1)), gelu, conv(features, (1, 1)))

    layers = [conv(width, (2, 2), stride=2), layer_norm()]
    for stage, depth in enumerate(depths):
        features = 2**stage * width
        layers += [layer_norm(), conv(features, (2, 2), stride=2)] if stage else []
        layers.append(repeat(block(features), depth))
    return serial(*layers, global_avg_pool, layer_norm(), dense(classes))
