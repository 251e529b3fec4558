"""A training step of another library's network, compiled; the same for all libraries."""

from importlib import import_module
from typing import Any

import jax
import numpy as np
import optax

from experiments.benchmark.workloads import Prepared, Workload, timed, written_out


def prepare(workload: Workload, initial: Any, library: str, through: bool) -> Prepared:
    """The workload in `library`, its convolutions and pools by funcnn where they go `through` it."""
    specs, params = written_out(workload.layers, initial)
    x, labels = jax.device_put(workload.inputs())
    net = import_module(f"experiments.libraries.{library}").network(specs, params, workload.bias, x, through)
    optimizer = optax.sgd(workload.rate, momentum=workload.momentum)

    @jax.jit
    def step(params, state, opt_state, x, labels):
        def loss(params):
            logits, moved = net.apply(params, state, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), moved

        (value, state), grads = jax.value_and_grad(loss, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), state, opt_state, value

    at = [(net.params, net.state, optimizer.init(net.params))]
    traced, lowered = timed(lambda: step.lower(*at[0], x, labels))
    compiled, program = timed(lowered.compile)

    def run():
        *moved, loss = jax.block_until_ready(program(*at[0], x, labels))
        at[0] = tuple(moved)
        return np.asarray(loss, "float32")

    seconds, first = timed(run)
    losses = np.stack([first, *(run() for _ in range(workload.losses - 1))])
    facts = {"trace_s": traced, "compile_s": compiled, "temporary_mib": program.memory_analysis().temp_size_in_bytes / 2**20}
    return Prepared({"losses": losses}, traced + compiled + seconds, run, program=facts)
