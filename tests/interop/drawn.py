"""Networks that nobody chose: layers, options and shapes from a seed."""

import jax
import numpy as np

import funcnn as fn
from funcnn.combinators import out_shape

KEY = jax.random.key(3)
ACTIVATIONS = [
    fn.relu, fn.sigmoid, fn.log_sigmoid, fn.tanh, fn.softsign, fn.hard_tanh, fn.hard_sigmoid, fn.relu6, fn.hard_swish, fn.selu, fn.softplus,
    fn.silu, fn.mish, fn.gelu, fn.gelu_tanh, fn.softmax, fn.log_softmax, fn.identity, fn.flatten, fn.global_avg_pool, fn.global_max_pool,
]  # fmt: skip


def layer(rng, shape, depth=0):
    """A layer that may fit examples of that shape."""
    rank, c = len(shape) - 1, shape[-1]

    def some(*values):
        return values[rng.integers(len(values))]

    def each(low, high):
        return tuple(int(n) for n in rng.integers(low, high, rank))

    def pairs(high):
        return tuple((int(a), int(b)) for a, b in rng.integers(0, high, (rank, 2)))

    def windowed():
        return {
            "stride": each(1, 4),
            "padding": some("SAME", "VALID", "SAME_LOWER", int(rng.integers(3)), pairs(4)),
            "dilation": each(1, 3),
        }

    groups = some(1, 1, *(g for g in (2, 3, c) if c % g == 0))
    pool = {**windowed(), "ceil_mode": bool(rng.integers(2))}
    inner = [] if depth > 1 else [layer(rng, shape, depth + 1) for _ in range(rng.integers(1, 4))]
    makers = [
        lambda: fn.conv(groups * int(rng.integers(1, 4)), each(1, 5), groups=groups, bias=bool(rng.integers(2)), **windowed()),
        lambda: fn.conv(3, each(1, 4), padding=some("REFLECT", "EDGE", "CIRCULAR"), stride=each(1, 3)),
        lambda: fn.conv_transpose(groups * int(rng.integers(1, 4)), each(1, 5), groups=groups, bias=bool(rng.integers(2)), **windowed()),
        lambda: fn.conv_transpose(2, each(1, 4), stride=3, output_padding=each(0, 3), padding=pairs(2), dilation=each(1, 4)),
        lambda: fn.max_pool(each(1, 4), ties=some("first", "split"), **pool),
        lambda: fn.avg_pool(each(1, 4), count_include_pad=bool(rng.integers(2)), **pool),
        lambda: fn.lp_pool(each(1, 4), p=some(1, 2, 3, 1.5), **pool),
        lambda: some(fn.adaptive_avg_pool, fn.adaptive_max_pool)(each(1, 6)),
        lambda: fn.global_lp_pool(p=some(1, 2, 2.5)),
        lambda: fn.pad(pairs(3), mode=some("reflect", "edge", "circular", "symmetric")),
        lambda: fn.pad(pairs(4), value=float(rng.normal())),
        lambda: fn.crop(pairs(3)),
        lambda: fn.upsample(some(1, 2, 3, 1.5, 0.6)),
        lambda: fn.upsample(size=each(1, 8), method=some("nearest", "linear")),
        lambda: fn.upsample(some(2, 3, 1.3), method="linear", align_corners=bool(rng.integers(2))),
        lambda: some(fn.pixel_shuffle, fn.pixel_unshuffle)(2, order=some("CRD", "DCR")),
        lambda: fn.dense(int(rng.integers(1, 7))),
        lambda: some(fn.bias, fn.scale)(per=some("channel", "position", "entry")),
        lambda: fn.reshape(*rng.permutation(shape).tolist()),
        lambda: fn.reshape(-1, c),
        lambda: fn.transpose(*rng.permutation(rank + 1).tolist()),
        lambda: fn.batch_norm(epsilon=float(rng.uniform(1e-5, 1))),
        lambda: fn.layer_norm(axes=int(rng.integers(1, rank + 2)), scale=bool(rng.integers(2)), shift=bool(rng.integers(2)), epsilon=0.01),
        lambda: fn.rms_norm(axes=int(rng.integers(1, rank + 2)), epsilon=0.01),
        lambda: fn.group_norm(groups, scale=bool(rng.integers(2)), shift=bool(rng.integers(2)), epsilon=0.01),
        lambda: fn.instance_norm(epsilon=0.01),
        lambda: fn.local_response_norm(int(rng.integers(1, 6)), alpha=0.3),
        lambda: fn.prelu(shared=bool(rng.integers(2))),
        lambda: some(fn.elu, fn.celu)(alpha=float(rng.uniform(0.5, 2))),
        lambda: fn.leaky_relu(slope=float(rng.normal())),
        lambda: some(fn.dropout, fn.spatial_dropout, fn.drop_path)(0.3),
        lambda: fn.serial(*inner),
        lambda: fn.residual(*inner),
        lambda: fn.residual(*inner, shortcut=fn.conv(c, (1,) * rank)),
        lambda: fn.parallel(fn.identity, *inner, merge=some("sum", "concatenate", "multiply")),
        lambda: fn.parallel(*inner, fn.conv(c, (1,) * rank), merge="concatenate"),
        lambda: fn.repeat(fn.serial(*inner), int(rng.integers(1, 4))),
        lambda: fn.named({f"part{i}": part for i, part in enumerate(inner)}),
        lambda: fn.recompute(fn.serial(*inner)),
        lambda: fn.with_manual_vjp(fn.serial(*inner)),
        lambda: fn.when_training(fn.dropout(0.5)),
        *(lambda a=a: a for a in ACTIVATIONS[:: len(ACTIVATIONS) // 4]),
        lambda: some(*ACTIVATIONS),
    ]
    while True:
        try:
            made = makers[rng.integers(len(makers))]()
            shape_after(made, shape)
            return made
        except (ValueError, TypeError):
            continue


def shape_after(made, shape):
    return out_shape(made, *jax.eval_shape(lambda key: made.init(key, shape), KEY), shape)


def network(seed, most=6):
    """(net, params, state, in_shape): random params and state in float32 on NumPy, a variance positive."""
    rng = np.random.default_rng(seed)
    rank = int(rng.integers(1, 4))
    shape = in_shape = (*(int(n) for n in rng.integers(2, 9, rank)), int(rng.integers(1, 7)))
    layers = []
    for _ in range(rng.integers(2, most + 1)):
        layers.append(layer(rng, shape))
        shape = shape_after(layers[-1], shape)
    net = fn.serial(*layers)
    params, state = jax.eval_shape(lambda key: net.init(key, in_shape), KEY)

    def drawn(a):
        some = rng.standard_normal(a.shape).astype("float32")
        return 1 + some / 5 if a.ndim < 2 else some / np.sqrt(np.float32(a.size / a.shape[-1]))

    return net, jax.tree.map(drawn, params), jax.tree.map(lambda a: abs(drawn(a)) + np.float32(0.2), state), in_shape
