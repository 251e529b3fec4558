"""The IDX reader: a right file gives its array, any other one clear error, whatever its bytes, in bounded memory."""

import gzip
import tracemalloc
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from funcnn.datasets.idx import DataError, read_idx, read_pair

OFFICIAL = Path(__file__).parents[2] / "shared" / "data"
IMAGES = np.arange(24, dtype="uint8").reshape(2, 3, 4)
LABELS = np.asarray([3, 9], "uint8")


def idx(array, kind=8):
    dimensions = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, kind, array.ndim]) + dimensions + array.tobytes()


def file_of(folder, data, name="data.gz", compress=True):
    path = folder / name
    path.write_bytes(gzip.compress(data, mtime=0) if compress else data)
    return path


def test_the_files_of_these_tests_are_idx():
    assert idx(np.zeros((1, 2), "uint8")) == bytes([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0])


def test_a_right_file_gives_its_array(tmp_path):
    images, labels = file_of(tmp_path, idx(IMAGES)), file_of(tmp_path, idx(LABELS), "labels.gz")
    for got, expected in zip(read_pair(images, str(labels)), (IMAGES, LABELS), strict=True):
        assert got.dtype == "uint8"
        np.testing.assert_array_equal(got, expected)


BAD = {
    "not compressed": (idx(IMAGES), False, "expected a gzip-compressed IDX file, got Not a gzipped file"),
    "empty": (b"", False, "expected an IDX file, which begins with two zero bytes, got nothing"),
    "HTML": (b"<!DOCTYPE html>", True, "which begins with two zero bytes, got 3c 21 44 4f"),
    "only the magic": (idx(IMAGES)[:4], True, "expected 3 dimensions, got a file that ends within them"),
    "ends in the dimensions": (idx(IMAGES)[:13], True, "expected 3 dimensions, got a file that ends within them"),
    "type": (idx(IMAGES, kind=13), True, "expected entries of type 8, unsigned bytes, got type 13"),
    "rank": (idx(LABELS), True, "expected 3 dimensions, got 1"),
    "a byte short": (idx(IMAGES)[:-1], True, r"expected 24 entries for dimensions \(2, 3, 4\), got only 23"),
    "a byte over": (idx(IMAGES) + b"\0", True, r"expected 24 entries for dimensions \(2, 3, 4\), got more"),
    "no images": (idx(IMAGES[:0]), True, r"expected between 1 and \d+ entries, got dimensions \(0, 3, 4\)"),
    "too large": (idx(IMAGES)[:4] + b"\xff" * 12, True, r"expected between 1 and 268435456 entries, got dimensions \(4294967295, "),
    "cut gzip": (gzip.compress(idx(IMAGES))[:-9], False, "expected a gzip-compressed IDX file, got Compressed file ended"),
    "broken checksum": (gzip.compress(idx(IMAGES))[:-8] + b"\0" * 8, False, "expected a gzip-compressed IDX file, got CRC check failed"),
    "junk behind": (gzip.compress(idx(IMAGES)) + b"junk", False, "expected a gzip-compressed IDX file, got Not a gzipped file"),
}


@pytest.mark.parametrize(("data", "compress", "message"), BAD.values(), ids=BAD.keys())
def test_a_wrong_file_is_refused_by_name(tmp_path, data, compress, message):
    path = file_of(tmp_path, data, compress=compress)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path, rank=3)
    assert str(caught.value).startswith(f"{path}: expected ")


def test_what_is_no_file_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing.gz", tmp_path / "missing" / "file.gz"):
        with pytest.raises(DataError, match=r"expected a gzip-compressed IDX file, got \[Errno \d+\]"):
            read_idx(path, rank=3)


def test_images_and_labels_must_fit(tmp_path):
    images = file_of(tmp_path, idx(IMAGES))
    with pytest.raises(DataError, match=r"expected 2 labels, one for each image of .*, got 3"):
        read_pair(images, file_of(tmp_path, idx(np.zeros(3, "uint8")), "labels.gz"))
    with pytest.raises(DataError, match=r"expected labels below 10, got 10"):
        read_pair(images, file_of(tmp_path, idx(np.asarray([3, 10], "uint8")), "labels.gz"))


def test_a_gzip_bomb_is_refused_in_bounded_memory(tmp_path):
    """256 MiB of zeros behind two honest images, and behind a header that promises them: a quarter of a megabyte on disk."""
    bomb = bytes(2**28)
    behind = file_of(tmp_path, idx(IMAGES) + bomb)
    promised = file_of(tmp_path, bytes([0, 0, 8, 3]) + (2**10).to_bytes(4, "big") + (2**9).to_bytes(4, "big") * 2 + bomb, "promised.gz")
    del bomb
    tracemalloc.start()
    with pytest.raises(DataError, match="got more"):
        read_idx(behind, rank=3)
    with pytest.raises(DataError, match="expected between 1 and 1000000 entries"):
        read_idx(promised, rank=3, most=10**6)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_mutated_file_gives_an_error_or_a_right_parse(tmp_path, count):
    """Bytes are changed, cut or inserted before or after compressing; what is parsed is what the bytes say, in bounded memory."""

    @settings(max_examples=count, deadline=None)
    @given(st.data())
    def mutate_and_read(data):
        raw, zipped = bytearray(idx(IMAGES)), data.draw(st.booleans())
        content = bytearray(gzip.compress(bytes(raw), mtime=0)) if zipped else raw
        for _ in range(data.draw(st.integers(1, 3))):
            at, kind = data.draw(st.integers(0, len(content) - 1)), data.draw(st.sampled_from(["set", "cut", "insert", "end"]))
            new = data.draw(st.binary(min_size=1, max_size=4))
            end = {"set": at + len(new), "cut": at + 1, "insert": at, "end": len(content)}[kind]
            content[at:end] = b"" if kind in ("cut", "end") else new
            if not content:
                break
        path = file_of(tmp_path, bytes(content), compress=not zipped)
        tracemalloc.start()
        try:
            array = read_idx(path, rank=3, most=10_000)
        except DataError:
            return
        finally:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 2**20
        with gzip.open(path) as file:
            assert file.read() == idx(array)

    mutate_and_read()


@pytest.mark.skipif(not OFFICIAL.exists(), reason="the official files are not here")
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_official_files_are_read(name):
    for part, count in (("train", 60_000), ("t10k", 10_000)):
        files = (OFFICIAL / name / f"{part}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1"))
        images, labels = read_pair(*files)
        assert images.shape == (count, 28, 28)
        assert set(np.unique(labels)) == set(range(10))
