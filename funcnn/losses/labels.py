"""Labels of K classes, and what each of them counts. Labels are whole numbers (N, ...), or rows (N, ..., K) of probabilities."""

from collections.abc import Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arguments import check_number, check_option, check_shape
from funcnn.arrays import Array, namespace

Weights: TypeAlias = Array | Sequence[float]
"""(K,), at least 0."""


def check_some(name: str, what: str, outputs: Array) -> None:
    """Raise where there is no example, position or class, so that there is no mean."""
    if 0 in outputs.shape:
        raise ValueError(f"{name}: expected at least one example, got {what} of shape {outputs.shape}")


def check_labels(name: str, labels: Array, outputs: Array, ignored_label: int | None = None) -> bool:
    """Whether the labels of such outputs are whole numbers, not rows; raise unless they are an array of either."""
    if not isinstance(labels, np.ndarray | jax.Array):
        fix = "; convert them, np.asarray(labels)" if isinstance(labels, list | tuple) else ""
        raise TypeError(f"{name}: expected labels to be a NumPy or JAX array, got {type(labels).__name__}{fix}")
    whole = labels.ndim == outputs.ndim - 1
    if whole and not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"{name}: expected labels of whole numbers, got {labels.dtype}; convert them, labels.astype('int32')")
    if ignored_label is not None and not -(2**31) <= check_option(name, "ignored_label", ignored_label, low=-(2**31)) < 2**31:
        raise ValueError(f"{name}: expected ignored_label to be below 2**31, got {ignored_label}")
    if ignored_label is not None and not whole:
        raise ValueError(f"{name}: expected labels of whole numbers where one of them is ignored, got labels of shape {labels.shape}")
    return whole


def whole_numbers(labels: Array) -> Array:
    """The labels in a type that holds the number of any class, so that nothing wraps into the range."""
    return labels.astype("int64" if labels.dtype.itemsize == 8 else "int32")


def one_hot(name: str, labels: Array, outputs: Array, ignored_label: int | None = None) -> tuple[Array, Array | None]:
    """The labels as rows t (N, ..., K) that sum to 1, and which of them are kept (N, ...), where one is ignored; raise where a row
    cannot be, or make it NaN where its values are not known.
    """
    *n, k = outputs.shape
    kept = None
    if check_labels(name, labels, outputs, ignored_label):
        check_shape(name, "labels", labels.shape, tuple(n))
        whole = whole_numbers(labels)
        t = (whole[..., None] == namespace(labels).arange(k, dtype=whole.dtype)[(None,) * len(n)]).astype(outputs.dtype)
        valid, expected = t.sum(-1) == 1, f"labels in [0, {k})"
        if ignored_label is not None:
            kept = whole != ignored_label
            valid, expected = valid | ~kept, f"{expected} or {ignored_label}"
    else:
        check_shape(name, "labels", labels.shape, outputs.shape, f"or whole numbers of shape ({'N,' if len(n) == 1 else 'N, ...'})")
        t = labels.astype(outputs.dtype)
        rounding = 1e-3 + 4 * float(jnp.finfo(labels.dtype).eps if jnp.issubdtype(labels.dtype, jnp.inexact) else 0)
        valid, expected = abs(labels.astype("float32").sum(-1) - 1) < rounding, "rows of labels that sum to 1"
    check_values(name, expected, labels, valid)
    return namespace(outputs, labels).where(valid[..., None], t, np.nan), kept


def check_values(name: str, expected: str, given: Array, valid: Array) -> None:
    """Raise where something `given` is not valid; where values are traced, nobody knows, and what is made of them must be NaN."""
    if not isinstance(valid, jax.core.Tracer) and not valid.all():
        raise ValueError(f"{name}: expected {expected}, got {np.asarray(given)[~np.asarray(valid)][0]} among them")


def weights_of(name: str, what: str, weights: Weights, outputs: Array) -> Array:
    """The weights of K classes in the dtype of the outputs (N, ..., K), and with as many axes as these."""
    is_array = isinstance(weights, np.ndarray | jax.Array)
    numbers = is_array and jnp.issubdtype(weights.dtype, jnp.number)
    if not (numbers or (isinstance(weights, list | tuple) and all(isinstance(w, int | float | np.number) for w in weights))):
        raise TypeError(f"{name}: expected {what} to be an array or list of numbers, got {weights.dtype if is_array else repr(weights)}")
    given = weights if is_array else np.asarray(weights)
    check_shape(name, what, given.shape, outputs.shape[-1:])
    valid = (given >= 0) & (given < np.inf)
    check_values(name, f"{what} of at least 0", given, valid)
    known = namespace(given).where(valid, given.astype(outputs.dtype), np.nan)
    return known.reshape(*(1 for _ in outputs.shape[1:]), -1)


def counted(
    name: str, labels: Array, outputs: Array, label_smoothing: float, class_weights: Weights | None, ignored_label: int | None
) -> tuple[Array, Array | None, Array | None]:
    """What counts in a mean over examples of -sum_k q_k log p_k.

    Returns:
        q (N, ..., K), the smoothed labels times the weights of the classes, 0 where a label is ignored; what to divide their sum by,
        None for the number of examples; which examples are kept (N, ...), None for all.
    """
    label_smoothing = check_number(name, "label_smoothing", label_smoothing, "in [0, 1)", lambda s: 0 <= s < 1)
    t, kept = one_hot(name, labels, outputs, ignored_label)
    q = (1 - label_smoothing) * t + label_smoothing / outputs.shape[-1]
    if class_weights is not None:
        weights = weights_of(name, "class_weights", class_weights, outputs)
        q, t = q * weights, t * weights
    if labels.ndim == outputs.ndim or (class_weights is None and kept is None):
        return q, None, kept
    xp = namespace(q)
    if kept is not None:
        q, t = xp.where(kept[..., None], q, 0), xp.where(kept[..., None], t, 0)
    total = t.sum()
    return q, xp.where(total == 0, 1, total), kept
