"""The table that all laws go through, by families: a new layer is one line in it."""

import pytest

from tests.cases import activations, combinators, convolution, interop, linear, networks, normalization, pooling, resampling, stochastic
from tests.cases.case import Case as Case

FAMILIES = (convolution, pooling, resampling, linear, activations, normalization, stochastic, combinators, networks, interop)
CASES: dict[str, Case] = {name: case for family in FAMILIES for name, case in family.CASES.items()}
FIRST_OF_EACH = {name.split(":")[0]: case for name, case in reversed(CASES.items())}


ONE_OF_A_MAKING = {  # of layers that are made in the same way
    "conv auto", "conv direct", "conv shifted", "conv rowwise", "conv kn2row", "conv im2col", "conv fft", "conv winograd2",
    "conv winograd4", "conv REFLECT", "conv_transpose auto", "conv_transpose phases", "max_pool", "max_pool split", "avg_pool", "lp_pool",
    "adaptive_max_pool", "global_avg_pool", "pad reflect", "upsample linear", "pixel_shuffle", "dense", "scale", "reshape", "relu",
    "prelu", "gelu", "hard_swish", "softmax", "batch_norm", "group_norm", "local_response_norm", "dropout", "serial", "parallel",
    "repeat", "from_apply",
}  # fmt: skip
QUICK = [case for name, case in FIRST_OF_EACH.items() if name in ONE_OF_A_MAKING and not case.slow]
"""What goes through the laws that compile with the fast tests too."""


def params_of(cases, slow=lambda case: case.slow):
    """The cases by their names, for `pytest.mark.parametrize`, marked slow where `slow(case)`."""
    return [pytest.param(case, id=name, marks=[pytest.mark.slow] * slow(case)) for name, case in cases.items()]


each_case = pytest.mark.parametrize("case", params_of(CASES))
TUNED = {name: case for family in (convolution, pooling, normalization, combinators, networks) for name, case in family.CASES.items()}
"""Where something may be for CPUs alone."""
each_tuned = pytest.mark.parametrize("case", params_of(TUNED, lambda case: case not in QUICK or case in combinators.CASES.values()))
some_quickly = pytest.mark.parametrize("case", params_of(CASES, lambda case: case not in QUICK))
each_kind = pytest.mark.parametrize("case", params_of(FIRST_OF_EACH, lambda case: case not in QUICK))
