"""What people call: check a layer, a pair, or a function with a custom gradient."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import lru_cache, partial
from itertools import chain
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arguments import check_in_shape, check_option
from funcnn.arrays import Array, PyTree, to_numpy
from funcnn.checking.comparing import compare, compile_ahead
from funcnn.checking.oracles import QUICKLY, distinct
from funcnn.checking.point import Point
from funcnn.checking.precision import constants, holds_wide, trace
from funcnn.checking.report import Report
from funcnn.combinators import Call, calls
from funcnn.layer import Layer

Precision = Literal["float32", "bfloat16", "float64"]
IMAGE, KERNEL = ("example", "row", "column", "channel"), ("kernel row", "kernel column", "input channel", "output channel")


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


def check_layer(
    layer: Layer,
    in_shape: Sequence[int],
    *,
    at: tuple[PyTree, PyTree, Array] | None = None,
    batch_size: int = 4,
    seed: int = 0,
    dtype: Precision = "float32",
) -> Report:
    """Check the hand-written `backward` of a layer or network, and of every layer inside, against every oracle.

    In training and evaluation mode, where these differ; at inputs whose entries are apart from each other and from 0, so that
    nothing is at a kink, and, for plain layers, at inputs full of ties and zeros, where `backward` must do what `jax.grad` of
    the plain forward pass does. Cotangents are random. Each inner layer is checked at the input that it gets in the network.

    Args:
        layer: a plain layer or a network.
        in_shape: the shape of one example.
        at: (params, state, x) to check at; by default they are drawn: normal x, initial params plus normal noise, the state
            after a step of training.
        batch_size: how many examples are drawn.
        seed: what is drawn.
        dtype: in which precision the jitted passes are compared with float64, beside all that is compared in float64.

    Returns:
        A Report with a row for each case, layer, leaf and oracle.

    Raises:
        TypeError, ValueError: arguments that are no layer, shape or precision; what the layer's forward pass raises.
    """
    if not isinstance(layer, Layer):
        raise TypeError(f"check_layer: expected a layer, got {type(layer).__name__}; for two functions use check_pair")
    check_option("check_layer", "batch_size", batch_size)
    _check_options(dtype)
    rng, key = np.random.default_rng(seed), jax.random.key(seed)
    if at is None:
        check_in_shape("check_layer", in_shape, ("...",))
        at = draw(layer, tuple(in_shape), key, batch_size, rng)
    params, state, x = to_numpy(at, "float64")
    points, compiled = [], []
    pool = ThreadPoolExecutor()
    try:
        with jax.enable_x64(True):
            for point in chain(*(_points(Call(layer, params, state, x, key), train, dtype, rng) for train in (True, False))):
                points.append(point)
                compiled.append(compile_ahead(pool, point))
        return _report(layer.name, points, rng, compiled)
    finally:
        pool.shutdown(cancel_futures=True)


def check_pair(forward: Callable, backward: Callable, *args: PyTree, seed: int = 0, dtype: Precision = "float32") -> Report:
    """Check `backward(residuals, dy) -> (darg, ...)` against `forward(*args) -> (y, residuals)`; residuals are trees of arrays.

    Args:
        forward: of NumPy or JAX arrays; what cannot be traced by JAX is compared with differences only.
        backward: one cotangent for each of the `args`, shaped like it; None for those of whole numbers.
        args: trees of arrays, floating-point ones to differentiate by; checked there, in float64. They are not written to.
        seed, dtype: as in `check_layer`.

    Returns:
        A Report; leaves are called args[0] and so on.

    Raises:
        TypeError: arguments that are no functions, or hold no floating-point array.
    """
    _check_functions("check_pair", forward, backward)
    given, leaves = _arguments("check_pair", args, dtype)
    run = FunctionForward(forward, has_residuals=True, check=object())
    point = Point(run, backward, run, given, (), leaves, dtype=dtype)
    return _report(getattr(forward, "__name__", "pair"), [_told(point)], np.random.default_rng(seed))


def check_vjp(function: Callable, *args: PyTree, seed: int = 0, dtype: Precision = "float32") -> Report:
    """Check the gradient that JAX has of `function`, such as one made by `jax.custom_vjp`, at `args`.

    Args:
        function: of JAX arrays. Where it is a `jax.custom_vjp` itself, its gradient is also compared, entry by entry, with that
            of the function it wraps; else only with differences and the complex step.
        args, seed, dtype: as in `check_pair`.

    Returns:
        A Report; leaves are called args[0] and so on.

    Raises:
        TypeError: as `check_pair`.
    """
    _check_functions("check_vjp", function)
    given, leaves = _arguments("check_vjp", args, dtype)
    check = object()
    plain = FunctionForward(function.fun, has_residuals=False, check=check) if isinstance(function, jax.custom_vjp) else None
    why = "expected a jax.custom_vjp itself, whose own function JAX can differentiate, got one that may hide a custom gradient inside"
    point = Point(
        FunctionForward(function, has_residuals=False, check=check), Pulled(function, check), plain, given, (), leaves, dtype=dtype, why=why
    )
    return _report(getattr(function, "__name__", "function"), [_told(point)], np.random.default_rng(seed))


def _check_options(dtype: str) -> None:
    if dtype not in ("float32", "bfloat16", "float64"):
        raise ValueError(f'checking: expected dtype "float32", "bfloat16" or "float64", got {dtype!r}')


def _check_functions(name: str, *functions: Callable) -> None:
    for function in functions:
        if not callable(function):
            raise TypeError(f"{name}: expected a function, got {type(function).__name__}")


def _arguments(name: str, args: tuple[PyTree, ...], dtype: str) -> tuple[PyTree, dict[str, tuple[str, ...]]]:
    """The arguments in float64, and the names of their leaves."""
    _check_options(dtype)
    for leaf in jax.tree.leaves(args):
        if not isinstance(leaf, np.ndarray | np.generic | jax.Array):
            raise TypeError(f"{name}: expected arguments of NumPy or JAX arrays, got {type(leaf).__name__}; np.asarray makes one")
    if any(jnp.issubdtype(leaf.dtype, jnp.complexfloating) for leaf in jax.tree.leaves(args)):
        raise TypeError(f"{name}: expected real arguments, got complex ones")
    given = to_numpy(args, "float64")
    if not any(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(given)):
        raise TypeError(f"{name}: expected an argument of floating-point numbers to differentiate by, got none")
    return given, _names({f"args[{i}]": a for i, a in enumerate(given)})


def _names(trees: Mapping[str, PyTree]) -> dict[str, tuple[str, ...]]:
    """The name of each leaf, in the order of `jax.tree.leaves`, and of its axes."""
    names = {}
    for prefix, tree in trees.items():
        for path, leaf in jax.tree.leaves_with_path(tree):
            inner = jax.tree_util.keystr(path, simple=True, separator=".")
            name = ".".join(filter(None, (prefix, inner)))
            conventional = IMAGE if name == "x" else KERNEL if name.split(".")[-1] == "w" else ()
            names[name] = conventional if len(conventional) == leaf.ndim else tuple(f"axis {i}" for i in range(leaf.ndim))
    return names


def draw(layer: Layer, in_shape: tuple[int, ...], key: Array, batch_size: int, rng: np.random.Generator) -> tuple[PyTree, PyTree, Array]:
    """Params with noise, so that biases are not 0; x; and the state that a step of training leaves."""
    params, state = to_numpy(_init(layer, key, in_shape), "float64")
    params = jax.tree.map(lambda p: p + 0.3 * rng.standard_normal(p.shape), params)
    x = rng.standard_normal((batch_size, *in_shape))
    with jax.enable_x64(True):
        return params, layer.forward(params, state, x, key=key, train=True)[1], x


@partial(jax.jit, static_argnums=(0, 2), compiler_options=QUICKLY)
def _init(layer: Layer, key: Array, in_shape: tuple[int, ...]) -> tuple[PyTree, PyTree]:
    return layer.init(key, in_shape)


def _points(call: Call, train: bool, dtype: str, rng: np.random.Generator, path: str = "") -> Iterator[Point]:
    """Where a layer is checked in one mode: what is inside it, from the last to the first as `backward` goes, and itself."""
    layer, params, state, x, key = call
    inside = calls(layer, params, state, x, key=key, train=train)
    for i, inner in reversed(list(enumerate(inside))):
        yield from _points(inner, train, dtype, rng, " / ".join(filter(None, (path, f"{i} {inner.layer.name}"))))
    modes, wide = _programs(layer, *_shapes((params, state, x, key)))
    if not train and modes == 1:
        return
    case = ("train" if train else "eval") if modes == 2 else ""
    pair = (LayerForward(layer, train), layer.backward, LayerForward(layer, train))
    context, leaves = (state, key), _names({"": params, "x": x})
    if inside:
        yield Point(*pair, (params, x), context, leaves, case, path, dtype, jit=True, quick=True, wide=wide)
        return
    yield Point(*pair, (params, distinct(x, rng)), context, leaves, case, path, dtype, jit=True, wide=wide)
    # multiples of 1/8: sums and products of these are exact, so that what ties, ties in every order of summation
    tied = jax.tree.map(lambda a: np.round(8 * a) / 8, params), np.round(1.5 * (x - x.mean()) / (x.std() or 1.0))
    yield Point(*pair, tied, context, leaves, ", ".join(filter(None, (case, "ties"))), path, dtype, ties=True, wide=wide)


def _shapes(tree: PyTree) -> tuple[Any, Any]:
    leaves, structure = jax.tree.flatten(tree)
    return tuple((a.shape, a.dtype) for a in leaves), structure


@lru_cache(maxsize=1024)
def _programs(layer: Layer, shapes: Any, structure: Any) -> tuple[int, bool]:
    """How many programs training and evaluation trace to, 1 or 2; and whether these hold NumPy arrays of 64 bits."""
    params, state, x, key = jax.tree.unflatten(structure, [jax.ShapeDtypeStruct(*s) for s in shapes])
    try:
        traced = [trace(LayerForward(layer, train), layer.backward, (params, x), (state, key)) for train in (True, False)]
    except Exception:
        return 2, False  # what cannot be traced is told by the oracles
    return len({(str(p), *(c.tobytes() for c in constants(p))) for p in traced}), holds_wide(*traced)


def _apart(point: Point, rng: np.random.Generator) -> Point:
    """The point with all entries apart from each other and from 0."""
    args = jax.tree.map(lambda a: distinct(a, rng) if jnp.issubdtype(a.dtype, jnp.inexact) else a, point.args)
    return point._replace(args=args, case=", ".join(filter(None, (point.case, "apart"))))


def _told(point: Point) -> Point:
    """The point, and whether its pair holds NumPy arrays of 64 bits."""
    try:
        with jax.enable_x64(True):
            traced = [trace(point.forward, point.backward, point.args, point.context) for _ in range(2)]
    except Exception:
        return point  # what cannot be traced is told by the oracles
    return point._replace(wide=holds_wide(*traced))


def _report(name: str, points: Sequence[Point], rng: np.random.Generator, compiled: Sequence[Sequence[Future]] = ()) -> Report:
    rows, skipped, wide = [], {}, any(point.wide for point in points)
    try:
        if wide:
            for program in chain(*compiled):
                program.cancel()
            wait(chain(*compiled))
            jax.clear_caches()
        for point, programs in zip(points, compiled or [()] * len(points), strict=True):
            wait(programs)
            some, why = compare(point, rng)
            if any(row.kinks for row in some) and not any(row.oracle == "jax.vjp" for row in some):
                some += compare(_apart(point, rng), rng)[0]  # else only differences look at it, and a kink hides much from them
            rows += some
            for reason in why:
                skipped.setdefault(reason, []).append(" ".join(filter(None, (point.layer, point.case and f"({point.case})"))))
    finally:
        if wide:  # what JAX has compiled with these arrays in float64 it would use in float32 too
            jax.clear_caches()
    reasons = (r + (f": {', '.join(dict.fromkeys(where))}" if any(where) else "") for r, where in skipped.items())
    return Report(name, tuple(rows), tuple(reasons))
