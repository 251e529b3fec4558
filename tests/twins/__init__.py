"""Every layer beside PyTorch's, by families: a line here compares y and all gradients, in float64 and in both halves."""

from tests.twins import linear, pooling
from tests.twins.twin import Twin as Twin

FAMILIES = (linear, pooling)
TWINS: dict[str, Twin] = {name: twin for family in FAMILIES for name, twin in family.TWINS.items()}
