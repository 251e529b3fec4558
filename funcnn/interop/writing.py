"""Files that are there whole or not at all."""

import os
from pathlib import Path
from typing import Any


def check_path(name: str, path: Any) -> None:
    """Raise unless a file can stand there, before the work is done that it is for."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{name}: expected path to be a text or a Path, got {type(path).__name__}")
    if Path(path).is_dir():
        raise IsADirectoryError(f"{name}: expected the path of a file, got the folder {path}; add a name")
    if not Path(path).parent.is_dir():
        raise FileNotFoundError(f"{name}: expected a path in a folder that is there, got {path}; make {Path(path).parent}")


def write(path: str | os.PathLike, content: bytes) -> None:
    """The content as a file, which is replaced at once when all is written."""
    beside = Path(path).with_name(f".{Path(path).name}.{os.getpid()}.part")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
