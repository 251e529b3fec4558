"""Where the files of MNIST and Fashion-MNIST come from: a folder of the user's, the cache, or a mirror; never unchecked."""

import hashlib
import os
from pathlib import Path

from funcnn.datasets.idx import DataError
from funcnn.datasets.source import FOLDER_VARIABLE, Source
from funcnn.extras import needs_extra


def find(source: Source, name: str, folder: Path | str | None = None) -> Path:
    """The path of one file of `source`, checked against its SHA-256.

    Args:
        source: the data set.
        name: a file of it.
        folder: where the files lie, there or in a subfolder with the data set's name; by default what the environment
            variable FUNCNN_DATA says. Without either, the file is downloaded into the platform's cache, once.

    Raises:
        DataError: a file that is missing, unreadable or not the right one; no mirror that gives it.
        ModuleNotFoundError: there is something to download, and what that needs, of the extra `experiments`, is missing.
    """
    folder = folder or os.environ.get(FOLDER_VARIABLE)
    if folder:
        return _in_folder(source, name, Path(folder))
    with needs_extra(f"funcnn.datasets, to download {source.name}", "experiments"):
        from funcnn.datasets.mirrors import download
    return download(source, name)


def _in_folder(source: Source, name: str, folder: Path) -> Path:
    try:
        path = next((path for path in (folder / source.name / name, folder / name) if path.is_file()), None)
    except (OSError, ValueError) as error:
        raise DataError(f"{source.name}: expected a folder that can be searched for {name}, got {error}") from error
    if path is None:
        hint = f"put it there, or name no folder (argument, {FOLDER_VARIABLE}), and it is downloaded"
        raise DataError(
            f"{source.name}: expected the file {name} in {folder} or in its subfolder {source.name}, found it in neither; {hint}"
        )
    try:
        with path.open("rb") as file:
            right = hashlib.file_digest(file, "sha256").hexdigest() == source.files[name][1]
    except OSError as error:
        raise DataError(f"{path}: expected a file that can be read, got {error}") from error
    if not right:
        raise DataError(f"{path}: expected {source.name}'s {name}, whose SHA-256 is {source.files[name][1]}, got another file; replace it")
    return path
