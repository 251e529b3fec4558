"""Augmentation does what it says, to each image for itself, as a function of the key alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from funcnn import augmentation as aug

KEY = jax.random.key(5)
IMAGES = jax.random.normal(jax.random.key(1), (400, 6, 7, 2)) + 10  # nothing is zero, nothing symmetric
ALL = {"flip": aug.flip(), "shift": aug.shift(2), "erase": aug.erase(3), "chain": aug.chain(aug.flip(), aug.shift(1), aug.erase(2))}
each = pytest.mark.parametrize("augment", ALL.values(), ids=ALL)


def moved(image, rows, columns):
    """`image` moved by whole pixels, zeros coming in: by padding and cutting, in NumPy."""
    h, w, _ = image.shape
    padded = np.pad(image, ((9, 9), (9, 9), (0, 0)))
    return padded[9 - rows : 9 - rows + h, 9 - columns : 9 - columns + w]


def uniform(counts):
    """Whether counts could come from equal chances, at one in a million."""
    return stats.chisquare(counts).pvalue > 1e-6


@each
def test_a_key_is_a_result(augment):
    jitted = jax.jit(augment)
    first = jitted(KEY, IMAGES)
    assert (first.shape, first.dtype) == (IMAGES.shape, IMAGES.dtype)
    np.testing.assert_array_equal(first, augment(KEY, IMAGES))
    assert not np.array_equal(first, jitted(jax.random.key(6), IMAGES))


@each
def test_the_dtype_and_the_input_stay_what_they_were(augment):
    before = np.asarray(IMAGES).copy()
    assert augment(KEY, IMAGES.astype("float16")).dtype == "float16"
    np.testing.assert_array_equal(IMAGES, before)


def test_flip_mirrors_the_share_it_is_told():
    got = np.asarray(aug.flip(0.25)(KEY, IMAGES))
    flipped = np.asarray([np.array_equal(g, i[:, ::-1]) for g, i in zip(got, np.asarray(IMAGES), strict=True)])
    same = np.asarray([np.array_equal(g, i) for g, i in zip(got, np.asarray(IMAGES), strict=True)])
    assert (flipped ^ same).all()
    assert uniform([flipped.sum() * 3, same.sum()])
    np.testing.assert_array_equal(aug.flip(0)(KEY, IMAGES), IMAGES)
    np.testing.assert_array_equal(aug.flip(1)(KEY, IMAGES), IMAGES[:, :, ::-1])


def test_shift_moves_by_every_offset_as_often():
    got, counts = np.asarray(aug.shift(1)(KEY, IMAGES)), {}
    for g, image in zip(got, np.asarray(IMAGES), strict=True):
        offsets = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if np.array_equal(g, moved(image, r, c))]
        assert len(offsets) == 1
        counts[offsets[0]] = counts.get(offsets[0], 0) + 1
    assert len(counts) == 9
    assert uniform(list(counts.values()))


def test_erase_zeroes_one_square_of_its_size_anywhere():
    got, corners = np.asarray(aug.erase(5, rate=0.75)(KEY, IMAGES)), {}
    for g, image in zip(got, np.asarray(IMAGES), strict=True):
        gone = (g == 0).all(-1)
        np.testing.assert_array_equal(g[~gone], image[~gone])
        at = None
        if gone.any():
            rows, columns = np.flatnonzero(gone.any(1)), np.flatnonzero(gone.any(0))
            assert len(rows) == len(columns) == 5
            assert gone.sum() == 25
            at = (rows[0], columns[0])
        corners[at] = corners.get(at, 0) + 1
    assert uniform([corners.pop(None) * 3, sum(corners.values())])
    assert len(corners) == 2 * 3
    assert uniform(list(corners.values()))


def test_a_chain_gives_each_its_own_key():
    twice = aug.chain(aug.flip(), aug.flip())(KEY, IMAGES)
    once = aug.flip()(jax.random.fold_in(KEY, 0), IMAGES)
    np.testing.assert_array_equal(twice, aug.flip()(jax.random.fold_in(KEY, 1), once))
    assert not np.array_equal(twice, IMAGES)
    np.testing.assert_array_equal(aug.chain()(KEY, IMAGES), IMAGES)


def test_bad_input_is_refused_by_name():
    with pytest.raises(ValueError, match=r"^flip: expected rate in \[0, 1\], got 1.5$"):
        aug.flip(1.5)
    with pytest.raises(ValueError, match=r"^shift: expected pixels to be a whole number of at least 1, got 0$"):
        aug.shift(0)
    with pytest.raises(ValueError, match=r"^erase: expected pixels to be a whole number of at least 1, got 2.0$"):
        aug.erase(2.0)
    with pytest.raises(ValueError, match=r"^shift: expected images of more than 6 x 6, got 6 x 7; shift by fewer pixels$"):
        aug.shift(6)(KEY, IMAGES)
    with pytest.raises(ValueError, match=r"^chain: expected functions \(key, images\) -> images, such as flip\(\), got \["):
        aug.chain([aug.flip()])
    with pytest.raises(ValueError, match=r"^erase: expected images of at least 7 x 7, got 6 x 7; erase fewer pixels$"):
        aug.erase(7)(KEY, IMAGES)
    for name, augment in list(ALL.items())[:3]:
        with pytest.raises(ValueError, match=rf"^{name}: expected images of shape \(N, H, W, C\), got \(400, 6, 7\)$"):
            augment(KEY, IMAGES[..., 0])
        with pytest.raises(ValueError, match=rf"^{name}: expected one random key, got none"):
            augment(None, IMAGES)
        with pytest.raises(TypeError, match=rf"^{name}: expected images of a floating-point dtype, got uint8"):
            augment(KEY, jnp.zeros((1, 8, 8, 1), "uint8"))
