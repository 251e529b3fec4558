"""Dense layers, learned offsets and factors, and reshaping. N examples, D features in, O out, C channels."""

from math import prod
from typing import Literal, TypeAlias

import numpy as np
from jax.nn.initializers import Initializer, he_normal, ones, zeros
from jax.random import fold_in

from funcnn.arguments import check_array, check_in_shape, check_option, check_params
from funcnn.arrays import Array, PyTree, aligned, matmul, rounded, widened
from funcnn.cpu import sum_rows
from funcnn.layer import Layer, constructor, stateless


@constructor
def dense(features: int, *, w_init: Initializer = he_normal(), b_init: Initializer = zeros) -> Layer:
    """y = x w + b.

    Args:
        features: O, the number of outputs.
        w_init, b_init: `jax.nn.initializers` for w (D, O) and b (O,).

    Returns:
        A layer from (N, D) to (N, O) with params {"w", "b"}; it keeps x and w.
    """
    check_option("dense", "features", features)

    def init(key, in_shape):
        check_in_shape("dense", in_shape, ("D",), "put fn.flatten before it")
        return {"w": w_init(key, (*in_shape, features)), "b": b_init(fold_in(key, 1), (features,))}

    def forward(params, x):
        check_params("dense", params, {"w": ("D", features), "b": (features,)})
        check_array("dense", "x", x, ("N", params["w"].shape[0]))
        return matmul(x, params["w"]) + params["b"][None], (x, params["w"])  # (N, O)

    def backward(residuals, dy):
        """dw = x^T dy,  db = sum_n dy_n,  dx = dy w^T."""
        x, w = residuals
        check_array("dense", "dy", dy, (x.shape[0], features))
        return {"w": matmul(x.T, dy), "b": sum_rows(dy)}, matmul(dy, w.T)  # (D, O), (O,), (N, D)

    return stateless("dense", forward, backward, init)


# Learned offsets and factors

Per: TypeAlias = Literal["channel", "position", "entry"]


@constructor
def bias(*, per: Per = "channel", b_init: Initializer = zeros) -> Layer:
    """y = x + b, with b learned.

    Args:
        per: "channel" has an offset for each channel, b (C,); "position" one for each place in space, b (..., 1); "entry" one for each
            entry of an example, b (..., C).
        b_init: a `jax.nn.initializers` for b.

    Returns:
        A layer from (N, ..., C) to (N, ..., C) with params {"b"}, which may be float32 where x is a half; it keeps shapes only.

    Raises:
        ValueError: `per` is none of the three.
    """
    _check_per("bias", per)

    def init(key, in_shape):
        return {"b": b_init(key, _shape_of("bias", per, in_shape))}

    def forward(params, x):
        b = _checked("bias", per, params, "b", x)  # (1, ..., C), (1, ..., 1)
        return rounded(widened(x) + widened(b), x), (x[:0], params["b"][None][:0])

    def backward(residuals, dy):
        """db = sum of dy over all that it is added to,  dx = dy."""
        x, b = residuals
        check_array("bias", "dy", dy, ("N", *x.shape[1:]))
        return {"b": _sum_to(b.shape[1:], dy, b)}, dy

    return stateless("bias", forward, backward, init)


@constructor
def scale(*, per: Per = "channel", scale_init: Initializer = ones) -> Layer:
    """y = scale x, with the scale learned; per channel the layer scale of Touvron et al. 2021, arXiv:2103.17239.

    Args:
        per: "channel" has a factor for each channel, scale (C,); "position" one for each place in space, scale (..., 1); "entry" one for
            each entry of an example, scale (..., C).
        scale_init: a `jax.nn.initializers` for the scale.

    Returns:
        A layer from (N, ..., C) to (N, ..., C) with params {"scale"}, which may be float32 where x is a half; it keeps x and the scale.

    Raises:
        ValueError: `per` is none of the three.
    """
    _check_per("scale", per)

    def init(key, in_shape):
        return {"scale": scale_init(key, _shape_of("scale", per, in_shape))}

    def forward(params, x):
        factor = _checked("scale", per, params, "scale", x)  # (1, ..., C), (1, ..., 1)
        return rounded(widened(x) * widened(factor), x), (x, params["scale"])

    def backward(residuals, dy):
        """dscale = sum of x dy over all that it multiplies,  dx = scale dy."""
        x, factor = residuals
        check_array("scale", "dy", dy, x.shape)
        given = widened(dy)
        dx = rounded(given * widened(aligned(factor, x)), x)  # like x
        return {"scale": _sum_to(factor.shape, widened(x) * given, factor)}, dx

    return stateless("scale", forward, backward, init)


def _check_per(name: str, per: str) -> None:
    if per not in ("channel", "position", "entry"):
        raise ValueError(f'{name}: expected per "channel", "position" or "entry", got {per!r}')


def _shape_of(name: str, per: Per, in_shape: tuple[int, ...]) -> tuple[int, ...]:
    check_in_shape(name, in_shape, ("...", "C"))
    return {"channel": in_shape[-1:], "position": (*in_shape[:-1], 1), "entry": in_shape}[per]


def _checked(name: str, per: Per, params: PyTree, leaf: str, x: Array) -> Array:
    """The one leaf of params with as many axes as x; it and x fit together."""
    check_params(name, params, {leaf: {"channel": ("C",), "position": ("...", 1), "entry": ("...", "C")}[per]})
    shape = params[leaf].shape
    check_array(name, "x", x, {"channel": ("N", "...", *shape), "position": ("N", *shape[:-1], "C"), "entry": ("N", *shape)}[per])
    return aligned(params[leaf], x)


def _sum_to(shape: tuple[int, ...], a: Array, like: Array) -> Array:
    """The sum of a over its examples, and the axes of an example along which `shape` does not go on, of halves kept in float32."""
    if shape == a.shape[-1:]:
        return rounded(sum_rows(widened(a)), like)  # (C,)
    alone = tuple(i for i, size in enumerate(shape, 1) if size == 1)
    return rounded(widened(a).sum((0, *alone), keepdims=True)[0], like)  # (..., C), (..., 1)


# Other shapes


def _flatten_forward(params, x):
    """y[n] = x[n] as one vector, in row-major order: (N, ...) to (N, D)."""
    check_array("flatten", "x", x, ("N", "..."))
    return x.reshape(x.shape[0], prod(x.shape[1:])), x[:0]


def _flatten_backward(empty, dy):
    """dx[n] = dy[n], in the shape of x."""
    check_array("flatten", "dy", dy, ("N", prod(empty.shape[1:])))
    return (), dy.reshape(dy.shape[0], *empty.shape[1:])


flatten = stateless("flatten", _flatten_forward, _flatten_backward)


@constructor
def reshape(*shape: int) -> Layer:
    """y[n] = x[n] in another shape, in row-major order.

    Args:
        shape: of one example; one size may be -1, which is whatever is left.

    Returns:
        A layer from (N, ...) to (N, *shape), without parameters; it keeps the shape of x.

    Raises:
        ValueError: sizes that are no whole numbers of at least 1, or more than one -1; an example that has not as many entries.
    """
    rest = [isinstance(size, int | np.integer) and size == -1 for size in shape]
    if not shape or sum(rest) > 1:
        raise ValueError(f"reshape: expected the sizes of one example, at most one of them -1, got {shape}")
    sizes = tuple(-1 if r else check_option("reshape", "every size but one -1", size) for r, size in zip(rest, shape, strict=True))
    known = prod(size for size in sizes if size != -1)

    def forward(params, x):
        check_array("reshape", "x", x, ("N", "..."))
        entries = prod(x.shape[1:])
        if entries % known or (entries != known and -1 not in sizes):
            wanted = f"a multiple of {known}" if -1 in sizes else known
            raise ValueError(f"reshape: expected x of {wanted} entries an example for shape {sizes}, got {entries} in {x.shape}")
        return x.reshape(x.shape[0], *(entries // known if size == -1 else size for size in sizes)), x[:0]  # (N, *shape)

    def backward(empty, dy):
        """dx[n] = dy[n], in the shape of x."""
        entries = prod(empty.shape[1:])
        check_array("reshape", "dy", dy, ("N", *(entries // known if size == -1 else size for size in sizes)))
        return (), dy.reshape(dy.shape[0], *empty.shape[1:])  # like x

    return stateless("reshape", forward, backward)


@constructor
def transpose(*axes: int) -> Layer:
    """y[n] = x[n] with its axes in another order: `transpose(2, 0, 1)` makes (H, W, C) to (C, H, W).

    Args:
        axes: those of one example, all of them, counted from 0.

    Returns:
        A layer from (N, ...) to (N, ...), without parameters; it keeps the shape of x.

    Raises:
        ValueError: axes that are not 0, 1, ... in some order; an example with another number of them.
    """
    whole = all(isinstance(axis, int | np.integer) and not isinstance(axis, bool) for axis in axes)
    if not axes or not whole or set(axes) != set(range(len(axes))):
        raise ValueError(f"transpose: expected the axes of one example in some order, counted from 0, got {axes}")
    order = (0, *(int(axis) + 1 for axis in axes))
    back = tuple(order.index(i) for i in range(len(order)))

    def forward(params, x):
        check_array("transpose", "x", x, ("N", *(f"S{i}" for i in range(len(axes)))))
        return x.transpose(order), x[:0]  # (N, ...)

    def backward(empty, dy):
        """dx[n] = dy[n] with its axes in the order they had."""
        check_array("transpose", "dy", dy, ("N", *(empty.shape[i] for i in order[1:])))
        return (), dy.transpose(back)  # like x

    return stateless("transpose", forward, backward)
