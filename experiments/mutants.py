"""224 wrong gradients, and which checker catches which; and how often each calls a right one wrong. Takes 2 h.

Claim: funcnn's checker catches all, says where in 90 % of those with a place or a factor, and raises no false alarm.
Theme: gradients.
"""

import re
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

import funcnn as fn
from experiments.common.console import progress, table
from experiments.common.options import Options
from experiments.common.processes import pool
from experiments.common.run import Run
from experiments.peers.checkers import tools
from funcnn.checking import check_layer, check_pair
from funcnn.checking.mutation.catalogue import CATALOGUE, RIGHT
from funcnn.checking.points import draw

OURS = "funcnn"


@dataclass(frozen=True)
class Config(Options):
    seeds: int = 60
    """With how many seeds funcnn checks each right layer, in float64 and, compiled, in float32."""
    other_seeds: int = 5
    """With how many seeds the other tools check them."""
    trials: int = 1000
    """How often one wrong entry is looked for among a million."""
    processes: int = 2
    """How many checks run at a time."""


def point(layer: fn.Layer, in_shape: tuple[int, ...], seed: int) -> tuple:
    """Where the other tools check a layer: random params, x and key, the state after a step."""
    key = jax.random.key(seed)
    return layer, *draw(layer, in_shape, key, 4, np.random.default_rng(seed)), key


def caught(index: int, seed: int) -> dict:
    """Who catches a mutant of the catalogue, in how many seconds, and whether funcnn's words name the place."""
    mutant = CATALOGUE[index]
    start = time.perf_counter()
    report = check_layer(mutant.layer, mutant.in_shape, seed=seed)
    seconds, words = {OURS: time.perf_counter() - start}, "\n".join(row.explain() for row in report.wrong)
    verdicts: dict[str, bool | None] = {OURS: not report.ok}
    for name, tool in tools().items():
        start = time.perf_counter()
        verdicts[name] = tool(*point(mutant.layer, mutant.in_shape, seed))
        seconds[name] = time.perf_counter() - start
    named = bool(re.search(mutant.words, words)) if mutant.words else None
    return {"mutant": mutant.name, "caught": verdicts, "named": named, "words": words, "seconds": seconds}


def alarms(name: str, seed: int, seeds: int, other_seeds: int) -> dict:
    """How often a right layer is called wrong, and the largest error in units of what is allowed."""
    layer, in_shape = RIGHT[name]
    counts, margin, messages = dict.fromkeys((OURS, *tools()), 0), 0.0, []
    for i in range(seed, seed + seeds):
        report = check_layer(layer, in_shape, seed=i)
        counts[OURS] += not report.ok
        messages += [row.explain() for row in report.wrong]
        margin = max([margin, *(row.error / row.tolerance for row in report.rows if row.tolerance and not row.kinks)])
    for i in range(seed, seed + other_seeds):
        for other, tool in tools().items():
            counts[other] += bool(tool(*point(layer, in_shape, i)))
    return {"layer": name, "alarms": counts, "margin": margin, "messages": messages}


def found(trial: int, entries: int = 1000) -> dict:
    """Whether one entry of a million that is off by 1e-3 is found, by differences alone: NumPy code that JAX cannot see into."""
    rng = np.random.default_rng(trial)
    w, x = rng.standard_normal((entries, entries)), rng.standard_normal((2, entries))
    i, j = rng.integers(entries, size=2)

    def forward(w):
        return np.asarray(x) @ np.asarray(w), ()

    def backward(_, dy):
        dw = x.T @ np.asarray(dy)
        dw[i, j] *= 1.001
        return (dw,)

    return {"trial": trial, "found": not check_pair(forward, backward, w, seed=trial).ok}


def main(options: Config) -> None:
    run = Run("mutants", options)
    chosen = range(0, len(CATALOGUE), 30 if options.smoke else 1)
    right = list(RIGHT)[30::15] if options.smoke else list(RIGHT)
    seeds, others, trials = (1, 1, 1) if options.smoke else (options.seeds, options.other_seeds, options.trials)
    with _workers(1 if options.smoke else options.processes) as each:
        with progress("mutants", len(chosen)) as advance:
            kills = list(_each(each(partial(caught, seed=options.seed), chosen), advance, run))
        with progress("right layers", len(right)) as advance:
            quiet = list(_each(each(partial(alarms, seed=options.seed, seeds=seeds, other_seeds=others), right), advance, run))
        with progress("one entry of a million", trials) as advance:
            hits = sum(one["found"] for one in _each(each(found, range(options.seed, options.seed + trials)), advance, run))
    show(kills, quiet, seeds, others)
    placed = [k["named"] for k in kills if k["named"] is not None]
    summary = f"{sum(placed)} of {len(placed)} places and factors named; one entry of a million found in {hits} of {trials} trials"
    run.finish(
        {"mutants": kills, "right": quiet, "named": sum(placed), "with_a_place": len(placed), "found": hits, "trials": trials},
        summary + ";\nresults",
    )


@contextmanager
def _workers(processes: int) -> Generator[Callable, None, None]:
    """`map` over several processes; one is this one."""
    if processes == 1:
        yield map
    else:
        with pool(processes, threads=1) as several:  # with both cores for each they are slower together than one after the other
            yield several.map


def _each(results: Iterator, advance: Callable, run: Run) -> Iterator:
    """The results as they come, written down at once: this takes long, and may be stopped."""
    for result in results:
        run.log(result)
        yield result
        advance()


def show(kills: list[dict], quiet: list[dict], seeds: int, others: int) -> None:
    """The kill table, and how the tools did in all."""
    who = list(kills[0]["caught"])
    marks = {True: "caught", False: "-", None: "n/a"}
    table("Wrong gradients: who catches them (-: passes as right; n/a: cannot be checked)", ("mutant", *who),
          ((k["mutant"], *(marks[k["caught"][w]] for w in who)) for k in kills))  # fmt: skip
    rows = []
    for w in who:
        checks = len(quiet) * (seeds if w == OURS else others)
        rows.append((
            w, f"{sum(k['caught'][w] is True for k in kills)} of {len(kills)}", f"{sum(q['alarms'][w] for q in quiet)} of {checks:,}",
            f"{np.median([k['seconds'][w] for k in kills]):.2f}",
        ))  # fmt: skip
    worst = max(q["margin"] for q in quiet)
    title = f"In all; on right gradients funcnn sees at most {worst:.2f} of the error it allows; seconds: median, compiling included"
    table(title, ("checker", "caught", "false alarms", "s"), rows)
