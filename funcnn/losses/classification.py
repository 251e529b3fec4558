"""Losses of classifiers. N examples, "..." positions in each where there are any, K classes."""

from funcnn.arguments import check_array, check_number, check_shape
from funcnn.arrays import Array, namespace, rounded, widened
from funcnn.losses.labels import Weights, check_some, counted, one_hot


def softmax_cross_entropy(
    logits: Array,
    labels: Array,
    *,
    label_smoothing: float = 0.0,
    class_weights: Weights | None = None,
    ignored_label: int | None = None,
) -> tuple[Array, Array]:
    """The mean over examples of -sum_k t_k log softmax(logits)_k, and its gradient.

        dlogits = (softmax(logits) - t) / N

    With weights q_k = w_k t_k for t_k, (softmax(logits) sum_k q_k - q) / (sum of the weights of all labels).

    Args:
        logits: (N, K), or (N, ..., K) with a label at every position, floating-point.
        labels: (N,), or (N, ...), whole numbers in [0, K); or t itself, like the logits, rows that sum to 1.
        label_smoothing: s in [0, 1): t becomes (1 - s) t + s / K (Szegedy et al. 2016, arXiv:1512.00567).
        class_weights: w (K,), at least 0. The mean is then a weighted one, as PyTorch's: divided by the sum of w at the labels, that
            of rows by N.
        ignored_label: a whole number, in the range or not; what has this label counts for nothing, whatever its logits. Where
            nothing counts, loss and gradient are 0 (PyTorch's loss is NaN).

    Returns:
        The loss, a scalar, and dlogits, like the logits, in their dtype. Both are computed in float32 where those are halves;
        a loss above 65504 is infinite in float16, dlogits is right. The means of several batches that count differently much have a
        mean that is not the one of all.

    Raises:
        TypeError, ValueError: a wrong shape or dtype; a label out of range, a row that does not sum to 1. Where the labels
            are traced, so that their values are not known, such an example makes loss and gradient NaN instead.
    """
    name = "softmax_cross_entropy"
    check_array(name, "logits", logits, ("N", "...", "K"))
    check_some(name, "logits", logits)
    wide_logits = widened(logits)
    q, total, kept = counted(name, labels, wide_logits, label_smoothing, class_weights, ignored_label)  # (N, ..., K)
    xp = namespace(logits, q)
    if kept is not None:
        wide_logits = xp.where(kept[..., None], wide_logits, 0)
    z = wide_logits - wide_logits.max(-1, keepdims=True)  # (N, ..., K)
    log_p = z - xp.log(xp.exp(z).sum(-1, keepdims=True))
    loss, p = rounded(_mean(q, log_p, total), logits), xp.exp(log_p)
    p = p if class_weights is None and kept is None else p * q.sum(-1, keepdims=True)
    return loss, rounded(_divided(p - q, total), logits)


def negative_log_likelihood(
    log_p: Array,
    labels: Array,
    *,
    label_smoothing: float = 0.0,
    class_weights: Weights | None = None,
    ignored_label: int | None = None,
) -> tuple[Array, Array]:
    """The mean over examples of -sum_k t_k log_p_k, and its gradient: the cross-entropy behind a `log_softmax`.

        dlog_p = -t / N

    Args:
        log_p: logarithms of probabilities, (N, K) or (N, ..., K), floating-point.
        labels, label_smoothing, class_weights, ignored_label: as in `softmax_cross_entropy`.

    Returns, Raises: as `softmax_cross_entropy`.
    """
    name = "negative_log_likelihood"
    check_array(name, "log_p", log_p, ("N", "...", "K"))
    check_some(name, "log_p", log_p)
    wide = widened(log_p)
    q, total, _ = counted(name, labels, wide, label_smoothing, class_weights, ignored_label)  # (N, ..., K)
    return rounded(_mean(q, wide, total), log_p), rounded(_divided(-q, total), log_p)


def hinge(scores: Array, labels: Array, *, margin: float = 1.0) -> tuple[Array, Array]:
    """The mean over examples and classes of max(0, margin - score of the label + score), without the label's own; and its gradient.

        dscores_k = [inside the margin] / (N K);  at the label minus the sum of the others

    Weston & Watkins 1999, PyTorch's multi-margin loss: the sum over the other classes, divided by K. At the margin itself the
    gradient is 0.

    Args:
        scores: (N, K), or (N, ..., K) with a label at every position, floating-point.
        labels: (N,), or (N, ...), whole numbers in [0, K).
        margin: above 0.

    Returns, Raises: as `softmax_cross_entropy`.
    """
    check_array("hinge", "scores", scores, ("N", "...", "K"))
    check_some("hinge", "scores", scores)
    margin = check_number("hinge", "margin", margin, "above 0", lambda m: m > 0)
    wide = widened(scores)
    if getattr(labels, "ndim", None) == scores.ndim:
        check_shape("hinge", "labels", labels.shape, scores.shape[:-1])
    t, _ = one_hot("hinge", labels, wide)  # (N, ..., K)
    xp = namespace(scores, t)
    own = xp.where(t == 1, wide, 0).sum(-1, keepdims=True)  # (N, ..., 1)
    inside = margin + (wide - own)  # (N, ..., K)
    active = (1 - t) * (~(inside <= 0)).astype(t.dtype)
    loss = ((1 - t) * xp.where((inside <= 0) | (t == 1), 0, inside)).mean()  # at the label it may be inf - inf
    return rounded(loss, scores), rounded((active - t * active.sum(-1, keepdims=True)) / wide.size, scores)


def _mean(q: Array, log_p: Array, total: Array | None) -> Array:
    """-sum of q log p, divided by the total; a class of probability 0 may have the logit -inf."""
    each = (q * namespace(q, log_p).where(q == 0, 0, log_p)).sum(-1)  # (N, ...)
    return -each.mean() if total is None else -each.sum() / total


def _divided(gradient: Array, total: Array | None) -> Array:
    return gradient / (gradient.size // gradient.shape[-1] if total is None else total)
