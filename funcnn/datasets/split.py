"""What a data set is."""

from typing import NamedTuple

import numpy as np


class Split(NamedTuple):
    """Images (N, H, W, C), float32, real ones in [0, 1]; labels (N,), int32, the index of the class."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
