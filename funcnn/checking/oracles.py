"""Ways to the gradient of <forward(args), dy> that share nothing with `backward`, in float64 whatever the global setting.

Every function takes `forward(args, context) -> (y, residuals)`, where `args` is a tuple of trees of arrays to differentiate
by and `context` what else it needs. Outputs are seen as one vector of M entries, `flat(y)`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arrays import Array, PyTree, to_numpy

SAFETY = 8
"""How many times the expected rounding error is allowed; the largest ever seen is told by `python -m experiments mutants`."""
QUICKLY = {"xla_backend_optimization_level": 0} | ({"xla_cpu_use_fusion_emitters": False} if jax.__version_info__ < (0, 10) else {})
"""Compiler options for what runs only once: sooner compiled. Later versions of JAX may not know the second one."""
TINY = 1e-200
"""The complex step; its square is nothing."""


def rounding(dtype: Any, length: int) -> float:
    """The relative rounding error allowed to sums of `length` terms: SAFETY eps sqrt(length).

    Rounding errors of many operations add up like a random walk (Higham & Mary 2019, doi:10.1137/18M1226312).
    """
    return SAFETY * float(jnp.finfo(dtype).eps) * length**0.5


def flat(tree: PyTree) -> np.ndarray:
    """All entries of a tree of arrays, one after the other: (M,)."""
    leaves = [np.asarray(leaf).ravel() for leaf in jax.tree.leaves(tree)]
    return np.concatenate(leaves) if leaves else np.zeros(0)


@partial(jax.jit, static_argnums=(0, 1), compiler_options=QUICKLY)
def _by_jax(
    forward: Callable, with_jvp: bool, args: PyTree, context: PyTree, dy: PyTree, tangents: list[Array]
) -> tuple[list[Array], PyTree]:
    leaves, tree = jax.tree.flatten(args)

    def of(given: list[Array]) -> PyTree:
        rest = iter(given)
        return forward(jax.tree.unflatten(tree, [next(rest) if jnp.issubdtype(a.dtype, jnp.inexact) else a for a in leaves]), context)[0]

    primals = [a for a in leaves if jnp.issubdtype(a.dtype, jnp.inexact)]
    y, pull = jax.vjp(of, primals)
    dots = jax.jvp(of, (primals,), (tangents,))[1] if with_jvp else y
    return pull(jax.tree.map(lambda d, y: d.astype(y.dtype), dy, y))[0], dots


def by_jax(
    forward: Callable, args: PyTree, context: PyTree, dy: PyTree, tangents: list[Array], with_jvp: bool = True
) -> tuple[list[np.ndarray], PyTree]:
    """J^T dy by `jax.vjp` and J tangents by `jax.jvp` of `forward`, in one program, for the floating-point leaves of args; float64."""
    with jax.enable_x64(True):
        return to_numpy(_by_jax(forward, with_jvp, *jax.tree.map(jnp.asarray, (args, context, dy, tangents))))


class Slope(NamedTuple):
    """A derivative along one direction.

    Attributes:
        value: the slope; where there is a kink, the mean of the slopes before and behind it.
        tolerance: how far from it a right gradient may be.
        kink: whether the slopes before and behind differ; then `tolerance` spans both.
    """

    value: float
    tolerance: float
    kink: bool = False


Noise = Callable[[Sequence[np.ndarray]], np.ndarray]
"""What rounding does to each output (M,), given the outputs at several points."""


class Leaf(NamedTuple):
    """The outputs as a function of one leaf of the arguments, at one point.

    Attributes:
        outputs: from the leaf to the outputs (M,).
        x: the leaf.
        here: outputs(x).
        dy: the cotangent (M,).
        noise: what rounding does to the outputs.
    """

    outputs: Callable[[np.ndarray], np.ndarray]
    x: np.ndarray
    here: np.ndarray
    dy: np.ndarray
    noise: Noise

    def along(self, v: np.ndarray, steps: Sequence[float]) -> list[np.ndarray]:
        """The outputs (M,) at x + step v, for each of the steps."""
        return [self.outputs(self.x + step * v) if step else self.here for step in steps]


def complex_step(leaf: Leaf, v: np.ndarray, relative: float) -> Slope:
    """Im f(x + i t v) / t for t = 1e-200: exact to rounding where f is analytic (Squire & Trapp 1998)."""
    slopes = leaf.outputs(leaf.x + 1j * TINY * v).imag / TINY  # (M,)
    return Slope(float(slopes @ leaf.dy), relative * float(np.linalg.norm(slopes) * np.linalg.norm(leaf.dy)))


def differences(leaf: Leaf, v: np.ndarray, step: float) -> Slope:
    """Five-point central differences.

        d(h) = (f(x + h v) - f(x - h v)) / 2 h,    slope = (4 d(h) - d(2 h)) / 3

    Its error is below |d(h) - d(2 h)|, where a kink within 2 h shows too. At a kink in x itself the slopes on either
    side differ by twice |f(x + h v) - 2 f(x) + f(x - h v)| / 2 h, which does not shrink with h: then any value between is
    allowed.
    """
    dy, f = leaf.dy, leaf.along(v, [k * step for k in (-2, -1, 0, 1, 2)])
    near, far = (f[3] - f[1]) / (2 * step), (f[4] - f[0]) / (4 * step)  # (M,)
    noise = float(np.linalg.norm(dy * leaf.noise(f))) / step
    bends = [float(abs(a - 2 * f[2] + b) @ abs(dy)) / (2 * k * step) for k, a, b in ((1, f[1], f[3]), (2, f[0], f[4]))]
    kink = bends[0] > max(0.75 * bends[1], noise)
    value = float((4 * near - far) @ dy) / 3
    return Slope(value, float(abs(near - far) @ abs(dy)) + noise + kink * bends[0], kink)


def unit_step(leaf: Leaf, v: np.ndarray) -> Slope | None:
    """(f(x + v) - f(x - 0.37 v)) / 1.37: exact to rounding where f is linear in this argument; None where it is not.

    Whether it is shows at four points whose distances have no common measure: nothing odd or periodic looks linear there.
    """
    steps = (-0.37, 0.0, 1.0, 2**0.5)
    before, here, behind, far = leaf.along(v, steps)
    noise = leaf.noise((here, before, behind, far))
    bent = [abs(f - here - k * (behind - here)) for k, f in ((steps[0], before), (steps[3], far))]
    if not all((bend <= noise).all() for bend in bent):
        return None
    return Slope(float((behind - before) @ leaf.dy) / 1.37, float(np.linalg.norm(leaf.dy * noise)))


def best_step(leaf: Leaf, v: np.ndarray, steps: Sequence[float]) -> float:
    """Of several steps the one whose result is surest along `v`."""
    slopes = [differences(leaf, v, step) for step in steps]
    return min(zip(slopes, steps, strict=True), key=lambda pair: (pair[0].kink, np.nan_to_num(pair[0].tolerance, nan=np.inf)))[1]


def directions(size: int, rng: np.random.Generator, *, whole: int = 16, few: int = 4) -> np.ndarray:
    """Along what a leaf of `size` entries is differentiated: (directions, size).

    Up to `whole` entries: each by itself. More: `few` normal directions over all entries, `few` with random signs on one block
    each, which together hold all, and twice as many entries by themselves. An error of norm e anywhere escapes one normal
    direction of tolerance t with a probability of 0.8 t / e, and all of them with that to the power of `few`.
    """
    if size <= whole:
        return np.eye(size)
    normal = rng.standard_normal((few, size))
    blocks = rng.choice([-1.0, 1.0], (few, size)) * (np.arange(size)[None] * few // size == np.arange(few)[:, None])
    single = np.zeros((2 * few, size))
    single[np.arange(2 * few), rng.choice(size, 2 * few, replace=False)] = 1
    return np.concatenate([normal, blocks, single])


def distinct(x: Array, rng: np.random.Generator) -> np.ndarray:
    """x with its entries moved to multiples of (range / size), plus a half, in the order they have (equal ones: at random).

    No two of them tie and none is 0, so that nothing a layer does with them has a kink within a half of that spacing.
    """
    if not x.size:
        return x
    order = np.lexsort((rng.random(x.size), x.ravel()))
    low, spacing = x.min(), (np.ptp(x) or 1.0) / x.size
    values = (np.floor(low / spacing) + 0.5 + np.arange(x.size)) * spacing
    return values[np.argsort(order)].reshape(x.shape)
