"""The convolution as JAX sees it, one primitive with three faces. N H W C in, KH KW kernel, P Q O out, G groups, B the axis of `vmap`.

A convolution is a number that is linear in three arrays, laid out as everywhere in funcnn:

    <dy, conv(x, w)> = sum dy[n, p, q, o] x[n, p * SH + kh * DH - low, q * SW + kw * DW - low, c] w[kh, kw, c, o]

Its gradient in one of them is a bilinear map of the other two: y of (x, w), x of (w, dy), w of (dy, x), always of the two that follow in
the cycle x, w, y. The transposes of each map are the other two, so that the three are closed under differentiation, in either direction
and any order. They are closed under `vmap` too, whose axis joins one of theirs.
"""

from functools import partial
from typing import Literal, TypeAlias

import jax
from jax import lax
from jax import numpy as jnp
from jax.interpreters import ad, batching
from jax.lax import ConvDimensionNumbers
from jax.lax import conv_general_dilated as by_lax

from funcnn.arrays import Array
from funcnn.convolution.algorithm import Pass
from funcnn.convolution.auto import forward, input_gradient, weight_gradient
from funcnn.convolution.geometry import Geometry
from funcnn.interop.primitives import batch_first, merge, of_nothing, primitive, split

Face: TypeAlias = Literal["x", "w", "y"]
CYCLE: tuple[Face, ...] = ("x", "w", "y")
AXES = {"x": "N.GC", "w": ".CGO", "y": "N.GO"}
"""The letters of each array, "." for the spatial ones, its channels divided into groups."""
PASSES: dict[Face, Pass] = {"x": input_gradient, "w": lambda dy, x, geometry: weight_gradient(x, dy, geometry), "y": forward}


def _shape(u, v, face: Face, geometry: Geometry) -> tuple[int, ...]:
    axes, groups = geometry
    if face == "y":
        return (u.shape[0], *(a.out for a in axes), v.shape[-1])
    if face == "x":
        return (v.shape[0], *(a.size for a in axes), u.shape[-2] * groups)
    return (*(a.window for a in axes), v.shape[-1] // groups, u.shape[-1])


# What runs: funcnn's algorithms on a CPU, JAX's own convolution and its transposes elsewhere.


def _on_cpu(u, v, *, face, geometry, precision):
    if 0 in u.shape or 0 in v.shape:
        return jnp.zeros(_shape(u, v, face, geometry), u.dtype)
    return PASSES[face](u, v, geometry)


def _elsewhere(u, v, *, face, geometry, precision):
    axes, n = geometry.axes, len(geometry.axes)
    rows = (0, n + 1, *range(1, n + 1))
    conv = partial(
        by_lax,
        window_strides=[a.stride for a in axes],
        padding=[(a.low, a.high) for a in axes],
        rhs_dilation=[a.dilation for a in axes],
        dimension_numbers=ConvDimensionNumbers(rows, (n + 1, n, *range(n)), rows),
        feature_group_count=geometry.groups,
        precision=precision,
    )
    if face == "y":
        return conv(u, v)
    like = jax.ShapeDtypeStruct(_shape(u, v, face, geometry), u.dtype)
    linear, dy = (lambda x: conv(x, u), v) if face == "x" else (lambda w: conv(v, w), u)
    return jax.linear_transpose(linear, like)(dy)[0]


form_p = primitive("funcnn_convolution", _on_cpu, _elsewhere)


@form_p.def_abstract_eval
def _typed(u, v, *, face, geometry, precision):
    return u.update(shape=_shape(u, v, face, geometry), weak_type=False)


def convolve(u: Array, v: Array, face: Face, geometry: Geometry, precision=None) -> Array:
    """The face of two arrays of one dtype, the two that follow it in the cycle: (x, w) for "y", (w, dy) for "x", (dy, x) for "w".

    Args:
        u, v: x (N, H, W, C), w (KH, KW, C / G, O), dy (N, P, Q, O).
        face: which of the three arrays of the form is asked for.
        geometry: that of the convolution, from x to y.
        precision: JAX's, for other platforms than the CPU.
    """
    return form_p.bind(u, v, face=face, geometry=geometry, precision=precision)


def _operands(face: Face) -> tuple[Face, Face]:
    i = CYCLE.index(face)
    return CYCLE[i - 2], CYCLE[i - 1]


# The transposes: a form's other faces, of its cotangent and the operand that is left, in the order of the cycle.


def _to_first(dy, u, v, *, face, **options):
    return convolve(v, dy, _operands(face)[0], **options)


def _to_second(dy, u, v, *, face, **options):
    return convolve(dy, u, _operands(face)[1], **options)


ad.defbilinear(form_p, _to_first, _to_second)


# Under `vmap`. The axis joins N, O or C, whichever just the two arrays share that have it. Where all three have it, there are as many
# convolutions, one after the other: as groups of one they took 2 to 20 times as long.


def _batched(arrays, axes, *, face, geometry, precision):
    alone = partial(convolve, face=face, geometry=geometry, precision=precision)
    first, having, count = batch_first(arrays, axes)
    if isinstance(count, int) and count == 0:
        return of_nothing(alone, first, having), 0
    names = _operands(face)
    shared = set("NCO").intersection(AXES[face], *(AXES[name] for name, has in zip(names, having, strict=True) if has))
    if not shared or (shared != {"N"} and not isinstance(count, int)):  # a symbolic size is no number of channels
        parts = [a if has else None for a, has in zip(first, having, strict=True)]
        return lax.map(lambda parts: alone(*(a if part is None else part for a, part in zip(first, parts, strict=True))), parts), 0
    (letter,) = shared
    u, v = (_join(a, AXES[name], letter, geometry.groups) if has else a for name, a, has in zip(names, first, having, strict=True))
    return _part(alone(u, v), AXES[face], letter, geometry.groups, count), 0


batching.primitive_batchers[form_p] = _batched


def _join(a: Array, axes: str, letter: str, groups: int) -> Array:
    """(B, ...) with B as the outer part of the axis `letter`."""
    apart = split(a, a.ndim - 1, groups)  # (B, ..., G, C)
    at = _position(axes, letter, apart.ndim - 1)
    return merge(merge(jnp.moveaxis(apart, 0, at), at), a.ndim - 2)


def _part(a: Array, axes: str, letter: str, groups: int, count: int) -> Array:
    """The inverse of `_join`: (B, ...)."""
    apart = split(a, a.ndim - 1, groups)
    at = _position(axes, letter, apart.ndim)
    return merge(jnp.moveaxis(split(apart, at, count), at, 0), a.ndim)


def _position(axes: str, letter: str, ndim: int) -> int:
    i = axes.index(letter)
    return i if i < axes.index(".") else i + ndim - len(axes)
