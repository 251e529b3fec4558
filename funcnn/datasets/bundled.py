"""The 1,797 hand-written digits, 8x8, that come inside scikit-learn: no download."""

import numpy as np

from funcnn.datasets.split import Split
from funcnn.extras import needs_extra


def digits() -> Split:
    """1,437 digits to train on and 360 to test with, always the same ones; each class has its share in both.

    Returns:
        Images (N, 8, 8, 1), the 17 grey values scaled to [0, 1].

    Raises:
        ModuleNotFoundError: scikit-learn, of the extra `experiments`, is missing.

    Source: the test part of UCI's Optical Recognition of Handwritten Digits (Alpaydin & Kaynak 1998).
    """
    with needs_extra("funcnn.datasets.digits", "experiments"):  # here, as it takes a second that no other data set needs
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

    pixels, classes = load_digits(return_X_y=True)
    images = np.asarray(pixels, "float32").reshape(-1, 8, 8, 1) / 16  # (1797, 8, 8, 1)
    labels = np.asarray(classes, "int32")  # (1797,)
    train, test = train_test_split(np.arange(len(labels)), test_size=360, stratify=labels, random_state=0)
    return Split(images[train], labels[train], images[test], labels[test])
