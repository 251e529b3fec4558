"""What a data set is."""

from typing import NamedTuple

import numpy as np


class Split(NamedTuple):
    """Images (N, H, W, C), float32, real ones in [0, 1]; labels (N,), int32, the index of the class."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray

    @property
    def train(self) -> tuple[np.ndarray, np.ndarray]:
        """What to train on: (images, labels)."""
        return self.train_images, self.train_labels

    @property
    def test(self) -> tuple[np.ndarray, np.ndarray]:
        """What to test with: (images, labels)."""
        return self.test_images, self.test_labels
