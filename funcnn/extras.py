"""What an optional dependency is needed for, said where it is missing."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def needs_extra(name: str, extra: str) -> Iterator[None]:
    """Imports inside `with needs_extra(...)` that find a module missing say which extra of funcnn has it.

    Args:
        name: who needs it, "funcnn.figures".
        extra: the extra, "experiments".

    Raises:
        ModuleNotFoundError: a module is missing. Where it is one of funcnn's own, the error is left as it is.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "funcnn":
            raise
        message = f"{name}: expected the extra `{extra}`, got no {missing}; install it, pip install 'funcnn[{extra}]'"
        raise ModuleNotFoundError(message, name=error.name) from error
