"""Synthetic images of lines, upright or lying: the data of two tutorials, drawn from a JAX key."""

import jax
import jax.numpy as jnp
import numpy as np

from funcnn.arguments import check_key
from funcnn.arrays import Array
from funcnn.datasets.split import Split

LINE_CLASSES = ("vertical", "horizontal")


def lines8(key: Array) -> Split:
    """200 images 8x8 to train on, of one full line of ones in column (class 0) or row (class 1) 1 to 6, at random.

    There are only 12 different ones: the test images are these, each once, and none is unseen.

    Returns:
        Images (200, 8, 8, 1) and (12, 8, 8, 1), float32, 0 or 1; labels int32.
    """
    at_key, label_key = jax.random.split(check_key("lines8", key))
    labels = jax.random.randint(label_key, (200,), 0, 2)
    at = jax.random.randint(at_key, (200,), 1, 7)
    every, kinds = jnp.tile(jnp.arange(1, 7), 2), jnp.arange(12) // 6
    return _split(_bars(labels, at, 8, 1, (0, 8)), labels, _bars(kinds, every, 8, 1, (0, 8)), kinds)


def lines28(key: Array) -> Split:
    """500 images 28x28 to train on and 100 to test with: a bar 2 wide from pixel 5 to 22, upright (class 0) or lying (class 1).

    It begins in column or row 10 to 17, at random; the classes alternate; normal noise with a standard deviation of 0.1
    is added to every pixel, so the values leave [0, 1].

    Returns:
        Images (500, 28, 28, 1) and (100, 28, 28, 1), float32; labels int32.
    """
    at_key, noise_key = jax.random.split(check_key("lines28", key))
    labels = jnp.arange(600) % 2
    at = jax.random.randint(at_key, (600,), 10, 18)
    images = _bars(labels, at, 28, 2, (5, 23)) + 0.1 * jax.random.normal(noise_key, (600, 28, 28, 1), "float32")
    return _split(images[:500], labels[:500], images[500:], labels[500:])


def _bars(labels: Array, at: Array, size: int, width: int, span: tuple[int, int]) -> Array:
    """Images (N, size, size, 1) with ones in the columns (label 0) or rows (label 1) at .. at + width - 1, over `span`."""
    i = jnp.arange(size)
    across = (i[None] >= at[:, None]) & (i[None] < at[:, None] + width)  # (N, size)
    along = (i >= span[0]) & (i < span[1])
    upright = along[None, :, None] & across[:, None, :]  # (N, size, size)
    return jnp.where(labels[:, None, None] == 0, upright, upright.swapaxes(1, 2))[..., None].astype("float32")


def _split(*arrays: Array) -> Split:
    images, labels, test_images, test_labels = map(np.asarray, arrays)
    return Split(images, labels.astype("int32"), test_images, test_labels.astype("int32"))
