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
from funcnn.training.devices import over_any_mesh

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
        views: functions of a batch, such as a mirror; the outputs are the means over them. By default x is seen as it is. The same
            functions compile once.

    Returns:
        NumPy arrays.

    Raises:
        TypeError, ValueError: another answer; no arrays, or of different length; no examples; a batch size below 1; views that are none.
    """
    if answer not in ("classes", "probabilities", "outputs"):
        raise ValueError(f'predict: expected answer "classes", "probabilities" or "outputs", got {answer!r}')
    if not isinstance(views, tuple | list) or not all(map(callable, views)):
        raise TypeError(f"predict: expected views to be a list of functions of a batch, got {views!r}")
    n, size = _count(x), check_option("predict", "batch_size", batch_size)
    x = jax.tree.map(np.asarray, x)  # of which slices can be taken wherever it was
    batches = (jax.tree.map(lambda a, i=i: a[i : i + size], x) for i in range(0, n, size))
    parts = [_answer(net, answer, tuple(views), params, state, batch) for batch in batches]
    return jax.tree.map(lambda *some: np.concatenate([np.asarray(a) for a in some]), *parts)


def _count(x: PyTree) -> int:
    """N, or raise unless all arrays have that many examples, at least one."""
    leaves = jax.tree.leaves(x)
    if not leaves or not all(isinstance(a, np.ndarray | jax.Array) and a.ndim for a in leaves):
        raise TypeError(f"predict: expected x to be a NumPy or JAX array of examples, or a tree of such, got {type(x).__name__}")
    counts = {a.shape[0] for a in leaves}
    if len(counts) > 1 or counts == {0}:
        raise ValueError(f"predict: expected at least one example, as many in each array, got {', '.join(map(str, sorted(counts)))}")
    return counts.pop()


@partial(jax.jit, static_argnums=(0, 1, 2))
def _answer(net: Layer, answer: Answer, views: tuple[View, ...], params: PyTree, state: PyTree, x: PyTree) -> PyTree:
    def run(params: PyTree, state: PyTree, x: PyTree) -> PyTree:
        seen = [net.apply(params, state, view(x))[0] for view in views] or [net.apply(params, state, x)[0]]
        outputs = jax.tree.map(lambda *some: sum(some) / len(some), *seen)
        if answer == "outputs":
            return outputs
        return jnp.argmax(outputs, -1) if answer == "classes" else jax.nn.softmax(outputs, -1)

    return over_any_mesh(run, new_state=False)(params, state, x)
