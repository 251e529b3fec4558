"""What exists only because of how a CPU runs a program, by XLA or by NumPy: one room, one switch.

Layers and algorithms say what is computed. What stands here says in which parts, in which order, and what is kept in memory in
between; on and off agree to rounding. On by default where one CPU device runs the program, which XLA knows only when it lowers it:
no other platform, and no program that is divided over devices, ever sees any of it. `with fn.cpu_tuning(False):` turns it off for
what is traced inside.
"""

import ctypes
import platform
from collections.abc import Callable, Iterable
from functools import reduce
from math import ceil, gcd
from operator import add

import jax
import numpy as np
from jax.sharding import AxisType

from funcnn.arrays import Array, PyTree, in_float32, namespace

cpu_tuning = jax.make_user_context(None)
cpu_tuning.__doc__ = "The switch, a context: None leaves it to the platform, True and False decide for all that is traced or run inside."

BLOCK = 2**21
"""Numbers that a block of images may need at a time, 8 MB in float32. A program that needs over 32 MB in all gets them anew from
the system at every call, page by page, which takes longer than the work."""
WRITTEN_OUT = 3 * BLOCK // 4
"""Numbers from which the turns of a loop are worth the time to compile each of them, as nothing is copied into the loop and out of it:
up to a quarter of the time of large work, a third of the time to compile it."""
FEW = 2**18
"""Numbers below which nothing waits: other work fills the gaps then."""
LARGE = 2**19
"""Numbers from which a sum is worth sharing out."""
LARGE_CHEAP = 2**16
"""Numbers from which that is so where they are cheap to make."""
PARTS = 8
"""Parts of the examples that are added up first: twice as many are too much for one loop, half as many slower."""


def tuned(run: Callable[..., PyTree], plain: Callable[..., PyTree], *arrays: Array) -> PyTree:
    """`run(*arrays)` where one CPU device runs it and the switch is on, else `plain(*arrays)`."""
    if cpu_tuning.value is None and any(map(divided, arrays)):
        return plain(*arrays)
    return by_platform(run, plain, *arrays)


def by_platform(cpu: Callable[..., PyTree], elsewhere: Callable[..., PyTree], *arrays: Array) -> PyTree:
    """`cpu(*arrays)` or `elsewhere(*arrays)`: of what JAX traces, XLA decides when it lowers the program.

    Of what JAX differentiates at this very moment JAX's default platform decides: it would differentiate both, and trace twice as long.
    """
    known = _on_cpu.value if cpu_tuning.value is None else cpu_tuning.value
    tracers = [a for a in arrays if isinstance(a, jax.core.Tracer)]
    if known is None and _differentiated(*tracers):
        known = jax.default_backend() == "cpu"
    if known is None and tracers:
        return jax.lax.platform_dependent(*arrays, cpu=decided(cpu, True), default=decided(elsewhere, False))
    if known is None:
        known = all(device.platform == "cpu" for a in arrays if isinstance(a, jax.Array) for device in a.devices())
    with _on_cpu(known):
        return (cpu if known else elsewhere)(*arrays)


def for_cpu() -> bool:
    """Whether what is asked for now is meant for a CPU: as the switch says, or JAX's default platform."""
    known = _on_cpu.value if cpu_tuning.value is None else cpu_tuning.value
    return jax.default_backend() == "cpu" if known is None else known


_on_cpu = jax.make_user_context(None)
"""What is known of the platform inside a branch that is for one."""


def decided(run: Callable[..., PyTree], on: bool) -> Callable[..., PyTree]:
    """`run` for one platform, so that nothing inside has to ask again."""

    def inside(*arrays: Array) -> PyTree:
        with _on_cpu(on):
            return run(*arrays)

    return inside


def divided(a: Array) -> bool:
    """Whether `a` lies on several devices, over which XLA divides the work: slices of its examples would move them from one to another."""
    if not isinstance(a, jax.Array):
        return False
    if not isinstance(a, jax.core.Tracer):
        return a.sharding.num_devices > 1
    mesh = jax.typeof(a).sharding.mesh
    return mesh.size > 1 and any(kind != AxisType.Manual for kind in mesh.axis_types)  # under `jax.shard_map` a device has its own part


def on_numpy(*arrays: Array) -> bool:
    """Whether NumPy computes, and what it is good at is wanted."""
    return namespace(*arrays) is np and cpu_tuning.value is not False


def at_least(count: int, least: int) -> bool:
    """Whether `count` is that large; no, where it depends on a symbolic batch size (`jax.export`)."""
    return isinstance(count, int) and count >= least


def in_blocks(run: Callable[[Array], Array], x: Array, each: int) -> Array:
    """`run(x)`, of as many images at a time as need up to BLOCK numbers, where an image needs `each`."""

    def blocks(x: Array) -> Array:
        (parts,), (rest,) = _divided_examples((x,), count)
        done = mapped(run, parts)  # (count, N / count, ...)
        done = done.reshape(-1, *done.shape[2:])
        return namespace(done).concatenate([done, run(rest)]) if rest.shape[0] else done

    count = _count(x, each)
    return tuned(blocks, run, x) if count > 1 else run(x)


def sum_in_blocks(run: Callable[..., Array], each: int, *arrays: Array) -> Array:
    """`run(*arrays)`, which sums over images, in such blocks too."""

    def blocks(*arrays: Array) -> Array:
        parts, rest = _divided_examples(arrays, count)
        if _traced(*arrays):
            like = jax.eval_shape(run, *(a[0] for a in parts))
            nothing = jax.numpy.zeros(like.shape, like.dtype)
            total = jax.lax.scan(lambda total, part: (total + run(*part), None), nothing, parts)[0]
        else:
            total = reduce(add, (run(*(a[i] for a in parts)) for i in range(count)))
        return total + run(*rest) if rest[0].shape[0] else total

    count = _count(arrays[0], each)
    return tuned(blocks, run, *arrays) if count > 1 else run(*arrays)


def _count(x: Array, each: int) -> int:
    """How many blocks: as few as are small enough, or up to twice as many if they are then equally large."""
    n = x.shape[0]
    if not at_least(n, 2):
        return 1
    few = min(ceil(n / max(BLOCK // max(each, 1), 1)), n)
    return next((count for count in range(few, min(2 * few, n) + 1) if n % count == 0), few)


def _divided_examples(arrays: tuple[Array, ...], count: int) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """The arrays as (count, N / count, ...), and what is left over."""
    each = arrays[0].shape[0] // count
    parts = tuple(a[: count * each].reshape(count, each, *a.shape[1:]) for a in arrays)
    return parts, tuple(a[count * each :] for a in arrays)


def mapped(run: Callable[..., Array], *arrays: Array, numbers: int = 0) -> Array:
    """`run` of each entry along the first axis, one after the other, where each needs that many `numbers`: (count, ...).

    A compiled program is a loop, so that all of them compile as one and use the same memory; of WRITTEN_OUT numbers it is not.
    """

    def turns(*arrays: Array) -> Array:
        done = in_turn(run, [tuple(a[i] for a in arrays) for i in range(arrays[0].shape[0])])
        return namespace(*done).stack(done)

    def loop(*arrays: Array) -> Array:
        if not _traced(*arrays):
            return turns(*arrays)
        if differentiated:
            return jax.lax.map(lambda each: run(*each), arrays)
        count, like = len(arrays[0]), jax.eval_shape(run, *(a[0] for a in arrays))
        # not zeros, which XLA makes for all loops of a program before it begins: what depends on an input waits for it
        some = jax.numpy.broadcast_to(arrays[0].reshape(-1)[0].astype(like.dtype), (count, *like.shape))
        return jax.lax.fori_loop(
            0, count, lambda i, done: jax.lax.dynamic_update_index_in_dim(done, run(*(a[i] for a in arrays)), i, 0), some
        )

    differentiated = _differentiated(*arrays)  # the gradient of taking entries out one by one would add as many whole arrays
    return tuned(turns if at_least(numbers, WRITTEN_OUT) and not differentiated else loop, turns, *arrays)


def _traced(*arrays: Array) -> bool:
    return any(isinstance(a, jax.core.Tracer) for a in arrays)


def _differentiated(*arrays: Array) -> bool:
    """Whether JAX differentiates at this very moment."""
    return any(type(a).__module__.endswith(".ad") for a in arrays)


def in_turn(run: Callable[..., Array], parts: Iterable[tuple[Array, ...]]) -> list[Array]:
    """`[run(*part) for part in parts]`, one after the other, so that they use the same memory."""
    done = []
    for part in parts:
        done.append(run(*(after(done[-1], *part) if done else part)))
    return done


def after(first: Array, *arrays: Array) -> tuple[Array, ...]:
    """The arrays, made only once an entry of `first` is there, which takes the matrix products behind it.

    XLA on a CPU makes at once whatever it can, and then needs the memory for all of it. What holds it back is a choice that
    always falls on x, as a compiler cannot know.
    """
    sizes = [a.size for a in (first, *arrays)]
    if namespace(first, *arrays) is np or not at_least(sum(sizes), FEW) or 0 in sizes:
        return arrays

    def later(first: Array, *arrays: Array) -> tuple[Array, ...]:
        return tuple(_later(first, x) for x in arrays)

    return tuned(later, lambda first, *arrays: arrays, first, *arrays)


def afresh(x: Array, dy: Array) -> Array:
    """`x`, of which XLA does not know that it is x: what is computed of it, once `dy` is there, is computed again, not kept.

    Elsewhere a barrier says so. XLA on a CPU removes barriers before it looks for what is there twice.
    """
    if namespace(x, dy) is np:
        return x
    barrier = lambda dy, x: jax.lax.optimization_barrier((x, dy))[0]
    return tuned(lambda dy, x: after(dy, x)[0], barrier, dy, x)


def _later(first: Array, x: Array) -> Array:
    at = x.reshape(-1)[0]
    some = first.reshape(-1)[(at != at).astype("int32")]
    return namespace(first, x).where((some == some) | (some != some), x, 0)


def stored(run: Callable[[Array], PyTree], x: Array) -> PyTree:
    """`run(x)`, which works example by example, as an array in memory that later work reads.

    XLA on a CPU would put cheap work into every loop that reads its result, and make it anew for each of a pool's taps. It does
    not reach behind a concatenation, here of two halves of the examples.
    """

    def halves(x: Array) -> PyTree:
        half = x.shape[0] // 2
        return jax.tree.map(lambda *parts: namespace(*parts).concatenate(parts), run(x[:half]), run(x[half:]))

    return run(x) if namespace(x) is np or not at_least(x.shape[0], 2) else tuned(halves, run, x)


@in_float32
def sum_rows(a: Array, cheap: bool = False) -> Array:
    """The sum over all axes but the last: (C,).

    XLA on a CPU makes a sum into which it has fused other work number by number, on one core. A large sum is therefore a product
    with ones, before which it stores `a`; of what is `cheap` to make from stored arrays eight parts of the examples are added up
    before that, in one loop, on vectors, by all cores. For NumPy too a product is many times faster than a sum.
    """
    axes, numpy = tuple(range(a.ndim - 1)), namespace(a) is np

    def parts(a: Array) -> Array:
        part = a.shape[0] // PARTS
        if not cheap or not part or numpy:
            return _product_with_ones(a)
        added = reduce(add, (a[i * part : (i + 1) * part] for i in range(PARTS)))  # (N / 8, ..., C)
        return added.sum(axes) + a[part * PARTS :].sum(axes)

    def plain(a: Array) -> Array:
        return a.sum(axes)

    if a.ndim < 3 or not (numpy or at_least(a.size, LARGE_CHEAP if cheap else LARGE)):
        return plain(a)
    return tuned(parts, plain, a)


def _product_with_ones(a: Array) -> Array:
    n, c = gcd(a.shape[0], PARTS), a.shape[-1]
    rows = a.size // c // n
    return (namespace(a).ones((n, 1, rows), a.dtype) @ a.reshape(n, rows, c)).sum((0, 1))


@in_float32
def mean_rows(a: Array, cheap: bool = False) -> Array:
    """The mean over all axes but the last: (C,)."""
    return sum_rows(a, cheap) / (a.size // a.shape[-1])


def masked(keep: Array, a: Array) -> Array:
    """`a` where `keep`, else 0. NumPy's `where` takes a branch for every number, most of them unforeseen: many times a product's time."""
    if on_numpy(keep, a) and np.isfinite(a).all():
        return a * keep + 0  # -0 + 0 is 0
    return namespace(keep, a).where(keep, a, 0)


SETTINGS = {"MMAP_MAX": (-4, 0), "TRIM_THRESHOLD": (-1, 2**31 - 1)}
"""glibc's settings by which freed memory stays with the process, whatever its size: the numbers `mallopt` knows them by (malloc.h), and
their values, in pieces and in bytes. As environment variables, read at the start of a process, they are `MALLOC_MMAP_MAX_` and
`MALLOC_TRIM_THRESHOLD_`."""


def keep_memory() -> bool:
    """Keep what is freed, in the whole process and until it ends, for what is asked for next; call it before the first step.

    glibc gives memory above 32 MB back to the system after every call of a compiled program, and is given it anew, page by page, at
    the next, which can take longer than the program's work. The process then holds the most that it ever needed.

    Returns: whether it could; False where the C library is not glibc, and nothing has changed.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(name, value) == 1 for name, value in SETTINGS.values())
