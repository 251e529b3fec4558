"""Every layer beside PyTorch's, by families: a line here compares y and all gradients, in float64 and in both halves."""

from tests.twins import linear, resampling
from tests.twins.twin import Twin as Twin

FAMILIES = (linear, resampling)
TWINS: dict[str, Twin] = {name: twin for family in FAMILIES for name, twin in family.TWINS.items()}
