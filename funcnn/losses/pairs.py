"""What every loss is: a pair of the mean loss and its gradient."""

from collections.abc import Callable
from functools import wraps

import jax
import numpy as np

from funcnn.arguments import check_shape
from funcnn.arrays import Array, PyTree


def pair_of(loss: Callable, outputs: PyTree, targets: PyTree) -> tuple[Array, PyTree]:
    """`loss(outputs, targets)`, or raise unless it is a pair as all losses here are.

    Raises:
        TypeError, ValueError: what comes is no pair of a scalar and a tree of arrays like outputs, as that of a plain loss from optax.
    """
    got, name = loss(outputs, targets), getattr(loss, "__name__", "loss")
    if not isinstance(got, tuple) or len(got) != 2:
        what = f"an array of shape {got.shape}" if isinstance(got, np.ndarray | jax.Array) else type(got).__name__
        fix = f"make the pair of a plain loss by jax.grad, fn.with_gradient({name})"
        raise TypeError(f"{name}: expected a loss to return (mean loss, doutputs), got {what}; {fix}")
    trees = jax.tree.structure(got[1]), jax.tree.structure(outputs)
    if trees[0] != trees[1]:
        raise TypeError(f"{name}: expected its doutputs to be a tree like outputs, {trees[1]}, got {trees[0]}")
    doutputs = zip(jax.tree.leaves(got[1]), jax.tree.leaves(outputs), strict=True)
    for what, part, shape in (("mean loss", got[0], ()), *(("doutputs", d, y.shape) for d, y in doutputs)):
        if not isinstance(part, np.ndarray | np.generic | jax.Array):
            raise TypeError(f"{name}: expected its {what} to be a NumPy or JAX array, got {type(part).__name__}")
        check_shape(name, f"its {what}", part.shape, shape)
    return got


def with_gradient(loss: Callable[[PyTree, PyTree], Array]) -> Callable[[PyTree, PyTree], tuple[Array, PyTree]]:
    """The pair of a plain loss, whose values are per example or their mean, such as those of optax; the gradient by `jax.grad`.

    Args:
        loss: `(outputs, targets) -> loss`, differentiable by JAX.
    """

    @wraps(loss)
    def pair(outputs: PyTree, targets: PyTree) -> tuple[Array, PyTree]:
        return jax.value_and_grad(lambda outputs: loss(outputs, targets).mean())(outputs)

    return pair
