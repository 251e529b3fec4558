"""What is checked: a pair `forward`, `backward`, and what JAX sees of it when it traces both.

Equal pairs compile once, which is why they are made of values here and not of closures.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from funcnn.arrays import PyTree
from funcnn.layer import Layer

Forward = Callable[[PyTree, PyTree], tuple[PyTree, PyTree]]
"""`(args, context) -> (y, residuals)`."""
Backward = Callable[[PyTree, PyTree], PyTree]
"""`(residuals, dy) -> dargs`."""
QUICKLY = {"xla_backend_optimization_level": 0} | ({"xla_cpu_use_fusion_emitters": False} if jax.__version_info__ < (0, 10) else {})
"""Compiler options for what runs only once: sooner compiled. Later versions of JAX may not know the second one."""


class LayerForward(NamedTuple):
    """The forward pass of a layer in one mode as a function of (params, x) and (state, key); equal ones compile once."""

    layer: Layer
    train: bool

    def __call__(self, args: PyTree, context: PyTree) -> tuple[PyTree, PyTree]:
        (params, x), (state, key) = args, context
        y, _, residuals = self.layer.forward(params, state, x, key=key, train=self.train)
        return y, residuals


class FunctionForward(NamedTuple):
    """`function(*args)` as (y, residuals); where it returns no residuals itself, they are the arguments.

    `check` is one check's own: what is compiled for it is not used by another, as a custom gradient may be defined anew between.
    """

    function: Callable
    has_residuals: bool
    check: object

    def __call__(self, args: PyTree, _: PyTree) -> tuple[PyTree, PyTree]:
        y = self.function(*args)
        if self.has_residuals and not (isinstance(y, tuple) and len(y) == 2):
            got = f"a tuple of {len(y)}" if isinstance(y, tuple) else type(y).__name__
            raise TypeError(f"check_pair: expected forward to return a pair (y, residuals), got {got}")
        return y if self.has_residuals else (y, args)


class Pulled(NamedTuple):
    """The gradient that JAX has of `function`: its custom one."""

    function: Callable
    check: object

    def __call__(self, residuals: PyTree, dy: PyTree) -> PyTree:
        y, pull = jax.vjp(self.function, *residuals)
        return pull(jax.tree.map(lambda d, y: jnp.asarray(d, y.dtype), dy, y))


class Traced(NamedTuple):
    """What is known of a pair once JAX has traced it.

    Attributes:
        different: how many of its programs differ; as many as there are where they cannot be traced.
        wide: whether they hold NumPy arrays of 64 bits.
    """

    different: int
    wide: bool


def both(forward: Forward, backward: Backward, args: PyTree, context: PyTree, dy: PyTree) -> tuple[PyTree, PyTree]:
    """The outputs and the gradient, as one function."""
    y, residuals = forward(args, context)
    return y, backward(residuals, dy)


def trace(forwards: Sequence[Forward], backward: Backward, args: PyTree, context: PyTree) -> Traced:
    """Both passes as JAX sees them, for each of two forward passes, or twice for one."""
    try:
        with jax.enable_x64(True):
            at = args, context
            traced = [jax.make_jaxpr(partial(both, forward, backward))(*at, outputs_like(forward, *at)) for forward in forwards]
    except Exception:
        return Traced(len(forwards), wide=False)  # what cannot be traced is told by the oracles
    return Traced(len({(str(p), *(c.tobytes() for c in _constants(p))) for p in traced}), _hold_wide(*traced))


def outputs_like(forward: Forward, args: PyTree, context: PyTree) -> PyTree:
    """The shapes and dtypes of the outputs."""
    return jax.eval_shape(lambda *at: forward(*at)[0], args, context)


def _constants(closed: Any) -> Iterator[np.ndarray]:
    """The arrays that a traced program holds itself."""
    yield from (np.asarray(c) for c in closed.consts)
    yield from _literals(closed.jaxpr)


def _literals(jaxpr: Any) -> Iterator[np.ndarray]:
    for equation in jaxpr.eqns:
        yield from (np.asarray(v.val) for v in equation.invars if isinstance(v, core.Literal) and np.ndim(v.val))
        for value in jax.tree.leaves(tuple(equation.params.values()), is_leaf=lambda v: isinstance(v, core.ClosedJaxpr | core.Jaxpr)):
            if isinstance(value, core.ClosedJaxpr):
                yield from _constants(value)
            elif isinstance(value, core.Jaxpr):
                yield from _literals(value)


def _hold_wide(first: Any, second: Any) -> bool:
    """Whether both of two traces hold the same NumPy array of 64 bits: one that the functions close over, not one they make.

    JAX 0.9 takes such an array for float64 or float32 by the setting of the first time, and refuses it after another.
    """
    held = [{a.__array_interface__["data"][0] for a in _constants(p) if a.dtype.itemsize == 8} for p in (first, second)]
    return bool(held[0] & held[1])
