"""Fashion-MNIST: 93.5 % of the test images with under 1 million parameters, by hand-written gradients. Takes 15 min.

Claim: at least 93.5 %, classifying each image together with its mirror image, as it is trained: mirrored and shifted at random.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import confusion_matrix

import funcnn as fn
from experiments.harness import CONSOLE, Run, SeedsOptions, table
from experiments.mnist import block
from experiments.system import System, draw, epochs_of, first, misread, parameters, predict, seeds_of, sgd_one_cycle, spread, train_seeds
from funcnn import augmentation, datasets, figures

SYSTEM = System(
    (*block(32), *block(64), fn.residual(*block(64, pool=False), *block(64, pool=False)), *block(128),
     fn.flatten, fn.dropout(0.3), fn.dense(10)),
    sgd_one_cycle(0.05, 5e-4), batch_size=32, epochs=14, augment=augmentation.chain(augmentation.flip(), augmentation.shift(1)),
)  # fmt: skip


@dataclass(frozen=True)
class Config(SeedsOptions):
    runs: int = 1
    """How many trainings: with --seed, --seed + 1 and so on."""


def main(options: Config) -> None:
    data, run = datasets.fashion_mnist(), Run("fashion", options)
    data = first(data, 256) if options.smoke else data
    trainings = train_seeds(run, SYSTEM, lambda seed: data, seeds_of(options), epochs_of(options, SYSTEM))
    mirrored = [predict(SYSTEM, t.ts, data.test_images, mirrored=True) for t in trainings]
    plain = [t.history[-1]["test_accuracy"] for t in trainings]
    both = [float((p == data.test_labels).mean()) for p in mirrored]
    predicted, count = mirrored[0], parameters(trainings[0].ts.params)
    rows = (("test accuracy", spread(plain, "accuracy")), ("by each image and its mirror image", spread(both, "accuracy")),
            ("s each, compiling included", f"{np.median([t.seconds for t in trainings]):.0f}"))  # fmt: skip
    table(f"Fashion-MNIST, {count:,} parameters; {len(trainings)} seeds", ("", "mean (range)"), rows)
    counts = confusion_matrix(data.test_labels, predicted, labels=range(10))
    draw(run, SYSTEM, trainings[0], data.test_images[0], "An ankle boot on its way through the network")
    run.picture("confusion_matrix", figures.confusion_matrix(counts, datasets.FASHION_CLASSES))
    run.picture("misread", misread(data, predicted, datasets.FASHION_CLASSES))
    seconds = [t.seconds for t in trainings]
    run.write("results", {"test_accuracies": plain, "mirrored": both, "seconds": seconds, "parameters": count})
    CONSOLE.print(f"pictures, metrics and configuration in {run.folder}", highlight=False, soft_wrap=True)
