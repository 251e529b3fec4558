"""Dense layers, and the reshaping in front of them. N examples, D features in, O out."""

from math import prod

from jax.nn.initializers import Initializer, he_normal, zeros
from jax.random import fold_in

from funcnn.arguments import check_array, check_in_shape, check_option, check_params
from funcnn.arrays import matmul
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

    def work(params, x):
        products, sums = x.size * features, x.shape[0] * features // 2
        return products + sums, 2 * products + sums, ""

    return stateless("dense", forward, backward, init)._replace(work=work)


def _flatten_forward(params, x):
    """y[n] = x[n] as one vector, in row-major order: (N, ...) to (N, D)."""
    check_array("flatten", "x", x, ("N", "..."))
    return x.reshape(x.shape[0], prod(x.shape[1:])), x[:0]


def _flatten_backward(empty, dy):
    """dx[n] = dy[n], in the shape of x."""
    check_array("flatten", "dy", dy, ("N", prod(empty.shape[1:])))
    return (), dy.reshape(dy.shape[0], *empty.shape[1:])


flatten = stateless("flatten", _flatten_forward, _flatten_backward)
