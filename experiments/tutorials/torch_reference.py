"""What the simple-CNN tutorial's forward pass, and its gradients, are compared with: PyTorch's values, or those that it once gave."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import zoom

from funcnn import datasets

REFERENCE = Path(__file__).parent / "references" / "simplecnn.npz"


def zoomed_digits() -> datasets.Split:
    """scikit-learn's digits, 8x8, zoomed to 28x28 by cubic splines; each image with mean 0 and standard deviation 1."""

    def prepare(images: np.ndarray) -> np.ndarray:
        x = zoom(images, (1, 3.5, 3.5, 1)).astype("float32")  # (N, 28, 28, 1)
        return (x - x.mean((1, 2, 3), keepdims=True)) / x.std((1, 2, 3), keepdims=True)

    data = datasets.digits()
    return data._replace(train_images=prepare(data.train_images), test_images=prepare(data.test_images))


def problem() -> dict[str, np.ndarray]:
    """Four zoomed digits, their labels and He-initialised parameters, float64: what both sides start from."""
    data, rng = zoomed_digits(), np.random.default_rng(0)
    shapes = {"w1": (3, 3, 1, 4), "w2": (3, 3, 4, 8), "w3": (392, 10)}
    weights = {name: rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1])) for name, shape in shapes.items()}
    biases = {f"b{i}": 0.1 * rng.standard_normal(n) for i, n in ((1, 4), (2, 8), (3, 10))}
    return {"x": data.train_images[:4].astype("float64"), "labels": data.train_labels[:4], **weights, **biases}


def by_torch(given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Logits, loss and all gradients by PyTorch, in its layout NCHW, and brought back to ours."""
    import torch
    from torch.nn import functional as F

    def leaf(a: np.ndarray) -> Any:
        return torch.tensor(a).requires_grad_()

    x, b1, b2, b3 = leaf(given["x"].transpose(0, 3, 1, 2)), *(leaf(given[f"b{i}"]) for i in (1, 2, 3))
    w1, w2 = (leaf(given[name].transpose(3, 2, 0, 1)) for name in ("w1", "w2"))
    w3 = leaf(given["w3"])
    h = F.max_pool2d(F.relu(F.conv2d(x, w1, b1, padding=1)), 2)
    h = F.max_pool2d(F.relu(F.conv2d(h, w2, b2, padding=1)), 2)
    logits = h.permute(0, 2, 3, 1).flatten(1) @ w3 + b3  # flattened as NHWC, as w3 expects
    loss = F.cross_entropy(logits, torch.tensor(given["labels"], dtype=torch.int64))
    loss.backward()
    kernels = {"dw1": w1.grad.permute(2, 3, 1, 0), "dw2": w2.grad.permute(2, 3, 1, 0), "dx": x.grad.permute(0, 2, 3, 1)}
    others = {"logits": logits, "loss": loss, "dw3": w3.grad, "db1": b1.grad, "db2": b2.grad, "db3": b3.grad}
    return {name: value.detach().numpy() for name, value in (kernels | others).items()}


def stored() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What PyTorch was given when the reference was made, and what it gave."""
    with np.load(REFERENCE) as file:
        given, gave = ({k.removeprefix(p): file[k] for k in file.files if k.startswith(p)} for p in ("given.", "gave."))
    return given, gave


def store(given: dict[str, np.ndarray], gave: dict[str, np.ndarray]) -> None:
    """Make the reference."""
    REFERENCE.parent.mkdir(exist_ok=True)
    named: dict[str, Any] = {f"{p}.{k}": v for p, part in (("given", given), ("gave", gave)) for k, v in part.items()}
    np.savez_compressed(REFERENCE, **named)
