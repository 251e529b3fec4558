"""What is measured beside a loss, as means over examples. N examples, "..." positions in each where there are any, K classes."""

from math import inf

from funcnn.arguments import check_array, check_option, check_shape
from funcnn.arrays import Array, namespace, wide
from funcnn.losses.labels import check_labels, check_some, whole_numbers


def accuracy(logits: Array, labels: Array, *, ignored_label: int | None = None) -> Array:
    """The share of examples whose largest logit, the first of equal ones, is at the label.

    Args:
        logits: (N, K), or (N, ..., K) with a label at every position.
        labels: (N,), or (N, ...), whole numbers; or one-hot, like the logits.
        ignored_label: what has this label does not count, as in `softmax_cross_entropy`; 0 where nothing counts.
    """
    labels = _labels("accuracy", logits, labels, ignored_label)
    return _share(logits.argmax(-1) == labels, labels, ignored_label, logits)


def top_k_accuracy(logits: Array, labels: Array, k: int = 5, *, ignored_label: int | None = None) -> Array:
    """The share of examples whose label is among the k largest logits.

    Of equal logits the first ones are the larger, so that for k=1 it is the accuracy. Where the label's logit is NaN it is not
    among them; another's NaN is larger than any number.

    Args:
        logits, labels, ignored_label: as in `accuracy`.
        k: at least 1 and at most K.
    """
    labels, k, most = _labels("top_k_accuracy", logits, labels, ignored_label), check_option("top_k_accuracy", "k", k), logits.shape[-1]
    if k > most:
        raise ValueError(f"top_k_accuracy: expected k of at most the {most} classes, got {k}")
    xp, at = namespace(logits, labels), whole_numbers(labels)[..., None]  # (N, ..., 1)
    classes = xp.arange(most, dtype=at.dtype).reshape(*(1 for _ in labels.shape), most)
    own = xp.where(classes == at, logits, xp.asarray(-inf, logits.dtype)).max(-1, keepdims=True)
    before = xp.where(classes < at, ~(logits < own), ~(logits <= own))  # (N, ..., K)
    hits = (before.sum(-1) < k) & (classes == at).any(-1)
    return _share(hits, labels, ignored_label, logits)


def _labels(name: str, logits: Array, labels: Array, ignored_label: int | None) -> Array:
    """The labels as whole numbers, after the checks."""
    check_array(name, "logits", logits, ("N", "...", "K"))
    check_some(name, "logits", logits)
    whole = check_labels(name, labels, logits, ignored_label)
    check_shape(name, "labels", labels.shape, logits.shape[:-1] if whole else logits.shape)
    return labels if whole else labels.argmax(-1)


def _share(hits: Array, labels: Array, ignored_label: int | None, logits: Array) -> Array:
    """The mean of the hits that count."""
    dtype = wide(logits.dtype)
    if ignored_label is None:
        return hits.mean(dtype=dtype)
    kept = whole_numbers(labels) != ignored_label
    return (hits & kept).sum(dtype=dtype) / namespace(kept).maximum(kept.sum(), 1).astype(dtype)
