"""Other ways to the gradient of <forward(params, x), dy>, in float64 whatever the global setting."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arrays import Array, PyTree, to_numpy


def by_vjp(function: Callable[[PyTree], Array], argument: PyTree, dy: Array) -> PyTree:
    """The gradient by `jax.vjp` of `function`, traced in float64; NumPy arrays shaped like `argument`."""
    with jax.enable_x64(True):
        _, pull = jax.vjp(jax.jit(function), jax.tree.map(jnp.asarray, argument))
        return to_numpy(pull(jnp.asarray(dy))[0])


def slope(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, v: np.ndarray, dy: np.ndarray, step: float) -> float:
    """The derivative of <function(x), dy> along v by five-point central differences in NumPy float64.

        (8 (f(x + h v) - f(x - h v)) - (f(x + 2 h v) - f(x - 2 h v))) / (12 h)

    The outputs are subtracted before they are summed up, so that rounding is relative to their differences.
    """
    f = [function(x + k * step * v) for k in (-2, -1, 1, 2)]
    return float((((8 * (f[2] - f[1]) - (f[3] - f[0])) * dy).sum()) / (12 * step))


def distinct(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """x with its entries moved to multiples of (range / size), plus a half, in the order they have (equal ones: at random).

    No two of them tie and none is 0, so that nothing a layer does with them has a kink within a half of that spacing.
    """
    order = np.lexsort((rng.random(x.size), x.ravel()))
    low, spacing = x.min(), (np.ptp(x) or 1.0) / x.size
    values = (np.floor(low / spacing) + 0.5 + np.arange(x.size)) * spacing
    return values[np.argsort(order)].reshape(x.shape)
