"""Every mutant is caught and named, right layers are called right, and one wrong entry among a million is found."""

import os
import re
from pathlib import Path

import jax
import numpy as np
import pytest

import funcnn as fn
from experiments import drift, mutants
from experiments.peers import checkers
from funcnn import training
from funcnn.checking import check_layer, layer_names, monitor
from funcnn.checking.mutation.catalogue import CATALOGUE, RIGHT
from tests.cases import FIRST_OF_EACH

SOME = CATALOGUE[3::11]


def caught(mutant, seed):
    report = check_layer(mutant.layer, mutant.in_shape, seed=seed)
    words = "\n".join(row.explain() for row in report.wrong)
    assert not report.ok
    assert re.search(mutant.words, words), words


@pytest.mark.parametrize("mutant", SOME, ids=[m.name for m in SOME])
def test_mutants_are_caught_and_named(mutant):
    caught(mutant, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", CATALOGUE, ids=[m.name for m in CATALOGUE])
def test_every_mutant_is_caught_and_named(mutant):
    caught(mutant, seed=0)


def test_the_catalogue_is_large_and_its_names_are_different():
    assert len({m.name for m in CATALOGUE}) == len(CATALOGUE) >= 50
    assert sum(bool(m.words) for m in CATALOGUE) >= 50
    for text in (mutants.__doc__, (Path(__file__).parents[1] / "README.md").read_text()):
        assert f"{len(CATALOGUE)} wrong gradients" in text


@pytest.mark.slow
def test_mutants_are_wrong_in_their_backward_pass_alone():
    for mutant in CATALOGUE:
        x = np.random.default_rng(0).standard_normal((4, *mutant.in_shape))
        params, state = fn.to_numpy(mutant.right.init(jax.random.key(0), mutant.in_shape), "float64")
        outputs = [layer.apply(params, state, x, key=jax.random.key(1), train=True)[0] for layer in (mutant.layer, mutant.right)]
        np.testing.assert_array_equal(*outputs, err_msg=mutant.name)


@pytest.mark.parametrize("name", list(RIGHT)[::16])
def test_right_layers_are_called_right(name):
    for seed in range(3):
        check_layer(*RIGHT[name], seed=seed).raise_if_wrong()


@pytest.mark.slow
@pytest.mark.parametrize("name", RIGHT)
def test_every_right_layer_is_called_right(name):
    """By two seeds; `SEEDS=20` in the environment takes as many."""
    for seed in range(int(os.environ.get("SEEDS", "2"))):
        for dtype in ("float32", "float64"):
            check_layer(*RIGHT[name], seed=seed, dtype=dtype).raise_if_wrong()


@pytest.mark.slow
def test_what_is_called_right_is_everything_there_is():
    """Each kind of layer and algorithm of the laws' table is in the table of right layers, or is checked here."""
    for name, case in FIRST_OF_EACH.items():
        if name not in {right.split(":")[0] for right in RIGHT}:
            check_layer(case.layer, case.in_shape).raise_if_wrong()


@pytest.mark.slow
def test_a_wrong_entry_among_a_million_is_found():
    assert all(mutants.found(trial)["found"] for trial in range(30))


def test_the_other_tools_catch_what_they_should_and_pass_what_is_right():
    right = fn.dense(3)
    wrong = right._replace(backward=lambda r, dy: jax.tree.map(lambda g: -g, right.backward(r, dy)))
    for name, tool in checkers.tools().items():
        assert tool(*mutants.point(right, (4,), 0)) is False, name
        assert tool(*mutants.point(wrong, (4,), 0)) is True, name


@pytest.mark.slow
@pytest.mark.usefixtures("optax_promotes", "compiled_quickly")
def test_the_monitor_names_the_layer_and_says_nothing_of_the_steps_between():
    import optax

    layers, images = (
        (fn.conv(2, (3, 3)), fn.relu, fn.flatten, fn.dense(3)),
        np.random.default_rng(0).standard_normal((12, 4, 4, 1), "float32"),
    )
    labels = np.arange(12) % 3
    wrong = fn.relu._replace(backward=lambda y, dy: ((), dy))
    for net, expected in ((fn.serial(*layers), []), (fn.serial(layers[0], wrong, *layers[2:]), ["1 relu"])):
        plain = training.Trainer(net, optax.sgd(0.1), batch_size=4)
        epoch = training.make_epoch(plain._replace(monitor=monitor(every=2)))
        ts, metrics = epoch(training.init(plain, jax.random.key(0), (4, 4, 1)), images, labels)
        assert metrics["gradient_error"].shape == metrics["gradient_cosine"].shape == (3, 4)
        assert np.isnan(metrics["gradient_error"][1]).all()
        for step in (0, 2):
            assert [n for n, e in zip(layer_names(net), metrics["gradient_error"][step], strict=True) if e > 1e-4] == expected
        assert (metrics["gradient_cosine"][0] > 0.9999).sum() == 4 - len(expected)
        same, _ = training.make_epoch(plain)(training.init(plain, jax.random.key(0), (4, 4, 1)), images, labels)
        assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), ts.params, same.params)))
        _, metrics = epoch(ts, images, labels)  # the steps 3, 4 and 5
        np.testing.assert_array_equal(np.isfinite(metrics["gradient_error"]).all(1), [False, True, False])
        assert np.isfinite(metrics["loss"]).all()


def test_a_network_that_is_no_chain_is_one_row_of_the_monitor():
    net = fn.residual(fn.dense(4))
    assert list(layer_names(net)) == ["residual"]
    params, state = net.init(jax.random.key(0), (4,))
    x = np.random.default_rng(0).standard_normal((2, 4)).astype("float32")
    measured = monitor().measure(net, fn.softmax_cross_entropy, params, state, x, np.arange(2), jax.random.key(1))
    assert measured["gradient_error"].shape == (1,)
    assert measured["gradient_error"][0] < 1e-5
    with pytest.raises(ValueError, match="monitor: expected every"):
        monitor(every=0)


def test_the_mutated_networks_of_drift_are_wrong_where_they_say():
    for label, mutation in drift.MUTATED.items():
        if mutation:
            i, layer = mutation
            assert label.startswith(f"{i} {layer.name}")
            assert layer.name == drift.NET.layers[i].name
