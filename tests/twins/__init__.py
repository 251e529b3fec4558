"""Every layer beside PyTorch's, by families: a line here compares y and all gradients, in float64 and in both halves."""

from tests.twins import activations, convolution, linear, normalization, pooling, resampling, stochastic
from tests.twins.twin import Twin as Twin

FAMILIES = (convolution, pooling, resampling, linear, normalization, activations, stochastic)
TWINS: dict[str, Twin] = {name: twin for family in FAMILIES for name, twin in family.TWINS.items()}
