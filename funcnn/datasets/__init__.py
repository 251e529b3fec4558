"""Real images for the experiments, as NumPy arrays ready for the layers. Needs the extra `experiments`."""

from funcnn.datasets.digits import digits as digits
from funcnn.datasets.split import Split as Split
