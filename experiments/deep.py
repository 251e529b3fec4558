"""Deep networks: how long ResNet-20 and -56 compile, train, and how much memory they need, beside JAX's own convolution. Takes 15 min.

Claim: with `repeat` ResNet-56 compiles as fast as ResNet-20, a training step takes less time than with JAX's own convolution, whose
convolution inside a loop is tens of times slower; with `recompute` around every block the step needs less than half of the memory.
Each way is measured in a process of its own, after a check that all begin with the same loss; figures are medians over the rounds.
Theme: speed.
"""

from dataclasses import dataclass

import jax
import numpy as np

import funcnn as fn
from experiments.benchmark import depth as d
from experiments.benchmark.race import contenders
from experiments.common.console import progress, table
from experiments.common.options import Options
from experiments.common.processes import pool
from experiments.common.run import Run


@dataclass(frozen=True)
class Config(Options):
    rounds: int = 3
    """How often everyone has a turn."""
    seconds: float = 4
    """How long a turn runs the compiled step."""
    batch: int = 128
    """Examples of a step."""


def main(options: Config) -> None:
    run = Run("deep", options)
    small = {"batch": 4, "size": 8, "width": 2} if options.smoke else {"batch": options.batch}
    twenty, more = d.Deep(**small), d.Deep(depth=32 if options.smoke else 56, **small)
    torch = [] if options.smoke or "PyTorch" not in contenders() else list(d.TORCH)
    names = ["funcnn", "lax"] if options.smoke else [*d.WAYS, *torch]
    work = [(name, twenty) for name in names] + [("funcnn", more)]
    measured: dict[tuple[str, int], list[dict[str, float]]] = {(name, deep.depth): [] for name, deep in work}
    with progress("in turns", len(work) * (1 if options.smoke else options.rounds)) as advance, pool(1, tasks_each=1) as processes:
        for _ in range(1 if options.smoke else options.rounds):
            for name, deep in work:
                seconds = 0.1 if options.smoke else options.seconds
                got = processes.submit(d.measure, name, deep, d.initial(deep), seconds).result()
                measured[name, deep.depth].append(got)
                run.log({"name": name, "depth": deep.depth, **got})
                advance()
    _check_losses(measured, twenty.depth)
    rows = {key: {what: float(np.median([m[what] for m in each])) for what in each[0]} for key, each in measured.items()}
    lax = rows["lax", twenty.depth]
    cells = (
        (
            f"ResNet-{depth}, {name}", f"{r['trace']:.2f}", f"{r['compile']:.2f}",
            f"{(r['trace'] + r['compile']) / (lax['trace'] + lax['compile']):.2f}", f"{1e3 * r['step']:,.0f}",
            f"{r['step'] / lax['step']:.2f}", f"{r['temporary']:.0f}", f"{r['peak']:.0f}",
        )
        for (name, depth), r in rows.items()
    )  # fmt: skip
    table(
        f"A training step, batch {twenty.batch}",
        ("", "trace s", "compile s", "to lax", "step ms", "to lax", "temporary MiB", "peak MiB"),
        cells,
    )
    deeper = sum(rows["funcnn", more.depth][k] for k in ("trace", "compile")) / sum(rows["funcnn", 20][k] for k in ("trace", "compile"))
    error = gradient_error(d.Deep(batch=4, size=8 if options.smoke else 32, width=twenty.width))
    results = {"rows": {f"{name}, {depth}": r for (name, depth), r in rows.items()}, "deeper": deeper, "gradient_error": error}
    run.finish(results, f"ResNet-{more.depth} compiles in {deeper:.2f} times ResNet-20's time; gradients are off by {error:.0e}; results")


def _check_losses(measured: dict[tuple[str, int], list[dict[str, float]]], depth: int) -> None:
    losses = {name: each[0]["loss"] for (name, deep), each in measured.items() if deep == depth}
    if not np.allclose(list(losses.values()), losses["funcnn"], rtol=1e-3):
        raise RuntimeError(f"deep: expected all to begin with the same loss, got {losses}")


def gradient_error(deep: d.Deep) -> float:
    """The largest relative error of any leaf, by hand against `jax.grad`, in float64."""
    with jax.enable_x64(True):
        net, (x, labels) = d.build(deep, "repeat"), deep.inputs()
        params, state = jax.tree.map(lambda a: a.astype("float64"), net.init(jax.random.key(0), x.shape[1:]))

        def loss(params: fn.arrays.PyTree) -> jax.Array:
            return fn.softmax_cross_entropy(net.apply(params, state, x.astype("float64"), train=True)[0], labels)[0]

        @jax.jit
        def by_hand(params: fn.arrays.PyTree) -> fn.arrays.PyTree:
            logits, _, residuals = net.forward(params, state, x.astype("float64"), train=True)
            return net.backward(residuals, fn.softmax_cross_entropy(logits, labels)[1])[0]

        pairs = zip(jax.tree.leaves(by_hand(params)), jax.tree.leaves(jax.jit(jax.grad(loss))(params)), strict=True)
        return max(float(abs(a - b).max() / abs(b).max()) for a, b in pairs)
