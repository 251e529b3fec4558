"""funcnn's convolution and pooling inside models whose layers do not take them as an argument: Equinox's, Haiku's, anybody's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import jax
from jax import lax

from funcnn.interop.convolution import conv_general_dilated
from funcnn.interop.pooling import reduce_window


def _over(function: Callable[..., Any]) -> Callable[..., Any]:
    """JAX's own code of a function, in which the convolution that it calls is funcnn's."""
    names = function.__globals__ | {"conv_general_dilated": conv_general_dilated}
    copy = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__, copy.__doc__ = function.__kwdefaults__, function.__doc__
    return copy


conv_transpose = _over(lax.conv_transpose)
REPLACED = {
    "conv_general_dilated": conv_general_dilated,
    "conv_transpose": conv_transpose,
    "conv": _over(lax.conv),
    "conv_with_general_padding": _over(lax.conv_with_general_padding),
    "reduce_window": reduce_window,
}

_replaced = jax.make_user_context(False)
"""What `jax.jit` sees of it, so that a function which it has traced outside is traced again."""


@contextmanager
def replacing_lax() -> Iterator[None]:
    """Inside, the convolutions and windows of the module `jax.lax` are funcnn's, for layers that call them there.

    It sets five attributes of the module, `jax.lax.conv_general_dilated`, `conv_transpose`, `conv`, `conv_with_general_padding` and
    `reduce_window`, and sets them back at the end, after an error too. What counts is what is traced inside: a compiled function called
    inside is traced anew, and called outside is again what it was. A gradient is of what it was traced with, wherever it is taken. All
    threads of the process see the attributes. Whoever took a function out of the module before, `from jax.lax import conv` or a default
    argument such as that of `flax.nnx.Conv`, does not.
    """
    before = {name: getattr(lax, name) for name in REPLACED}
    try:
        for name, ours in REPLACED.items():
            setattr(lax, name, ours)
        with _replaced(True):
            yield
    finally:
        for name, theirs in before.items():
            setattr(lax, name, theirs)
