"""The contract: a layer is a value made of three pure functions, `init`, `forward` and `backward`.

    params, state       = layer.init(key, in_shape)                          in_shape per example: (H, W, C) or (D,)
    y, state, residuals = layer.forward(params, state, x, key=, train=)      x: (N, *in_shape)
    dparams, dx         = layer.backward(residuals, dy)                      d<name> has the shape of <name>
    y, state            = layer.apply(params, state, x, key=, train=)        `forward` without the residuals

`params` and `state` are `()` where a layer has none, a dict in a layer, a tuple in a combinator. `backward` needs nothing
but its residuals, which hold arrays only, so it can be jitted apart from `forward`. A shape that `backward` needs travels
as an empty array, `x[:0]`. `forward` carries no custom gradient, ever: `jax.grad` of it is an independent oracle.

One source for NumPy and JAX: what is no operator or method comes from `xp = namespace(x)`, nothing is written in place, and
operands have as many axes as each other (`b[None]`) and one dtype. `funcnn/activations.py` is the smallest example.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn, Protocol

import jax

from funcnn.arguments import check_key, check_params, check_returned
from funcnn.arrays import Array, PyTree
from funcnn.shown import Call, Doc, constructor


class Init(Protocol):
    def __call__(self, key: Array, in_shape: tuple[int, ...], /) -> tuple[PyTree, PyTree]: ...


class Forward(Protocol):
    def __call__(
        self, params: PyTree, state: PyTree, x: Array, /, *, key: Array | None = None, train: bool = False
    ) -> tuple[Array, PyTree, PyTree]: ...


class Backward(Protocol):
    def __call__(self, residuals: PyTree, dy: Array, /) -> tuple[PyTree, Array]: ...


class Layer(NamedTuple):
    __doc__ = Doc("Three pure functions and the name they go by in messages; the contract: `help(funcnn.layer)`.")  # pyrefly: ignore

    name: str
    init: Init
    forward: Forward
    backward: Backward
    layers: tuple["Layer", ...] = ()  # what a combinator is made of, for those who look inside
    in_series: bool = False  # whether each of them gets the output of the one before, or all the same input
    divide: Callable[..., tuple[PyTree, ...]] | None = None  # (params or state, what that is) as one entry for each; None: they are that
    work: Callable[[PyTree, Any], tuple[int, int, str]] | None = None  # (params, x): multiply-adds there and back, and whose algorithm
    automatic: bool = False  # whether `backward` is `jax.vjp` of `forward`, so that comparing the two shows nothing
    call: Call | None = None  # what made it, for `repr` and `help`

    def apply(self, params: PyTree, state: PyTree, x: Array, *, key: Array | None = None, train: bool = False) -> tuple[Array, PyTree]:
        """`forward` without its residuals: (y, state)."""
        return check_returned(self.name, "forward", self.forward(params, state, x, key=key, train=train))[:2]

    def __repr__(self) -> str:
        return str(self.call or self.name)

    def __call__(self, *args: Any, **options: Any) -> NoReturn:
        use = "net.apply(params, state, x) or net.forward" if args or options or self.call else f"{self.name} itself, without ()"
        raise TypeError(f"{self.name}: expected {use}, got a call; a layer is a value, not a function")


def stateless(name: str, forward: Callable[..., tuple[Array, PyTree]], backward: Backward, init: Callable | None = None) -> Layer:
    """A layer without state, key or mode, from a pair.

    Args:
        name: what messages call the layer.
        forward: `(params, x) -> (y, residuals)`.
        backward: `(residuals, dy) -> (dparams, dx)`.
        init: `(key, in_shape) -> params`; without it the layer has no parameters, and its `params` and `dparams` are `()`.
    """

    def keyed_init(key, in_shape):
        return init(check_key(name, key), in_shape) if init else (), ()

    def lifted(params, state, x, *, key=None, train=False):
        check_params(name, state, {}, "state")
        if not init:
            check_params(name, params, {})
        y, residuals = check_returned(name, "forward", forward(params, x), ("y", "residuals"))
        return y, state, residuals

    lifted.__doc__ = forward.__doc__
    return Layer(name, keyed_init, lifted, backward)


@constructor
def with_manual_vjp(layer: Layer) -> Layer:
    """`layer`, for whose forward pass `jax.grad` runs the hand-written `backward`.

    The only `jax.custom_vjp` of the library. Gradients flow to `params` and `x`, in their own dtypes; `jax.jvp` is not defined through it.
    """
    if not isinstance(layer, Layer):
        raise TypeError(f"with_manual_vjp: expected a layer, got {type(layer).__name__}")

    def forward(params, state, x, *, key=None, train=False):
        @jax.custom_vjp
        def differentiable(params, state, x, key):
            return layer.forward(params, state, x, key=key, train=train)

        def keep_residuals(params, state, x, key):
            outputs = layer.forward(params, state, x, key=key, train=train)
            return outputs, outputs[2]

        def run_backward(residuals, cotangents):
            grads = layer.backward(residuals, cotangents[0])
            dparams, dx = jax.tree.map(lambda d, a: d.astype(jax.numpy.result_type(a)), grads, (params, x))
            return dparams, None, dx, None

        differentiable.defvjp(keep_residuals, run_backward)
        on_jax = any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves((params, state, x)))
        return (differentiable if on_jax else differentiable.fun)(params, state, x, key)  # JAX would round NumPy's float64

    return layer._replace(forward=forward)
