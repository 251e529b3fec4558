"""MNIST and Fashion-MNIST: 60,000 images 28x28 to train on and 10,000 to test with, ten classes each."""

from pathlib import Path

import numpy as np

from funcnn.datasets.files import find
from funcnn.datasets.idx import read_pair
from funcnn.datasets.source import Source
from funcnn.datasets.split import Split

MNIST = Source(
    "mnist",
    ("https://storage.googleapis.com/cvdf-datasets/mnist/", "https://ossci-datasets.s3.amazonaws.com/mnist/"),
    {
        "train-images-idx3-ubyte.gz": (9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        "train-labels-idx1-ubyte.gz": (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        "t10k-images-idx3-ubyte.gz": (1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        "t10k-labels-idx1-ubyte.gz": (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    },
)
FASHION_MNIST = Source(
    "fashion-mnist",
    ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),  # plain http: the hash is what protects it
    {
        "train-images-idx3-ubyte.gz": (26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        "train-labels-idx1-ubyte.gz": (29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        "t10k-images-idx3-ubyte.gz": (4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        "t10k-labels-idx1-ubyte.gz": (5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    },
)
FASHION_CLASSES = ("T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def mnist(folder: Path | str | None = None) -> Split:
    """Hand-written digits (LeCun, Cortes & Burges 1998; licence CC BY-SA 3.0).

    Args:
        folder: where the four official .gz files lie, there or in its subfolder mnist; by default the folder that the
            environment variable FUNCNN_DATA names. Without either they are downloaded (12 MB) into the platform's cache.

    Returns:
        Images (60000, 28, 28, 1) and (10000, 28, 28, 1), the 256 grey values scaled to [0, 1].

    Raises:
        DataError: a file that is missing, unreadable or not the official one; no mirror that gives it.
        ModuleNotFoundError: a file has to be downloaded, and what that needs, of the extra `experiments`, is missing.
    """
    return _load(MNIST, folder)


def fashion_mnist(folder: Path | str | None = None) -> Split:
    """Pictures of clothes (Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747; licence MIT), in the order of `FASHION_CLASSES`.

    Args, Returns, Raises: as `mnist`, with the subfolder fashion-mnist and 31 MB to download.
    """
    return _load(FASHION_MNIST, folder)


def _load(source: Source, folder: Path | str | None) -> Split:
    arrays = []
    for part in ("train", "t10k"):
        paths = (find(source, f"{part}-{kind}-ubyte.gz", folder) for kind in ("images-idx3", "labels-idx1"))
        images, labels = read_pair(*paths)
        arrays += [images[..., None] / np.float32(255), labels.astype("int32")]  # (N, 28, 28, 1), (N,)
    return Split(*arrays)
