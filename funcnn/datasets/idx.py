"""A strict reader of IDX, the format of MNIST: what is not exactly as the format says is refused, in bounded memory.

Bytes: 0, 0, the type (8: unsigned bytes), the number of dimensions; each dimension as a big-endian 32-bit integer; then the
data, exactly their product.
"""

import gzip
import zlib
from math import prod
from pathlib import Path

import numpy as np


class DataError(ValueError):
    """A data file that is not what it should be; one sentence that names the file, what was expected and what came."""


def read_idx(path: Path | str, *, rank: int, most: int = 2**28) -> np.ndarray:
    """The array in a gzip-compressed IDX file of unsigned bytes.

    Args:
        path: the file.
        rank: the number of dimensions it must have: 3 for images (N, H, W), 1 for labels (N,).
        most: the largest number of entries to accept; no more than this is ever read or held.

    Returns:
        A uint8 array.

    Raises:
        DataError: the file cannot be read, or is not such a file to the last byte.
    """
    try:
        with gzip.open(path, "rb") as file:
            return _read(Path(path), file, rank, most)
    except DataError:
        raise
    except (OSError, EOFError, zlib.error, ValueError, TypeError) as error:
        raise DataError(f"{path}: expected a gzip-compressed IDX file, got {error}") from error


def _read(path: Path, file: gzip.GzipFile, rank: int, most: int) -> np.ndarray:
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0":
        raise DataError(f"{path}: expected an IDX file, which begins with two zero bytes, got {head.hex(' ') or 'nothing'}")
    if head[2] != 8:
        raise DataError(f"{path}: expected entries of type 8, unsigned bytes, got type {head[2]}")
    if head[3] != rank:
        raise DataError(f"{path}: expected {rank} dimensions, got {head[3]}")
    dimensions = file.read(4 * rank)
    if len(dimensions) < 4 * rank:
        raise DataError(f"{path}: expected {rank} dimensions, got a file that ends within them")
    shape = tuple(int.from_bytes(dimensions[i : i + 4], "big") for i in range(0, 4 * rank, 4))
    size = prod(shape)
    if not 0 < size <= most:
        raise DataError(f"{path}: expected between 1 and {most} entries, got dimensions {shape}")
    data = file.read(size)
    if len(data) < size:
        raise DataError(f"{path}: expected {size} entries for dimensions {shape}, got only {len(data)}")
    if file.read(1):
        raise DataError(f"{path}: expected {size} entries for dimensions {shape}, got more")
    return np.frombuffer(data, "uint8").reshape(shape)


def read_pair(images: Path | str, labels: Path | str, *, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """The images (N, H, W), uint8, of one IDX file and the labels (N,), uint8, in [0, classes), of another.

    Raises:
        DataError: as `read_idx`; also where their numbers differ, or a label is out of range.
    """
    x, y = read_idx(images, rank=3), read_idx(labels, rank=1)
    if len(x) != len(y):
        raise DataError(f"{labels}: expected {len(x)} labels, one for each image of {images}, got {len(y)}")
    if y.max() >= classes:
        raise DataError(f"{labels}: expected labels below {classes}, got {y.max()}")
    return x, y
