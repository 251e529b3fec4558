"""What is known of a data set's files before one has them."""

from typing import NamedTuple

FOLDER_VARIABLE = "FUNCNN_DATA"
"""The environment variable that names the folder where the files lie."""


class Source(NamedTuple):
    """A data set's files, {name: (bytes, SHA-256)}, and the mirrors that have them, in the order to be asked."""

    name: str
    mirrors: tuple[str, ...]
    files: dict[str, tuple[int, str]]
