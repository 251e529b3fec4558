"""Whole networks learn and are as large as their papers say; deep ones need no more to compile, and less memory where they recompute."""

import jax
import numpy as np
import optax
import pytest

import funcnn as fn
from experiments.deep import gradient_error
from funcnn import networks, training
from tests.cases.case import Case
from tests.cases.combinators import BLOCK
from tests.cases.networks import CASES
from tests.test_laws import both_passes, on_jax, problem, worst
from tests.test_promises import primitives

KEY = jax.random.key(0)
NARROW = {name.removeprefix("network: "): case for name, case in CASES.items() if name.startswith("network: ")}
NARROW["resnet56"] = Case(networks.resnet56(3, width=2), (8, 8, 2))
EXAMPLES = 8
each_way = pytest.mark.parametrize("repeated", [pytest.param(False, marks=pytest.mark.slow), True], ids=["written out", "repeat"])


def batch_of(name):
    """Images, and as many kinds of labels as there are, for each image or each pixel."""
    rng, case = np.random.default_rng(0), NARROW[name]
    labels = np.arange(EXAMPLES, dtype="int32") % 2
    x = rng.standard_normal((EXAMPLES, *case.in_shape), "float32") + labels.reshape(-1, 1, 1, 1)
    return x, (x[..., 0] > 0).astype("int32") if name == "unet" else labels


@pytest.mark.usefixtures("optax_promotes", "compiled_quickly")
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "lenet5")) for name in NARROW])
def test_it_learns_in_a_few_steps(name):
    case, (x, labels) = NARROW[name], batch_of(name)
    trainer = training.Trainer(case.layer, optax.adam(1e-2), EXAMPLES)
    step, ts, losses = training.make_step(trainer), training.init(trainer, KEY, case.in_shape), []
    for _ in range(8):
        ts, metrics = step(ts, x, labels)
        losses.append(float(metrics["loss"]))
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    ("net", "in_shape", "count"),
    [
        (networks.lenet5(), (28, 28, 1), 61_706),
        (networks.all_convolutional(), (32, 32, 3), 1_369_738),
        (networks.resnet20(), (32, 32, 3), 269_722),
        pytest.param(networks.resnet56(), (32, 32, 3), 853_018, marks=pytest.mark.slow),
        pytest.param(networks.resnet18(), (224, 224, 3), 11_689_512, marks=pytest.mark.slow),
    ],
    ids=lambda value: repr(value) if isinstance(value, fn.Layer) else "",
)
def test_it_has_as_many_parameters_as_its_paper_says(net, in_shape, count):
    params, _ = jax.eval_shape(lambda key: net.init(key, in_shape), KEY)
    assert fn.count_parameters(params) == count


@pytest.mark.slow
def test_a_deeper_network_is_no_larger_a_program():
    """Of each copy there is its key alone."""

    def equations(net):
        trainer = training.Trainer(net, optax.sgd(0.1, momentum=0.9), 2)
        ts = jax.eval_shape(lambda: training.init(trainer, KEY, (8, 8, 3)))
        x, labels = jax.ShapeDtypeStruct((2, 8, 8, 3), "float32"), jax.ShapeDtypeStruct((2,), "int32")
        return len(list(primitives(jax.make_jaxpr(training.make_step(trainer))(ts, x, labels).jaxpr)))

    shallow, deep = equations(networks.resnet20(width=2)), equations(networks.resnet56(width=2))
    assert shallow > 500
    assert deep <= shallow + 5 * 18


@pytest.mark.slow
def test_gradients_by_hand_are_those_of_jax():
    assert gradient_error(networks.resnet20(width=4), 8) <= 1e-10


@pytest.mark.usefixtures("x64")
@each_way
def test_recomputing_changes_nothing(repeated):
    """Not with dropout and batch norm either: the same masks and statistics, and a state that moves once."""

    def net(block):
        return fn.repeat(block, 3) if repeated else fn.serial(block, block, block)

    plain, again = net(BLOCK), net(fn.recompute(BLOCK))
    arrays = problem(Case(plain, (4, 5, 2)))
    for train in (True, False):
        expected = both_passes(plain, train)(*arrays)
        assert worst(both_passes(again, train)(*arrays), expected) == 0
        assert worst(jax.jit(both_passes(again, train))(*on_jax(arrays)), expected) <= 1e-12


@each_way
def test_recomputing_halves_the_memory_of_eight_blocks(repeated):
    """Of both passes in one program, as XLA plans it: without a data dependency it keeps what it has computed."""
    block = fn.residual(
        fn.conv(16, (3, 3), bias=False), fn.batch_norm(), fn.relu, fn.conv(16, (3, 3), bias=False), fn.batch_norm(), fn.relu
    )

    def temporary(block):
        net = fn.repeat(block, 8) if repeated else fn.serial(*8 * [block])
        params, state = jax.eval_shape(lambda key: net.init(key, (16, 16, 16)), KEY)
        x = jax.ShapeDtypeStruct((64, 16, 16, 16), "float32")
        return jax.jit(both_passes(net, train=True)).lower(params, state, x, x).compile().memory_analysis().temp_size_in_bytes

    assert temporary(fn.recompute(block)) <= temporary(block) / 2


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
def test_repeat_is_serial_of_its_copies(train):
    """Outputs, state, both gradients; in training the random masks too."""
    repeated, written = fn.repeat(BLOCK, 3), fn.serial(BLOCK, BLOCK, BLOCK)
    params, state, x, dy = problem(Case(repeated, (4, 5, 2)))
    copies = repeated.divide(params), repeated.divide(state), x, dy
    for run, give in ((lambda passes: passes, lambda arrays: arrays), (jax.jit, on_jax)):
        y, new_state, dparams, dx = run(both_passes(repeated, train))(*give((params, state, x, dy)))
        got = y, repeated.divide(new_state), repeated.divide(dparams), dx
        assert worst(got, run(both_passes(written, train))(*give(copies))) <= 1e-12


def test_repeat_starts_as_serial_does():
    repeated = fn.repeat(BLOCK, 3)
    started = tuple(map(repeated.divide, repeated.init(KEY, (4, 5, 2))))
    assert worst(started, fn.serial(BLOCK, BLOCK, BLOCK).init(KEY, (4, 5, 2))) == 0
