"""safetensors files, through the package of that name: arrays by name, for other libraries too."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from funcnn.arrays import PyTree
from funcnn.extras import needs_extra
from funcnn.interop.trees import check_leaves, exact, leaves_of, numpy_of, started
from funcnn.layer import Layer


def save(path: str | os.PathLike, params: PyTree, state: PyTree) -> None:
    """Params and state in a safetensors file, with every dtype as it is; the names are the paths, "params.0.w", "state.1.mean".

    Args:
        path: of the file, which is replaced at once when all is written.
        params, state: of any network.

    Raises:
        TypeError: no arrays of numbers in the trees, or of a dtype that safetensors does not have.
        OSError: the file cannot be written.
        ModuleNotFoundError: safetensors is missing.
    """
    write_safetensors(path, leaves_of((params, state)))


def load(path: str | os.PathLike, net: Layer, in_shape: tuple[int, ...]) -> tuple[PyTree, PyTree]:
    """(params, state) of a network from a file that `save` has written, as JAX arrays, but NumPy's where JAX would round them.

    Args:
        path: of the file.
        net, in_shape: the network, and the shape of one example, for which its `init` makes such arrays.

    Raises:
        ValueError: no safetensors file, or a broken one; arrays that are not those of the network, each named with both shapes.
        OSError: the file cannot be read.
        ModuleNotFoundError: safetensors is missing.
    """
    expected = started("load", net, in_shape)
    arrays = check_leaves(f"load: {path}", leaves_of(expected), read_safetensors(path))
    return jax.tree.unflatten(jax.tree.structure(expected), [exact(a) for a in arrays.values()])


def read_safetensors(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, sorted by name: `params_from_torch(net, read_safetensors(path), in_shape)`.

    Args:
        path: of the file.

    Raises:
        ValueError: no safetensors file, or a broken one.
        OSError: the file cannot be read.
        ModuleNotFoundError: safetensors is missing.
    """
    with needs_extra("funcnn.interop.read_safetensors", "safetensors"):
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    try:
        return dict(sorted(load_file(path).items()))
    except (SafetensorError, KeyError) as error:  # KeyError: of a dtype that NumPy has not
        raise ValueError(f"read_safetensors: expected a whole safetensors file at {path}, got {error}") from error


def write_safetensors(path: str | os.PathLike, arrays: Mapping[str, Any]) -> None:
    """Arrays by name in a safetensors file, as `params_to_torch` makes them.

    Args:
        path: of the file, which is replaced at once when all is written.
        arrays: NumPy or JAX arrays.

    Raises: as `save`.
    """
    with needs_extra("funcnn.interop.write_safetensors", "safetensors"):
        from safetensors import SafetensorError
        from safetensors.numpy import save as as_bytes
    contiguous = {
        name: np.array(numpy_of("write_safetensors", name, a), order="C") for name, a in arrays.items()
    }  # it writes memory as it lies
    try:
        content = as_bytes(contiguous)
    except SafetensorError as error:
        raise TypeError(f"write_safetensors: expected dtypes that a safetensors file has, got {error}") from error
    beside = Path(path).with_name(f".{Path(path).name}.{os.getpid()}.part")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
