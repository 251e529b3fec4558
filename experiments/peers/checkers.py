"""Other tools that check gradients, each as people use it: `tool(layer, params, state, x, key) -> whether it calls the gradient wrong`.

None where a tool cannot check such a layer. All look at training mode, at one random point.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

import funcnn as fn
from funcnn.arrays import Array, PyTree

Tool = Callable[[fn.Layer, PyTree, PyTree, Array, Array], bool | None]


def jax_reverse(layer: fn.Layer, params: PyTree, state: PyTree, x: Array, key: Array) -> bool | None:
    """`jax.test_util.check_grads`, reverse mode, on a custom_vjp, in float32 as JAX is by default."""
    function = fn.with_manual_vjp(layer)
    return _refused(lambda p, x: function.apply(p, state, x, key=key, train=True)[0], params, x, "rev")


def jax_forward(layer: fn.Layer, params: PyTree, state: PyTree, x: Array, key: Array) -> bool | None:
    """The same in forward mode, on a custom_jvp whose rule is the transpose of `backward`; None where JAX cannot transpose that."""

    @jax.custom_jvp
    def function(params, x):
        return layer.apply(params, state, x, key=key, train=True)[0]

    @function.defjvp
    def _(primals, tangents):
        y, _, residuals = layer.forward(primals[0], state, primals[1], key=key, train=True)
        return y, jax.linear_transpose(lambda dy: layer.backward(residuals, dy), y)(tangents)[0]

    return _refused(function, params, x, "fwd")


def _refused(function: Callable, params: PyTree, x: Array, mode: str) -> bool | None:
    arguments = jax.tree.map(lambda a: jnp.asarray(a, "float32"), (params, x))
    try:
        check_grads(function, arguments, order=1, modes=[mode])
    except AssertionError:
        return True
    except (NotImplementedError, TypeError, ValueError):
        return None
    return False


def torch_slow(layer: fn.Layer, params: PyTree, state: PyTree, x: Array, key: Array) -> bool | None:
    """`torch.autograd.gradcheck` in float64: every entry of the Jacobian."""
    return _gradcheck(layer, params, state, x, key, fast=False)


def torch_fast(layer: fn.Layer, params: PyTree, state: PyTree, x: Array, key: Array) -> bool | None:
    """The same with `fast_mode=True`: along one random direction."""
    return _gradcheck(layer, params, state, x, key, fast=True)


def _gradcheck(layer: fn.Layer, params: PyTree, state: PyTree, x: Array, key: Array, fast: bool) -> bool | None:
    import torch

    leaves, tree = jax.tree.flatten((params, x))
    if not fast and sum(leaf.size for leaf in leaves) > 100_000:
        return None  # a Jacobian of that size does not fit into memory

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            p, x = jax.tree.unflatten(tree, [t.detach().numpy() for t in inputs])
            y, _, ctx.residuals = layer.forward(p, state, x, key=key, train=True)
            return torch.from_numpy(np.array(y))

        @staticmethod
        def backward(ctx, dy):
            grads = jax.tree.leaves(layer.backward(ctx.residuals, dy.numpy()))
            return tuple(torch.from_numpy(np.array(g)) for g in grads)

    inputs = [torch.from_numpy(np.array(leaf)).requires_grad_() for leaf in leaves]
    try:
        return not torch.autograd.gradcheck(Function.apply, inputs, fast_mode=fast, raise_exception=False)
    except RuntimeError as error:
        return True if "invalid gradient" in str(error) else None  # a shape that does not fit; anything else says nothing


def sampled(layer: fn.Layer, params: PyTree, state: PyTree, x: Array, key: Array) -> bool | None:
    """As CS231n teaches it: ten random entries of each leaf by central differences, wrong from a relative error of 1e-4 on."""
    rng = np.random.default_rng(0)
    leaves, tree = jax.tree.flatten((params, x))
    y, _, residuals = layer.forward(params, state, x, key=key, train=True)
    dy = np.asarray(rng.standard_normal(np.shape(y)))
    for i, (leaf, g) in enumerate(zip(leaves, jax.tree.leaves(layer.backward(residuals, dy)), strict=True)):
        if g.shape != leaf.shape:
            return True
        for at in rng.integers(leaf.size, size=10):
            step = np.zeros(leaf.size)
            step[at] = 1e-5

            def loss(value, i=i):
                p, x = jax.tree.unflatten(tree, [*leaves[:i], value, *leaves[i + 1 :]])
                return float((layer.apply(p, state, x, key=key, train=True)[0] * dy).sum())

            numeric = (loss(leaf + step.reshape(leaf.shape)) - loss(leaf - step.reshape(leaf.shape))) / 2e-5
            if abs(numeric - g.flat[at]) > 1e-4 * max(1e-8, abs(numeric) + abs(g.flat[at])):
                return True
    return False


def tools() -> dict[str, Tool]:
    """Those that are installed."""
    found: dict[str, Tool] = {"check_grads rev": jax_reverse, "check_grads fwd": jax_forward}
    try:
        import torch  # noqa: F401

        found |= {"gradcheck slow": torch_slow, "gradcheck fast": torch_fast}
    except ModuleNotFoundError:
        pass
    return found | {"CS231n sampled": sampled}
