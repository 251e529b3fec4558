"""Weights from Flax and back: six networks in linen and one in nnx give its outputs, and the same weights again."""

from functools import cache

import jax
import numpy as np
import pytest

import funcnn as fn
from funcnn import interop, networks

pytest.importorskip("flax")
nets = pytest.importorskip("tests.interop.flax_nets")

pytestmark = pytest.mark.peers

NETWORKS = {
    "resnet18": (networks.resnet18(5, width=4), nets.ResNet18(5, 4), (64, 67, 3)),
    "lenet5": (networks.lenet5(7), nets.LeNet5(7), (28, 26, 1)),
    "vgg11": (networks.vgg11(3, width=3), nets.VGG11(3, 3), (64, 96, 2)),
    "all_convolutional": (networks.all_convolutional(4, width=5), nets.AllConvolutional(4, 5), (11, 8, 3)),
    "mobilenet": (networks.mobilenet(3, width=4), nets.MobileNet(3, 4), (11, 8, 3)),
    "unet": (networks.unet(3, width=4, depth=2), nets.UNet(3, 4, 2), (8, 12, 1)),
    "unet, transpose_kernel": (networks.unet(3, width=4, depth=2), nets.UNet(3, 4, 2, True), (8, 12, 1)),
    "convnext": (networks.convnext(3, width=6, depths=(2, 1, 3)), nets.ConvNeXt(3, 6, (2, 1, 3)), (16, 24, 3)),
}


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def outputs(net, params, state, x):
    return np.asarray(net.apply(*map(fn.to_numpy, (params, state)), x)[0])


def close(y, theirs):
    assert np.abs(theirs).max() > 0.01
    np.testing.assert_allclose(y, theirs, rtol=1e-10, atol=1e-10 * np.abs(theirs).max())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.usefixtures("x64", "compiled_quickly")
def test_networks_compute_the_same(name):
    net, model, in_shape = NETWORKS[name]
    options = {"transpose_kernel": getattr(model, "transpose_kernel", False)}
    x = np.random.default_rng(0).standard_normal((2, *in_shape))
    order, shapes = traced(model, in_shape)
    variables = nets.randomized(shapes)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        theirs = np.asarray(jax.jit(model.apply)(variables, x))
    params, state = interop.params_from_flax(net, variables, in_shape, names=order, **options)
    close(outputs(net, params, state, x), theirs)
    same(interop.params_to_flax(net, params, state, in_shape, like=variables, names=order, **options), variables)


SHORTCUTS = {f"Block_{i}.norm_shortcut": f"{i + 2}.0.1.1" for i in (2, 4, 6)}


@pytest.mark.parametrize(
    ("name", "names"),
    [("resnet18", {"bn_init": "0.1"} | SHORTCUTS), ("vgg11", None), ("mobilenet", None), ("unet", None), ("convnext", None)],
)
def test_sorted_dicts_are_matched_by_numbers_or_not_at_all(name, names):
    """As JAX leaves them after any step of training; a fresh one has the order in which it runs, and is matched by that."""
    net, model, in_shape = NETWORKS[name]
    order, shapes = traced(model, in_shape)
    sorted_ = nets.randomized(shapes)
    expected = interop.params_from_flax(net, sorted_, in_shape, names=order)
    if names:
        with pytest.raises(ValueError, match=r"^params_from_flax: expected to know which of .*'bn_init'.*; pass names="):
            interop.params_from_flax(net, sorted_, in_shape)
    same(interop.params_from_flax(net, sorted_, in_shape, names=names), expected)
    ranks = [path.split(".") for path in order]

    def by_run(tree, depth=0, path=()):
        if not all(isinstance(value, dict) for value in tree.values()):
            return tree
        first = {key: next(i for i, r in enumerate(ranks) if r[: depth + 1] == [*path, key]) for key in tree}
        return {key: by_run(tree[key], depth + 1, (*path, key)) for key in sorted(tree, key=first.get)}

    unsorted = {collection: by_run(tree) for collection, tree in sorted_.items()}
    same(interop.params_from_flax(net, unsorted, in_shape), expected)


@pytest.mark.usefixtures("x64", "compiled_quickly")
def test_nnx():
    """Its pure dict is sorted, numbers its lists, and holds keys of random numbers, which stay as they are."""
    from flax import nnx

    model, in_shape = nets.Small(nnx.Rngs(0)), (5, 4, 3)
    graph, state_of = nnx.split(model)
    pure = nets.randomized(nnx.to_pure_dict(state_of))
    block = fn.residual(fn.dense(6), fn.tanh)
    net = fn.serial(
        fn.conv(6, (3, 3)), fn.batch_norm(), fn.conv(6, (3, 3), groups=6),
        fn.conv_transpose(6, (3, 2), stride=(2, 1), padding="VALID"), fn.prelu(shared=True),
        fn.global_avg_pool, fn.repeat(block, 12), fn.dense(2),
    )  # fmt: skip
    params, state = interop.params_from_flax(net, pure, in_shape)
    x = np.random.default_rng(0).standard_normal((2, *in_shape))
    nnx.replace_by_pure_dict(state_of, pure)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        theirs = np.asarray(nnx.merge(graph, state_of)(x))
    close(outputs(net, params, state, x), theirs)
    written = interop.params_to_flax(net, params, state, in_shape, like=pure)
    assert written["drop"] is not pure["drop"]
    assert written["drop"]["rngs"]["key"] is pure["drop"]["rngs"]["key"]
    jax.tree.map(np.testing.assert_array_equal, *({k: v for k, v in t.items() if k != "drop"} for t in (written, pure)))


@cache
def traced(model, in_shape):
    """The names of the layers in the order in which they run, of a block the shortcut last; and the variables' shapes, sorted by JAX."""
    from flax import linen

    names = []

    def note(next_method, args, kwargs, context):
        y = next_method(*args, **kwargs)
        kinds = linen.Conv, linen.ConvTranspose, linen.Dense, linen.BatchNorm, linen.LayerNorm
        names.extend([".".join(context.module.path)] if context.method_name == "__call__" and isinstance(context.module, kinds) else [])
        return y

    x = np.zeros((1, *in_shape), "float32")
    with linen.intercept_methods(note), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x))
    return names, shapes
