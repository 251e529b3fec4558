"""A network as a file: the program that JAX has traced of it, its weights inside."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from funcnn.arguments import check_in_shape, check_option
from funcnn.arrays import Array, PyTree, wide
from funcnn.combinators.inside import check_layers
from funcnn.extras import needs_extra
from funcnn.interop.writing import check_path, write
from funcnn.layer import Layer

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
DTYPES = ("float16", "bfloat16", "float32", "float64")


def export(
    net: Layer, params: PyTree, state: PyTree, in_shape: tuple[int, ...], path: str | os.PathLike | None = None, *,
    batch: int | None = None, dtype: str = "float32", platforms: Sequence[str] = PLATFORMS,
) -> jax_export.Exported:  # fmt: skip
    """The network in evaluation as a program with its weights inside, which runs where there is JAX and no funcnn.

        fn.interop.export(net, params, state, (28, 28, 1), "net.bin")
        logits = jax.export.deserialize(open("net.bin", "rb").read()).call(images)       # in any other process

    The program holds for every platform: what is only for a CPU (`fn.cpu_tuning`, the algorithms that `auto` chooses there) stands
    beside what is for the others, and the platform that runs it takes its own. Of a free batch size no program is divided into blocks of
    images, so a large batch takes more memory on a CPU than it does in funcnn; one that is given is. What the first layer takes is
    what the file takes: numbers of `dtype`, scaled as in training.

    Args:
        net, params, state: any network, and what it has learned; arrays of NumPy or JAX in any floating-point dtype.
        in_shape: the shape of one example.
        path: of the file, which is replaced at once when all is written; None: of none.
        batch: how many examples; None: any number of them, which each call may choose anew.
        dtype: of the input, "float16", "bfloat16", "float32" or "float64"; params are cast to it, and so is the state (of halves to
            float32). "float64" only where JAX has it on, here and where the program runs.
        platforms: "cpu", "cuda", "rocm", "tpu", or some of them; none of them need be here.

    Returns:
        The program, `jax.export.Exported`: `.call(x)` with x (N, *in_shape) gives y; `.serialize()` is what the file has.

    Raises:
        TypeError, ValueError: no layer; an option out of range; numbers that the dtype does not hold; params, state or an in_shape that
            do not fit the network, as its layers say; a layer whose program is another one for every batch size.
        OSError: the file cannot be written.
        ModuleNotFoundError: flatbuffers is missing, in which JAX writes programs.
    """
    name = "export"
    x = jax.ShapeDtypeStruct((_examples(name, batch), *checked(name, net, in_shape)), _checked_dtype(dtype))
    given = (platforms,) if isinstance(platforms, str) else tuple(platforms)
    if not given or not set(given) <= set(PLATFORMS):
        raise ValueError(f"{name}: expected platforms to be some of {PLATFORMS}, got {platforms!r}")
    if path is not None:
        check_path(name, path)
        with needs_extra(name, "export"):
            import flatbuffers  # noqa: F401
    params, state = jax.tree.map(jnp.asarray, (cast(name, "params", params, dtype), cast(name, "state", state, wide(dtype))))

    def run(x: Array) -> Array:
        return net.apply(params, state, x)[0]

    program = for_any_batch(name, run, x, lambda: jax_export.export(jax.jit(run), platforms=given)(x), "; use export(..., batch=8)")
    if path is not None:
        write(path, program.serialize())
    return program


def checked(name: str, net: Layer, in_shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one example of a network, or raise unless they are such."""
    check_layers(name, (net,))
    check_in_shape(name, in_shape, ("...",))
    return tuple(map(int, in_shape))


def _examples(name: str, batch: int | None) -> Any:
    return jax_export.symbolic_shape("N")[0] if batch is None else check_option(name, "batch", batch)


def _checked_dtype(dtype: str) -> np.dtype:
    if str(dtype) not in DTYPES:
        raise ValueError(f"export: expected dtype to be one of {DTYPES}, got {dtype!r}")
    if dtype == "float64" != jax.dtypes.canonicalize_dtype(dtype):
        raise ValueError("export: expected float64 to be on in JAX, got it off; with jax.enable_x64(True): export(...)")
    return jnp.dtype(dtype)


def cast(name: str, what: str, tree: PyTree, dtype: str) -> PyTree:
    """A tree as NumPy arrays, those of floating-point numbers in that dtype, or raise where it does not hold them."""

    def leaf(a: Array) -> Array:
        if not isinstance(a, np.ndarray | np.generic | jax.Array):
            raise TypeError(f"{name}: expected {what} to be a tree of NumPy or JAX arrays, got {type(a).__name__} in it")
        if not jnp.issubdtype(a.dtype, jnp.floating):
            return a
        full = np.asarray(a)
        with np.errstate(over="ignore"):
            held = full.astype(jnp.dtype(dtype))
        if np.isinf(held).any() and not np.array_equal(np.isinf(held), np.isinf(full)):
            raise ValueError(f"{name}: expected {what} that {dtype} holds, got numbers up to {np.abs(full).max()}")
        return held

    return jax.tree.map(leaf, tree)


def for_any_batch(name: str, run: Callable[[Array], Array], x: jax.ShapeDtypeStruct, made: Callable[[], Any], fix: str = "") -> Any:
    """`made()`, which traces `run` of x; where it cannot because the number of examples is a symbol, an error that says so."""
    try:
        return made()
    except Exception as error:
        if isinstance(x.shape[0], int) or not _runs(run, jax.ShapeDtypeStruct((2, *x.shape[1:]), x.dtype)):
            raise
        where = "".join(f", {note}" for note in reversed(getattr(error, "__notes__", [])) if note.startswith("in layer"))
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise ValueError(f"{name}: expected one program for any number of examples, got one for each{where} ({reason}){fix}") from error


def _runs(run: Callable[[Array], Array], x: jax.ShapeDtypeStruct) -> bool:
    try:
        return jax.eval_shape(run, x) is not None
    except Exception:
        return False
