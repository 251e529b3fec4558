"""Random changes of images as pure functions of a key, `(key, images) -> images`, for `training.Trainer(augment=...)`.

Images (N, H, W, C), JAX arrays, keep their shape and dtype; every image draws for itself.
"""

import jax
import jax.numpy as jnp

from funcnn.arguments import check_array, check_key, check_number, check_option
from funcnn.arrays import Array
from funcnn.training.trainer import Augment


def chain(*augments: Augment) -> Augment:
    """One after another, each with a key of its own."""
    for augment in augments:
        if not callable(augment):
            raise ValueError(f"chain: expected functions (key, images) -> images, such as flip(), got {augment!r}")

    def run(key: Array, images: Array) -> Array:
        for i, augment in enumerate(augments):
            images = augment(jax.random.fold_in(check_key("chain", key), i), images)
        return images

    return run


def flip(rate: float = 0.5) -> Augment:
    """Mirror a share `rate` of the images, left to right."""
    rate = check_number("flip", "rate", rate, "in [0, 1]", lambda r: 0 <= r <= 1)

    def run(key: Array, images: Array) -> Array:
        _check("flip", key, images)
        mirrored = jax.random.bernoulli(key, rate, (len(images), 1, 1, 1))
        return jnp.where(mirrored, images[:, :, ::-1], images)

    return run


def shift(pixels: int) -> Augment:
    """Move every image by up to `pixels` rows and columns in either direction, each shift as likely; zeros come in."""
    pixels = check_option("shift", "pixels", pixels)

    def run(key: Array, images: Array) -> Array:
        _check("shift", key, images)
        if pixels >= min(images.shape[1:3]):
            h, w = images.shape[1:3]
            raise ValueError(f"shift: expected images of more than {pixels} x {pixels}, got {h} x {w}; shift by fewer pixels")
        first = jax.random.randint(key, (len(images), 2), 0, 2 * pixels + 1)
        padded = jnp.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))
        return _crops(padded, first, images.shape[1:3])

    return run


def erase(pixels: int, rate: float = 0.5) -> Augment:
    """Zero a square of `pixels` x `pixels` at a random place in a share `rate` of the images (Zhong et al. 2020, DeVries & Taylor 2017)."""
    pixels = check_option("erase", "pixels", pixels)
    rate = check_number("erase", "rate", rate, "in [0, 1]", lambda r: 0 <= r <= 1)

    def run(key: Array, images: Array) -> Array:
        _check("erase", key, images)
        n, h, w, _ = images.shape
        if pixels > min(h, w):
            raise ValueError(f"erase: expected images of at least {pixels} x {pixels}, got {h} x {w}; erase fewer pixels")
        which, rows, columns = jax.random.split(key, 3)
        chosen = jax.random.bernoulli(which, rate, (n, 1, 1))
        gone = _span(rows, n, h, pixels)[:, :, None] & _span(columns, n, w, pixels)[:, None, :] & chosen  # (N, H, W)
        return jnp.where(gone[..., None], 0, images)

    return run


def _crops(images: Array, first: Array, size: tuple[int, int]) -> Array:
    """The part of `size` that begins at `first` (N, 2), of each of the images."""

    def crop(image: Array, at: Array) -> Array:
        return jax.lax.dynamic_slice(image, (at[0], at[1], 0), (*size, image.shape[-1]))

    return jax.vmap(crop)(images, first)


def _span(key: Array, n: int, size: int, length: int) -> Array:
    """For each of n lines of `size` pixels, which lie in a stretch of `length` at a random place."""
    first = jax.random.randint(key, (n, 1), 0, size - length + 1)
    at = jnp.arange(size)[None]
    return (at >= first) & (at < first + length)  # (N, size)


def _check(name: str, key: Array, images: Array) -> None:
    check_key(name, key)
    check_array(name, "images", images, ("N", "H", "W", "C"))
