"""Images for the experiments, as NumPy arrays ready for the layers. `digits` and downloading need the extra `experiments`."""

from funcnn.datasets.bundled import digits as digits
from funcnn.datasets.downloaded import FASHION_CLASSES as FASHION_CLASSES
from funcnn.datasets.downloaded import fashion_mnist as fashion_mnist
from funcnn.datasets.downloaded import mnist as mnist
from funcnn.datasets.idx import DataError as DataError
from funcnn.datasets.idx import read_idx as read_idx
from funcnn.datasets.split import Split as Split
from funcnn.datasets.synthetic import LINE_CLASSES as LINE_CLASSES
from funcnn.datasets.synthetic import lines8 as lines8
from funcnn.datasets.synthetic import lines28 as lines28
