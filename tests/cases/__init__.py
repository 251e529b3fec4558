"""The table that all laws go through, by families: a new layer is one line in it."""

import pytest

from tests.cases import activations, combinators, convolution, linear, networks, normalization, pooling, resampling, stochastic
from tests.cases.case import Case as Case

FAMILIES = (convolution, pooling, resampling, linear, activations, normalization, stochastic, combinators, networks)
CASES: dict[str, Case] = {name: case for family in FAMILIES for name, case in family.CASES.items()}
FIRST_OF_EACH = {name.split(":")[0]: case for name, case in reversed(CASES.items())}


def params_of(cases, slow=lambda case: case.slow):
    """The cases by their names, for `pytest.mark.parametrize`, marked slow where `slow(case)`."""
    return [pytest.param(case, id=name, marks=[pytest.mark.slow] * slow(case)) for name, case in cases.items()]


each_case = pytest.mark.parametrize("case", params_of(CASES))
first_ones_quickly = pytest.mark.parametrize("case", params_of(CASES, lambda case: case not in FIRST_OF_EACH.values()))
each_layer = pytest.mark.parametrize("case", params_of(FIRST_OF_EACH))
