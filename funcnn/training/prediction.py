"""What a trained network says of new inputs."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arguments import check_option
from funcnn.arrays import PyTree
from funcnn.layer import Layer

View = Callable[[PyTree], PyTree]
Answer = Literal["classes", "probabilities", "outputs"]


def predict(
    net: Layer,
    params: PyTree,
    state: PyTree,
    x: PyTree,
    *,
    answer: Answer = "classes",
    batch_size: int = 500,
    views: Sequence[View] = (),
) -> np.ndarray | PyTree:
    """What the network says of x (N, ...), a batch at a time.

    Args:
        net, params, state: the network, as it was trained.
        x: N examples, an array or a tree of arrays.
        answer: "classes" (N,), of the largest output; "probabilities" (N, K), the softmax of the outputs; or the "outputs" (N, ...).
        batch_size: how many examples go through the network at a time.
        views: functions of a batch, such as a mirror; the outputs are the means over them. By default x is seen as it is.

    Returns:
        NumPy arrays.

    Raises:
        ValueError: another answer; no examples; a batch size below 1.
    """
    if answer not in ("classes", "probabilities", "outputs"):
        raise ValueError(f'predict: expected answer "classes", "probabilities" or "outputs", got {answer!r}')
    n, size = jax.tree.leaves(x)[0].shape[0], check_option("predict", "batch_size", batch_size)
    if not n:
        raise ValueError("predict: expected at least one example, got none")
    batches = (jax.tree.map(lambda a, i=i: a[i : i + size], x) for i in range(0, n, size))
    parts = [_answer(net, answer, tuple(views), params, state, batch) for batch in batches]
    return jax.tree.map(lambda *some: np.concatenate([np.asarray(a) for a in some]), *parts)


@partial(jax.jit, static_argnums=(0, 1, 2))
def _answer(net: Layer, answer: Answer, views: tuple[View, ...], params: PyTree, state: PyTree, x: PyTree) -> PyTree:
    seen = [net.apply(params, state, view(x))[0] for view in views] or [net.apply(params, state, x)[0]]
    outputs = jax.tree.map(lambda *some: sum(some) / len(some), *seen)
    if answer == "outputs":
        return outputs
    return jnp.argmax(outputs, -1) if answer == "classes" else jax.nn.softmax(outputs, -1)
