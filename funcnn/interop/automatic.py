"""Functions of JAX and modules of its libraries as layers, whose backward pass is JAX's own."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnn.arguments import check_array, check_key, check_params, check_returned
from funcnn.arrays import Array, PyTree, to_numpy
from funcnn.extras import needs_extra
from funcnn.layer import Layer, constructor


class AutomaticTrain(NamedTuple):
    """What the function was called with, in training."""

    params: PyTree
    state: PyTree
    x: Array
    key: Array | None


class AutomaticEval(NamedTuple):
    """The same in evaluation."""

    params: PyTree
    state: PyTree
    x: Array
    key: Array | None


@constructor
def from_apply(init: Callable, apply: Callable, *, name: str | None = None, stateful: bool = False) -> Layer:
    """Any function of JAX as a layer, its backward pass by `jax.vjp`: the plain one is `from_apply(init, apply)` of (params, x).

    It keeps what it was called with, and runs `apply` once more in `backward`; in one compiled program XLA runs it once. `summary`
    calls it automatic, and so does `check_layer`, which compares it with slopes alone: with `jax.vjp` it would be compared with itself.

    Args:
        init: `(key, in_shape) -> params`, a tree of floating-point arrays, `()` for none; of a stateful one `(params, state)`.
        apply: `(params, x) -> y`, from x (N, *in_shape) to y (N, ...); of a stateful one `(params, state, x, *, key, train) ->
            (y, state)`, as `layer.apply` is. It may be anything that JAX differentiates in reverse.
        name: what messages call the layer; by default what `apply` is called.
        stateful: whether `apply` has a state, draws random numbers by a key, or is another one in training.

    Returns:
        A layer. Of NumPy arrays `apply` gets JAX arrays of the same dtypes, and the layer returns NumPy arrays.

    Raises:
        TypeError: no functions; params that are not of a floating-point dtype; what `apply` raises says in a note where.
        ValueError: what `apply` returns has not the N examples of x.
    """
    for what, function in (("init", init), ("apply", apply)):
        if not callable(function):
            raise TypeError(f"from_apply: expected {what} to be a function, got {type(function).__name__}")
    given = name or getattr(apply, "__name__", "")
    name = given if given.isidentifier() else "from_apply"  # not <lambda>

    def keyed_init(key, in_shape):
        made = init(check_key(name, key), tuple(in_shape))
        return check_returned(name, "init", made) if stateful else (made, ())

    def run(params, state, x, key, train):
        try:
            if stateful:
                return check_returned(name, "apply", apply(params, state, x, key=key, train=train), ("y", "state"))
            return apply(params, x), state
        except Exception as error:
            error.add_note(f"in the function that is the layer {name}")
            raise

    def forward(params, state, x, *, key=None, train=False):
        check_array(name, "x", x, ("N", "..."))
        if not stateful:
            check_params(name, state, {}, "state")
        for leaf in jax.tree.leaves(params):
            check_array(name, "every entry of params", leaf, ("...",))
        y, new_state = _by_jax(partial(run, train=train), params, state, x, key)
        check_array(name, f"what {name} returns", y, (x.shape[0], "..."))
        return y, new_state, (AutomaticTrain if train else AutomaticEval)(params, state, x, key)

    def backward(residuals, dy):
        """dparams, dx = J^T dy, by `jax.vjp` of the function at what it was called with."""
        train = isinstance(residuals, AutomaticTrain)

        def pulled(params, state, x, key, dy):
            y, pull, _ = jax.vjp(lambda params, x: run(params, state, x, key, train), params, x, has_aux=True)
            check_array(name, "dy", dy, y.shape)
            return pull(dy.astype(y.dtype))

        return _by_jax(pulled, *residuals, dy)

    return Layer(name, keyed_init, forward, backward, automatic=True)


def _by_jax(run: Callable, *trees: PyTree) -> Any:
    """`run(*trees)`; of NumPy arrays by JAX arrays of their dtypes, and as NumPy arrays."""
    leaves = jax.tree.leaves(trees)
    if any(map(_is_of_jax, leaves)):
        return run(*trees)
    wide = any(a.dtype in ("float64", "complex128") for a in leaves)
    with jax.enable_x64(True) if wide else nullcontext():
        return to_numpy(run(*jax.tree.map(jnp.asarray, trees)))


def _is_of_jax(a: Array) -> bool:
    """Whether it makes the result JAX's: keys do not, which are on either library, nor whole numbers."""
    return isinstance(a, jax.core.Tracer) or (isinstance(a, jax.Array) and jnp.issubdtype(a.dtype, jnp.inexact))


def _called(module: Any, x: Array, train: bool) -> Array:
    return module(x)


@constructor
def from_flax(module: Any, call: Callable = _called, *, name: str | None = None) -> Layer:
    """A `flax.linen` module as a layer; an nnx one by `from_flax(nnx.bridge.to_linen(Model, ...))`.

    Args:
        module: a linen module.
        call: `(module, x, train) -> y`, which knows how the module says that it trains: `lambda m, x, train: m(x, train=train)`.
        name: what messages call the layer; by default the module's class.

    Returns:
        A layer whose params are the module's collection "params" and whose state is a dict of all others, as `module.init` makes
        them; in training these move. The key is that of the collection "dropout". Its backward pass is JAX's: see `from_apply`.

    Raises:
        ModuleNotFoundError: Flax is not installed.
        TypeError: no linen module.
    """
    with needs_extra("funcnn.interop.from_flax", "flax"):
        from flax import linen
    if not isinstance(module, linen.Module):
        raise TypeError(f"from_flax: expected a flax.linen module, got {type(module).__name__}")

    def init(key, in_shape):
        variables = dict(module.init(key, jnp.zeros((1, *in_shape), "float32"), False, method=call))
        return variables.pop("params", {}), variables

    def apply(params, state, x, *, key, train):
        rngs = {} if key is None else {"dropout": key}
        y, moved = module.apply({"params": params, **state}, x, train, method=call, mutable=list(state) if train else [], rngs=rngs)
        return y, {**state, **moved}

    return from_apply(init, apply, name=name or type(module).__name__, stateful=True)


@constructor
def from_equinox(module: Any, call: Callable = lambda module, x, key: module(x), *, name: str | None = None) -> Layer:
    """A module of Equinox without state as a layer.

    Args:
        module: an `equinox.Module` of one example.
        call: `(module, x, key) -> y` of one example; of a module with dropout `lambda m, x, key: m(x, key=key)`.
        name: what messages call the layer; by default the module's class.

    Returns:
        A layer whose params are a module of the floating-point arrays in `module`, with which it begins, whatever the key. In evaluation
        the module is called in inference mode. Its backward pass is JAX's: see `from_apply`.

    Raises:
        ModuleNotFoundError: Equinox is not installed.
        TypeError: no module of Equinox.
        ValueError: one with state, as `equinox.nn.BatchNorm` has.
    """
    with needs_extra("funcnn.interop.from_equinox", "equinox"):
        import equinox as eqx
    if not isinstance(module, eqx.Module):
        raise TypeError(f"from_equinox: expected an equinox.Module, got {type(module).__name__}")
    indices = jax.tree.leaves(module, is_leaf=lambda a: isinstance(a, eqx.nn.StateIndex))
    if any(isinstance(a, eqx.nn.StateIndex) for a in indices):
        raise ValueError(f"from_equinox: expected a module without state, got {type(module).__name__} with some; from_apply takes it")
    params, rest = eqx.partition(module, eqx.is_inexact_array)

    def apply(params, state, x, *, key, train):
        called = eqx.nn.inference_mode(eqx.combine(params, rest), not train)
        keys = None if key is None else jax.random.split(key, x.shape[0])
        return jax.vmap(lambda x, key: call(called, x, key), in_axes=(0, None if keys is None else 0))(x, keys), state

    return from_apply(lambda key, in_shape: (params, ()), apply, name=name or type(module).__name__, stateful=True)
