"""Losses, as pairs: `loss(outputs, targets) -> (mean loss, doutputs)`. N examples, K classes."""

from collections.abc import Callable
from functools import wraps

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arguments import check_array, check_number, check_shape
from funcnn.arrays import Array, PyTree, namespace, rounded, wide, widened


def softmax_cross_entropy(logits: Array, labels: Array, *, label_smoothing: float = 0.0) -> tuple[Array, Array]:
    """The mean over examples of -sum_k t_k log softmax(logits)_k, and its gradient.

        dlogits = (softmax(logits) - t) / N

    Args:
        logits: (N, K), floating-point.
        labels: (N,), whole numbers in [0, K); or t itself, (N, K), rows that sum to 1.
        label_smoothing: s in [0, 1): t becomes (1 - s) t + s / K (Szegedy et al. 2016, arXiv:1512.00567).

    Returns:
        The loss, a scalar, and dlogits (N, K), in the dtype of the logits. Both are computed in float32 where those are halves;
        a loss above 65504 is infinite in float16, dlogits is right.

    Raises:
        TypeError, ValueError: a wrong shape or dtype; a label out of range, a row that does not sum to 1. Where the labels
            are traced, so that their values are not known, such an example makes loss and gradient NaN instead.
    """
    name = "softmax_cross_entropy"
    check_array(name, "logits", logits, ("N", "K"))
    label_smoothing = check_number(name, "label_smoothing", label_smoothing, "in [0, 1)", lambda s: 0 <= s < 1)
    n, k = logits.shape
    if n == 0:
        raise ValueError(f"{name}: expected at least one example, got logits of shape {logits.shape}")
    wide_logits = widened(logits)
    t = _distribution(name, labels, wide_logits)  # (N, K)
    t = (1 - label_smoothing) * t + label_smoothing / k
    xp = namespace(logits, t)
    z = wide_logits - wide_logits.max(1, keepdims=True)  # (N, K)
    log_p = z - xp.log(xp.exp(z).sum(1, keepdims=True))
    loss = -(t * xp.where(t == 0, 0, log_p)).sum(1).mean()  # a class of probability 0 may have the logit -inf
    return rounded(loss, logits), rounded((xp.exp(log_p) - t) / n, logits)


def _check_labels(name: str, labels: Array) -> None:
    """Raise unless they are an array, and whole numbers where they are not rows."""
    if not isinstance(labels, np.ndarray | jax.Array):
        fix = "; convert them, np.asarray(labels)" if isinstance(labels, list | tuple) else ""
        raise TypeError(f"{name}: expected labels to be a NumPy or JAX array, got {type(labels).__name__}{fix}")
    if labels.ndim == 1 and not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"{name}: expected labels of whole numbers, got {labels.dtype}; convert them, labels.astype('int32')")


def _distribution(name: str, labels: Array, logits: Array) -> Array:
    """The labels as rows t (N, K) that sum to 1; raise where one cannot be, or make it NaN where its values are not known."""
    n, k = logits.shape
    xp = namespace(logits, labels)
    _check_labels(name, labels)
    if labels.ndim == 1:
        check_shape(name, "labels", labels.shape, (n,))
        whole = labels.astype("int64" if labels.dtype.itemsize == 8 else "int32")  # nothing wraps into the range
        t = (whole[:, None] == namespace(labels).arange(k, dtype=whole.dtype)[None]).astype(logits.dtype)
        valid, expected = t.sum(1) == 1, f"labels in [0, {k})"
    else:
        check_shape(name, "labels", labels.shape, (n, k), "or whole numbers of shape (N,)")
        t = labels.astype(logits.dtype)
        rounding = 1e-3 + 4 * float(jnp.finfo(labels.dtype).eps if jnp.issubdtype(labels.dtype, jnp.inexact) else 0)
        valid, expected = abs(labels.astype("float32").sum(1) - 1) < rounding, "rows of labels that sum to 1"
    if not isinstance(valid, jax.core.Tracer) and not valid.all():
        raise ValueError(f"{name}: expected {expected}, got {np.asarray(labels)[~np.asarray(valid)][0]} among them")
    return xp.where(valid[:, None], t, np.nan)


def mean_squared_error(outputs: Array, targets: Array) -> tuple[Array, Array]:
    """The mean over all entries of (outputs - targets)^2, and its gradient.

        doutputs = 2 (outputs - targets) / (number of entries)

    Args:
        outputs, targets: floating-point, of one shape.

    Returns:
        The loss, a scalar, and doutputs, in the dtype of the outputs; computed in float32 as those of `softmax_cross_entropy`.

    Raises:
        TypeError, ValueError: dtypes or shapes that do not fit.
    """
    check_array("mean_squared_error", "outputs", outputs, ("N", "..."))
    check_array("mean_squared_error", "targets", targets, outputs.shape)
    if outputs.size == 0:
        raise ValueError(f"mean_squared_error: expected at least one entry, got outputs of shape {outputs.shape}")
    error = widened(outputs) - widened(targets)
    return rounded((error * error).mean(), outputs), rounded(error * (2 / error.size), outputs)


def pair_of(loss: Callable, outputs: PyTree, targets: PyTree) -> tuple[Array, PyTree]:
    """`loss(outputs, targets)`, or raise unless it is a pair as all losses here are.

    Raises:
        TypeError, ValueError: what comes is no pair of a scalar and a tree of arrays like outputs, as that of a plain loss from optax.
    """
    got, name = loss(outputs, targets), getattr(loss, "__name__", "loss")
    if not isinstance(got, tuple) or len(got) != 2:
        what = f"an array of shape {got.shape}" if isinstance(got, np.ndarray | jax.Array) else type(got).__name__
        fix = f"make the pair of a plain loss by jax.grad, fn.with_gradient({name})"
        raise TypeError(f"{name}: expected a loss to return (mean loss, doutputs), got {what}; {fix}")
    trees = jax.tree.structure(got[1]), jax.tree.structure(outputs)
    if trees[0] != trees[1]:
        raise TypeError(f"{name}: expected its doutputs to be a tree like outputs, {trees[1]}, got {trees[0]}")
    doutputs = zip(jax.tree.leaves(got[1]), jax.tree.leaves(outputs), strict=True)
    for what, part, shape in (("mean loss", got[0], ()), *(("doutputs", d, y.shape) for d, y in doutputs)):
        if not isinstance(part, np.ndarray | np.generic | jax.Array):
            raise TypeError(f"{name}: expected its {what} to be a NumPy or JAX array, got {type(part).__name__}")
        check_shape(name, f"its {what}", part.shape, shape)
    return got


def with_gradient(loss: Callable[[PyTree, PyTree], Array]) -> Callable[[PyTree, PyTree], tuple[Array, PyTree]]:
    """The pair of a plain loss, whose values are per example or their mean, such as those of optax; the gradient by `jax.grad`.

    Args:
        loss: `(outputs, targets) -> loss`, differentiable by JAX.
    """

    @wraps(loss)
    def pair(outputs: PyTree, targets: PyTree) -> tuple[Array, PyTree]:
        return jax.value_and_grad(lambda outputs: loss(outputs, targets).mean())(outputs)

    return pair


def accuracy(logits: Array, labels: Array) -> Array:
    """The share of examples whose largest logit is at the label: logits (N, K), labels (N,) or one-hot (N, K)."""
    check_array("accuracy", "logits", logits, ("N", "K"))
    _check_labels("accuracy", labels)
    check_shape("accuracy", "labels", labels.shape, logits.shape if labels.ndim == 2 else logits.shape[:1])
    hits = logits.argmax(1) == (labels if labels.ndim == 1 else labels.argmax(1))
    return hits.mean(dtype=wide(logits.dtype))
