"""What stands in the table: a layer and the shape of one of its examples."""

from typing import NamedTuple

import funcnn as fn


class Case(NamedTuple):
    """A line of the table.

    Attributes:
        layer: a layer; its name in the table is its kind, and ": " and what is special where there are several of that kind.
        in_shape: of one example.
        any_rank: whether x may have any number of axes.
        any_channels: whether x may have any number of channels, whatever the params.
        float32: how far what is compiled in float32 may be from float64, relative to a leaf's largest entry; deep networks amplify.
        slow: whether it is only one more of what another case shows already; such ones run with the slow tests.
    """

    layer: fn.Layer
    in_shape: tuple[int, ...]
    any_rank: bool = False
    slow: bool = False
    any_channels: bool = False
    float32: float = 1e-5
