"""Pooling as JAX sees it. N H W C in, KH KW window, P Q output rows and columns, B the axis of `vmap`.

The largest of every window is no linear map, but its tangent is one, once it is known which tap has won:

    dy[p] = sum over taps k of dx[tap k of p] [k has won p],        its transpose: dx[h] = sum of dy[p] over the windows p that h has won.

Without winners they are the sum of every window, and its transpose. Under `vmap` the new axis joins N.
"""

from functools import partial, reduce
from math import prod
from operator import add

import jax
from jax import numpy as jnp
from jax.interpreters import ad, batching

from funcnn.arrays import Array, rounded, widened
from funcnn.convolution.geometry import Axis, offsets, overlap_add, pad, tap
from funcnn.cpu import masked
from funcnn.interop.primitives import batch_first, merge, of_nothing, primitive, split
from funcnn.pooling.maximum import first_largest, index_dtype, to_winners


def largest_of_windows(x: Array, axes: tuple[Axis, ...]) -> Array:
    """The largest entry of every window, of equal ones the first: (N, H, W, C) to (N, P, Q, C)."""
    return largest_p.bind(x, axes=axes)[0]


def sum_of_windows(x: Array, axes: tuple[Axis, ...]) -> Array:
    """The sum of every window: (N, H, W, C) to (N, P, Q, C)."""
    return sum_p.bind(x, axes=axes, back=False)


def _largest(x, *, axes):
    return first_largest(x, axes)


def _sum(a, *winner, axes, back):
    """Of (N, H, W, C), and `back` of (N, P, Q, C); the winners are of (N, P, Q, C)."""
    if back:
        return to_winners(a, winner[0], axes) if winner else rounded(overlap_add(lambda k: widened(a), axes), a)
    padded = pad(widened(a), axes)
    seen = (tap(padded, axes, k) for k in offsets(axes))
    return rounded(reduce(add, (masked(winner[0] == i, t) if winner else t for i, t in enumerate(seen))), a)


largest_p = primitive("funcnn_largest_of_windows", _largest, _largest, multiple_results=True)
sum_p = primitive("funcnn_sum_of_windows", _sum, _sum)


def _shape(a, axes, back=False):
    return (a.shape[0], *(axis.size if back else axis.out for axis in axes), a.shape[-1])


@largest_p.def_abstract_eval
def _largest_typed(x, *, axes):
    y = x.update(shape=_shape(x, axes), weak_type=False)
    return y, y.update(dtype=jnp.dtype(index_dtype(prod(axis.window for axis in axes))))


@sum_p.def_abstract_eval
def _sum_typed(a, *winner, axes, back):
    return a.update(shape=_shape(a, axes, back), weak_type=False)


def _largest_tangent(primals, tangents, *, axes):
    y, winner = largest_p.bind(*primals, axes=axes)
    none = ad.Zero(jax.typeof(winner).to_tangent_aval())
    return (y, winner), (sum_p.bind(ad.instantiate_zeros(tangents[0]), winner, axes=axes, back=False), none)


def _sum_tangent(primals, tangents, **options):
    return sum_p.bind(*primals, **options), sum_p.bind(ad.instantiate_zeros(tangents[0]), *primals[1:], **options)


def _sum_transposed(given, a, *winner, axes, back):
    to = ad.Zero(a.aval) if type(given) is ad.Zero else sum_p.bind(given, *winner, axes=axes, back=not back)
    return to, *(None for _ in winner)


ad.primitive_jvps[largest_p] = _largest_tangent
ad.primitive_jvps[sum_p] = _sum_tangent
ad.primitive_transposes[sum_p] = _sum_transposed


def _batched(p, arrays, dims, **options):
    first, having, count = batch_first(arrays, dims)
    if isinstance(count, int) and count == 0:
        results = of_nothing(partial(p.bind, **options), first, having)
    else:
        whole = (a if has else jnp.broadcast_to(a, (count, *a.shape)) for a, has in zip(first, having, strict=True))
        results = jax.tree.map(lambda y: split(y, 0, count), p.bind(*(merge(a, 0) for a in whole), **options))
    return results, jax.tree.map(lambda y: 0, results)


for p in (largest_p, sum_p):
    batching.primitive_batchers[p] = partial(_batched, p)
