"""A layer of funcnn beside PyTorch's."""

from collections.abc import Callable
from typing import Any, NamedTuple

import funcnn as fn


class Twin(NamedTuple):
    """A line of a family's table.

    Attributes:
        layer: ours.
        in_shape: of one example, channels last.
        theirs: `(params, x) -> y` by PyTorch, in training; params and x are tensors in OUR layout (x channels last), and so must y be: it
            turns them itself, with `first` and `last`. PyTorch's automatic differentiation goes through all of it.
        train: whether ours runs in training.
    """

    layer: fn.Layer
    in_shape: tuple[int, ...]
    theirs: Callable[[Any, Any], Any]
    train: bool = True


def first(x):
    """Channels first: (N, ..., C) to (N, C, ...)."""
    return x.movedim(-1, 1)


def last(x):
    """Channels last."""
    return x.movedim(1, -1)


def kernel(w):
    """(KH, KW, C, O) to PyTorch's (O, C, KH, KW), for any number of spatial axes."""
    return w.movedim((-1, -2), (0, 1))
