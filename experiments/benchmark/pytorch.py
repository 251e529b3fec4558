"""The same workloads by PyTorch, eagerly, as its users write them; in either memory layout."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from experiments.benchmark.workloads import Prepared, Spec, Workload, cotangent, sizes_of, timed, written_out

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def prepare(workload: Workload, initial: Any, channels_last: bool) -> Prepared:
    """The workload, beginning with the parameters `initial`, with images and kernels as (N, C, H, W), or (N, H, W, C) in memory."""
    last = {4: torch.channels_last, 5: torch.channels_last_3d} if channels_last else {}
    dtype = getattr(torch, workload.dtype)

    def place(a: np.ndarray) -> torch.Tensor:
        t = torch.tensor(np.ascontiguousarray(a)).to(DEVICE, dtype)
        return t.contiguous(memory_format=last.get(t.ndim, torch.contiguous_format))

    x, labels = workload.inputs()
    params: list[torch.Tensor] = []
    forward, _ = _serial(*written_out(workload.layers, initial), workload.in_shape, place, params)
    images = place(np.moveaxis(x, -1, 1))
    if workload.kind == "layer":
        return _layer(forward, params, images, place)
    optimizer = torch.optim.SGD(params, workload.rate, momentum=workload.momentum or 0)
    return _training(forward, optimizer, images, torch.from_numpy(labels).long().to(DEVICE), workload.losses - 1)


def _layer(forward: Callable, params: list[torch.Tensor], x: torch.Tensor, place: Callable) -> Prepared:
    x.requires_grad_()
    with torch.no_grad():
        y = forward(x)
    dy = place(np.moveaxis(cotangent([y.shape[0], *y.shape[2:], y.shape[1]]), -1, 1))

    def run() -> dict[str, torch.Tensor]:
        y = forward(x)
        dx, *dw = torch.autograd.grad(y, [x, *params], dy)
        wait()
        gradients = {"dw": dw[0].movedim((0, 1), (-1, -2))} if dw else {}
        return {"y": y.detach().movedim(1, -1), "dx": dx.movedim(1, -1), **gradients}

    seconds, results = timed(run)
    return Prepared({name: t.float().cpu().numpy() for name, t in results.items()}, seconds, run)


def _training(forward: Callable, optimizer: torch.optim.Optimizer, x: torch.Tensor, labels: torch.Tensor, more: int) -> Prepared:
    def run() -> torch.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(forward(x), labels)
        loss.backward()
        optimizer.step()
        wait()
        return loss.detach()

    seconds, first = timed(run)
    losses = [float(first), *(float(run()) for _ in range(more))]
    return Prepared({"losses": np.asarray(losses, "float32")}, seconds, run)


def wait() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def _serial(
    specs: tuple[Spec, ...], params: Any, in_shape: tuple[int, ...], place: Callable, leaves: list[torch.Tensor]
) -> tuple[Callable, tuple[int, ...]]:
    """One function of (N, C, H, W) after the other, and what comes out of them; the parameters, funcnn's in PyTorch's layout, are
    added to `leaves`.
    """
    functions, shape = [], in_shape
    for spec, p in zip(specs, params, strict=True):
        function, shape = _one(spec, p, shape, place, leaves)
        functions.append(function)

    def run(x: torch.Tensor) -> torch.Tensor:
        for function in functions:
            x = function(x)
        return x

    return run, shape


def _one(spec: Spec, params: Any, shape: tuple[int, ...], place: Callable, leaves: list[torch.Tensor]) -> tuple[Callable, tuple[int, ...]]:
    """A layer as a function, and what comes out of it: (H, W, C), or (D,) and, behind `flatten`, what was flattened."""

    def parameter(a: np.ndarray) -> torch.Tensor:
        leaves.append(place(a).requires_grad_())
        return leaves[-1]

    match spec:
        case ("conv", features, kernel, stride, padding, groups):
            w, b = parameter(np.moveaxis(params["w"], (-1, -2), (0, 1))), parameter(params["b"]) if "b" in params else None
            sizes = sizes_of(kernel)
            function = getattr(F, f"conv{len(sizes)}d")
            size = [(s + 2 * padding - k) // stride + 1 for s, k in zip(shape[:-1], sizes, strict=True)]
            return lambda x: function(x, w, b, stride, padding, groups=groups), (*size, features)
        case ("conv_transpose", _, kernel, stride, padding, more):
            w = parameter(np.moveaxis(params["w"], (-1, -2), (0, 1)))  # (C, F, KH, KW)
            function = getattr(F, f"conv_transpose{len(kernel)}d")
            return lambda x: function(x, w, None, stride, padding, more), ()  # a layer by itself, without bias
        case ("max_pool" | "avg_pool" as pool, window, stride):
            function = getattr(F, f"{pool}2d")
            return lambda x: function(x, window, stride), (*((s - window) // stride + 1 for s in shape[:2]), shape[2])
        case ("dense", features):
            w = params["w"]
            if len(shape) == 3:  # PyTorch flattens (C, H, W)
                w = w.reshape(*shape, features).transpose(2, 0, 1, 3).reshape(-1, features)
            w, b = parameter(w.T), parameter(params["b"])
            return lambda x: F.linear(x, w, b), (features,)
        case ("batch_norm",):
            scale, shift = parameter(params["scale"]), parameter(params["shift"])
            mean, var = place(np.zeros(shape[-1], "float32")), place(np.ones(shape[-1], "float32"))
            return lambda x: F.batch_norm(x, mean, var, scale, shift, training=True), shape
        case ("relu",):
            return torch.relu, shape
        case ("flatten",):
            return lambda x: x.flatten(1), shape
        case ("global_avg_pool",):
            return lambda x: x.mean((2, 3)), shape[2:]
        case ("residual", inner, shortcut):
            (first, made), (second, _) = (_serial(s, p, shape, place, leaves) for s, p in zip((inner, shortcut), params, strict=True))
            return lambda x: first(x) + second(x), made
        case ("block", inner):
            return _serial(inner, params, shape, place, leaves)
        case ("wider",):
            return lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, x.shape[1])), (*(-(-s // 2) for s in shape[:2]), 2 * shape[2])
    raise ValueError(f"build: unknown layer {spec!r}")
