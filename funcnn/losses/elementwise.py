"""Losses of outputs that are compared with targets one by one: the mean over all entries."""

import numpy as np

from funcnn.arguments import check_array, check_number
from funcnn.arrays import Array, namespace, rounded, widened
from funcnn.losses.labels import Weights, check_values, weights_of


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
    error = _error("mean_squared_error", outputs, targets)
    return rounded((error * error).mean(), outputs), rounded(error * (2 / error.size), outputs)


def mean_absolute_error(outputs: Array, targets: Array) -> tuple[Array, Array]:
    """The mean over all entries of |outputs - targets|, and its gradient.

        doutputs = sign(outputs - targets) / (number of entries), which is 0 where both are equal

    Args, Returns, Raises: as `mean_squared_error`.
    """
    error = _error("mean_absolute_error", outputs, targets)
    slope = namespace(error).sign(error)  # like the outputs; JAX's own gradient of abs is 1 at 0
    return rounded((slope * error).mean(), outputs), rounded(slope / error.size, outputs)


def huber(outputs: Array, targets: Array, *, delta: float = 1.0) -> tuple[Array, Array]:
    """The mean over all entries of e^2 / 2 where |e| <= delta, delta (|e| - delta / 2) beyond, for e = outputs - targets; its gradient.

        doutputs = e, but at most delta and at least -delta, / (number of entries)

    Args:
        outputs, targets: as in `mean_squared_error`.
        delta: where the parabola goes over into lines, above 0.

    Returns, Raises: as `mean_squared_error`. Source: Huber 1964; PyTorch's smooth L1 is this, divided by delta.
    """
    delta = check_number("huber", "delta", delta, "above 0", lambda d: d > 0)
    error = _error("huber", outputs, targets)
    xp = namespace(error)
    slope = xp.where(error > delta, delta, xp.where(error < -delta, -delta, error))  # like the outputs
    return rounded((slope * (error - slope / 2)).mean(), outputs), rounded(slope / error.size, outputs)


def binary_cross_entropy(logits: Array, targets: Array, *, positive_weight: float | Weights | None = None) -> tuple[Array, Array]:
    """The mean over all entries of -t log sigmoid(logits) - (1 - t) log(1 - sigmoid(logits)), and its gradient.

        dlogits = (sigmoid(logits) - t) / (number of entries)

    With the weight w on t it is ((1 - t) sigmoid(logits) - w t sigmoid(-logits)) / (number of entries). No sigmoid comes before it:
    of logits both are right however large these are.

    Args:
        logits: (N, ...), floating-point.
        targets: t, of the same shape, floating-point, in [0, 1].
        positive_weight: w, on the first term: a number of at least 0, or one for each entry of the last axis.

    Returns:
        As `mean_squared_error`.

    Raises:
        TypeError, ValueError: dtypes or shapes that do not fit, targets outside [0, 1]; where these are traced, such an entry
            makes loss and gradient NaN instead.
    """
    name = "binary_cross_entropy"
    z, t = _both(name, "logits", logits, targets)
    valid = (targets >= 0) & (targets <= 1)
    check_values(name, "targets in [0, 1]", targets, valid)
    xp = namespace(logits, targets)
    t = xp.where(valid, t, np.nan)
    positive = t if positive_weight is None else t * _weight(name, positive_weight, z)  # like the logits
    e = xp.exp(xp.where(z > 0, -z, z))  # exp(-|z|), whose gradient at 0 is that of the side which is taken there
    above, below = (xp.where(z > 0, *sides) for sides in ((z, 0), (0, -z)))
    loss = (1 - t) * above + positive * below + (1 - t + positive) * xp.log1p(e)
    sigmoid, rest = (xp.where(z > 0, *sides) / (1 + e) for sides in ((1, e), (e, 1)))
    return rounded(loss.mean(), logits), rounded(((1 - t) * sigmoid - positive * rest) / z.size, logits)


def _weight(name: str, positive_weight: float | Weights, z: Array) -> Array | float:
    if isinstance(positive_weight, int | float | np.generic):
        return check_number(name, "positive_weight", positive_weight, "at least 0", lambda w: 0 <= w < np.inf)
    return weights_of(name, "positive_weight", positive_weight, z)


def _both(name: str, what: str, outputs: Array, targets: Array) -> tuple[Array, Array]:
    """Both in the dtype that is computed in, after the checks."""
    check_array(name, what, outputs, ("N", "..."))
    check_array(name, "targets", targets, outputs.shape)
    if outputs.size == 0:
        raise ValueError(f"{name}: expected at least one entry, got {what} of shape {outputs.shape}")
    wide = widened(outputs)
    return wide, targets.astype(wide.dtype)


def _error(name: str, outputs: Array, targets: Array) -> Array:
    wide, wanted = _both(name, "outputs", outputs, targets)
    return wide - wanted
