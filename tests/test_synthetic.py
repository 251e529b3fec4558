"""The synthetic lines are what their docstrings say, and a function of the key."""

import jax
import numpy as np
import pytest

from funcnn import datasets

KEY = jax.random.key(3)


def test_lines8_are_single_full_lines():
    data = datasets.lines8(KEY)
    assert data.train_images.shape == (200, 8, 8, 1)
    for images, labels in ((data.train_images, data.train_labels), (data.test_images, data.test_labels)):
        for image, label in zip(images[..., 0], labels, strict=True):
            upright = image.T if label == 1 else image
            (at,) = np.flatnonzero(upright.any(0))
            assert 1 <= at <= 6
            assert upright[:, at].all()
            assert upright.sum() == 8
    assert len(np.unique(data.test_images, axis=0)) == len(np.unique(data.train_images, axis=0)) == 12
    assert 70 <= data.train_labels.sum() <= 130


def test_lines28_are_noisy_bars_whose_classes_alternate():
    data = datasets.lines28(KEY)
    assert data.train_images.shape == (500, 28, 28, 1)
    assert data.test_images.shape == (100, 28, 28, 1)
    assert np.array_equal(np.concatenate([data.train_labels, data.test_labels]), np.arange(600) % 2)
    noise, firsts = [], set()
    for image, label in zip(data.train_images[..., 0], data.train_labels, strict=True):
        upright, bar = (image.T if label == 1 else image), np.zeros((28, 28))
        at = int(upright[5:23].sum(0).argmax())
        at -= int(upright[5:23, at - 1].sum() > upright[5:23, at + 1].sum())
        bar[5:23, at : at + 2] = 1
        firsts.add(at)
        noise.append(upright - bar)
    assert firsts == set(range(10, 18))
    assert abs(np.mean(noise)) < 2e-3
    assert abs(np.std(noise) - 0.1) < 2e-3


@pytest.mark.parametrize("make", [datasets.lines8, datasets.lines28])
def test_a_key_is_a_data_set(make):
    first, again, other = make(KEY), make(KEY), make(jax.random.key(4))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.train_images, other.train_images)
    assert [a.dtype.name for a in first] == ["float32", "int32"] * 2
    with pytest.raises(ValueError, match=rf"^{make.__name__}: expected one random key, got 3; pass key=jax.random.key\(seed\)$"):
        make(3)
