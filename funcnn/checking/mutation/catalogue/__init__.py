"""Wrong gradients that a checker must catch, and right layers that it must let pass, by families.

Each family's module has `WRONG`, a tuple of mutants, and `RIGHT`, layers with the shape of an example, by name.
"""

from funcnn.checking.mutation.catalogue import combinators, first, losses, normalization, pointwise, pooling, resampling, transposed
from funcnn.checking.mutation.catalogue.first_right import RIGHT as FIRST_RIGHT
from funcnn.checking.mutation.mutants import Mutant
from funcnn.layer import Layer

FAMILIES: tuple = (combinators, losses, normalization, pointwise, pooling, resampling, transposed)
"""Modules."""

CATALOGUE: tuple[Mutant, ...] = (*first.WRONG, *(mutant for family in FAMILIES for mutant in family.WRONG))
RIGHT: dict[str, tuple[Layer, tuple[int, ...]]] = FIRST_RIGHT | {name: right for family in FAMILIES for name, right in family.RIGHT.items()}
