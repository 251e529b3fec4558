"""What a classifier answers on N images of K classes: how often which, and where it is wrong."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from funcnn.figures.images import captioned


def confusion_matrix(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """How many examples of each class were taken for each; the colour is the share of the true class.

    Args:
        counts: (K, K), whole numbers; of class i (row) taken for class j (column).
        names: of the K classes.

    Raises:
        ValueError: counts of another shape.
    """
    counts = np.asarray(counts)
    if counts.shape != (len(names), len(names)) or not len(names):
        raise ValueError(f"figures.confusion_matrix: expected counts of shape (K, K) for the {len(names)} names, got {counts.shape}")
    figure = Figure(figsize=(max(1.8 + 0.42 * len(names), 3.4), max(1.4 + 0.42 * len(names), 2.2)), layout="constrained")
    axes = figure.subplots()
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    picture = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (i, j), n in np.ndenumerate(counts):
        if n:
            axes.text(j, i, str(n), ha="center", va="center", fontsize=9, color="white" if share[i, j] > 0.5 else "black")
    title = f"Confusion matrix: {np.trace(counts)} of {counts.sum()} right"
    axes.set(xlabel="predicted class", ylabel="true class", xticks=range(len(names)), yticks=range(len(names)))
    axes.set_title(title, fontsize=11)
    slanted = max(map(len, names)) > 2
    axes.set_xticklabels(names, rotation=45 if slanted else 0, ha="right" if slanted else "center")
    axes.set_yticklabels(names)
    figure.colorbar(picture, ax=axes, label="share of the true class", fraction=0.046)
    return figure


def misread(images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str], most: int = 16) -> Figure:
    """The images that are taken for another class, with the probability of that class; the surest mistakes first.

    Args:
        images: (N, H, W, 1) or (N, H, W, 3), as `examples` takes them.
        labels: (N,), whole numbers; the true classes.
        probabilities: (N, K), of each class by the classifier: `jax.nn.softmax(logits)`. It answers with the largest.
        classes: the names of the K classes.
        most: the largest number of images drawn.

    Raises:
        ValueError: shapes that do not fit each other; labels outside [0, K); rows of `probabilities` that do not sum to 1.
    """
    images, labels, probabilities = np.asarray(images), np.asarray(labels), np.asarray(probabilities, "float32")
    expected = (len(images), len(classes))
    if probabilities.shape != expected:
        raise ValueError(f"figures.misread: expected probabilities of shape (N, K) = {expected}, got {probabilities.shape}")
    if labels.shape != expected[:1] or not np.isin(labels, range(len(classes))).all():
        got = f"shape {labels.shape}" if labels.shape != expected[:1] else f"values from {labels.min()} to {labels.max()}"
        raise ValueError(f"figures.misread: expected labels of shape {expected[:1]} in [0, {len(classes)}), got {got}")
    if not (probabilities >= 0).all() or not np.allclose(probabilities.sum(1), 1, atol=0.01):
        raise ValueError("figures.misread: expected probabilities that sum to 1, got other numbers; take the softmax of logits")
    predicted, confidence = probabilities.argmax(1), probabilities.max(1, initial=0)  # (N,), (N,)
    wrong = np.flatnonzero(predicted != labels)
    shown = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    title = f"{len(wrong) or 'None'} of {len(images)} images {'is' if len(wrong) <= 1 else 'are'} misread"
    if len(shown):
        order = "the surest mistakes first" if len(shown) == len(wrong) else f"the {len(shown)} surest mistakes"
        title += f"; {order}\n(true class, predicted class and its probability)"
    long = max(map(len, classes), default=0) > 2
    break_ = "\n" if long else " "
    captions = [f"{classes[labels[i]]}{break_}read as {classes[predicted[i]]} ({confidence[i]:.2f})" for i in shown]
    return captioned(
        "figures.misread",
        images[shown],
        captions,
        title,
        columns=4 if long else 8,
        width=2.3 if long else 1.25,
        height=1.9 if long else 1.5,
    )
