"""Flax's networks, as usual programs write them: linen with names by position, nnx with attributes."""

from functools import partial

import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

norm = partial(linen.BatchNorm, use_running_average=True)
conv3x3 = partial(linen.Conv, kernel_size=(3, 3), use_bias=False)


class Block(linen.Module):
    features: int
    stride: int = 1

    @linen.compact
    def __call__(self, x):
        y = linen.relu(norm()(conv3x3(self.features, strides=self.stride, padding=1)(x)))
        y = norm()(conv3x3(self.features)(y))
        if self.stride > 1:
            x = norm(name="norm_shortcut")(linen.Conv(self.features, (1, 1), self.stride, use_bias=False, name="conv_shortcut")(x))
        return linen.relu(x + y)


class ResNet18(linen.Module):
    classes: int
    width: int

    @linen.compact
    def __call__(self, x):
        x = linen.relu(norm(name="bn_init")(linen.Conv(self.width, (7, 7), 2, padding=3, use_bias=False, name="conv_init")(x)))
        x = linen.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for times, stride in ((1, 1), (1, 1), (2, 2), (2, 1), (4, 2), (4, 1), (8, 2), (8, 1)):
            x = Block(times * self.width, stride)(x)
        return linen.Dense(self.classes)(x.mean((1, 2)))


class LeNet5(linen.Module):
    classes: int

    @linen.compact
    def __call__(self, x):
        x = linen.avg_pool(jnp.tanh(linen.Conv(6, (5, 5))(x)), (2, 2), (2, 2))
        x = linen.avg_pool(jnp.tanh(linen.Conv(16, (5, 5), padding="VALID")(x)), (2, 2), (2, 2))
        x = jnp.tanh(linen.Dense(84)(jnp.tanh(linen.Dense(120)(x.reshape(len(x), -1)))))
        return linen.Dense(self.classes)(x)


class VGG11(linen.Module):
    classes: int
    width: int

    @linen.compact
    def __call__(self, x):
        for times, count in ((1, 1), (2, 1), (4, 2), (8, 2), (8, 2)):
            for _ in range(count):
                x = linen.relu(norm()(conv3x3(times * self.width)(x)))
            x = linen.max_pool(x, (2, 2), (2, 2))
        return linen.Dense(self.classes)(x.reshape(len(x), -1))


class AllConvolutional(linen.Module):
    classes: int
    width: int

    @linen.compact
    def __call__(self, x):
        for times, stride in ((1, 1), (1, 1), (1, 2), (2, 1), (2, 1), (2, 2), (2, 1)):
            x = linen.relu(linen.Conv(times * self.width, (3, 3), stride)(x))
        x = linen.relu(linen.Conv(2 * self.width, (1, 1))(x))
        return linen.Conv(self.classes, (1, 1))(x).mean((1, 2))


class MobileNet(linen.Module):
    classes: int
    width: int

    @linen.compact
    def __call__(self, x):
        def normalized(conv, x):
            return linen.hard_swish(norm()(conv(x)))

        x = normalized(conv3x3(self.width), x)
        for seen, made, stride in ((1, 2, 1), (2, 4, 2), (4, 4, 1), (4, 8, 2), (8, 8, 1)):
            c = seen * self.width
            x = normalized(conv3x3(c, strides=stride, padding=1, feature_group_count=c), x)
            gate = linen.Dense(c)(linen.relu(linen.Dense(max(c // 4, 1))(x.mean((1, 2)))))
            x = x * linen.hard_sigmoid(gate)[:, None, None]
            x = normalized(linen.Conv(made * self.width, (1, 1), use_bias=False), x)
        return linen.Dense(self.classes)(x.mean((1, 2)))


class UNet(linen.Module):
    classes: int
    width: int
    depth: int
    transpose_kernel: bool = False

    @linen.compact
    def __call__(self, x):
        def twice(features, x):
            for _ in range(2):
                x = linen.relu(norm()(conv3x3(features)(x)))
            return x

        kept = []
        for i in range(self.depth):
            kept.append(twice(2**i * self.width, x))
            x = linen.max_pool(kept[-1], (2, 2), (2, 2))
        x = twice(2**self.depth * self.width, x)
        for i in reversed(range(self.depth)):
            features = 2**i * self.width
            x = linen.ConvTranspose(features, (2, 2), (2, 2), transpose_kernel=self.transpose_kernel)(x)
            x = twice(features, jnp.concatenate([kept[i], x], -1))
        return linen.Conv(self.classes, (1, 1))(x)


class ConvNeXt(linen.Module):
    classes: int
    width: int
    depths: tuple[int, ...]

    @linen.compact
    def __call__(self, x):
        norm = partial(linen.LayerNorm, epsilon=1e-5)
        x = norm()(linen.Conv(self.width, (2, 2), (2, 2))(x))
        for stage, depth in enumerate(self.depths):
            c = 2**stage * self.width
            x = linen.Conv(c, (2, 2), (2, 2))(norm()(x)) if stage else x
            for _ in range(depth):
                y = norm()(linen.Conv(c, (7, 7), feature_group_count=c)(x))
                x = x + linen.Dense(c)(linen.gelu(linen.Dense(4 * c)(y), approximate=False))
        return linen.Dense(self.classes)(norm()(x.mean((1, 2))))


class Small(nnx.Module):
    """nnx: transposed and depthwise convolutions, batch norms, many layers in a list, PReLU, and keys of random numbers."""

    def __init__(self, rngs):
        self.stem = nnx.Conv(3, 6, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(6, use_running_average=True, rngs=rngs)
        self.depthwise = nnx.Conv(6, 6, (3, 3), feature_group_count=6, rngs=rngs)
        self.up = nnx.ConvTranspose(6, 6, (3, 2), (2, 1), padding="VALID", rngs=rngs)
        self.act, self.drop = nnx.PReLU(), nnx.Dropout(0.5, deterministic=True, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(6, 6, rngs=rngs) for _ in range(12)])
        self.head = nnx.Linear(6, 2, rngs=rngs)

    def __call__(self, x):
        x = self.act(self.up(self.depthwise(self.norm(self.stem(x)))))
        x = self.drop(x.mean((1, 2)))
        for layer in self.layers:
            x = x + jnp.tanh(layer(x))
        return self.head(x)


def randomized(tree, seed=0):
    """Random parameters and statistics; the order of the dicts stays."""
    rng = np.random.default_rng(seed)  # of JAX's own numbers every shape would be compiled

    def draw(name, a):
        if isinstance(a, dict):
            return {key: draw(key, value) for key, value in a.items()}
        if not jnp.issubdtype(a.dtype, jnp.inexact):
            return a
        size = (2 / (a.size / a.shape[-1])) ** 0.5 if a.ndim > 1 else 0.3
        numbers = rng.random(a.shape) + 0.5 if name == "var" else rng.standard_normal(a.shape) * size + (a.ndim < 2) * 0.5
        return jnp.asarray(numbers, jnp.result_type(float))

    return draw("", tree)
