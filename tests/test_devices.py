"""A batch that is divided over devices: the same numbers as on one, an equal share of the work each, nothing moved but sums.

Eight virtual devices of the CPU, in a process of their own, as their number is fixed when JAX starts.
"""

import os
import subprocess
import sys
import textwrap

import pytest

COMMON = """
import re
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec as P
import funcnn as fn
from funcnn import training
from funcnn.training import Trainer

def block(features, stride):
    inner = fn.conv(features, (3, 3), stride=stride, bias=False), fn.batch_norm(), fn.relu, fn.conv(features, (3, 3))
    return fn.residual(*inner, shortcut=fn.conv(features, (1, 1), stride=stride)), fn.relu

WITH_STATISTICS = fn.serial(fn.conv(4, (3, 3)), fn.batch_norm(), fn.relu, *block(8, 2), fn.max_pool((2, 2)), fn.dropout(0.5),
                            fn.global_avg_pool, fn.dense(3))
WITHOUT = fn.serial(fn.conv(4, (3, 3)), fn.relu, fn.max_pool((2, 2)), fn.conv(32, (3, 3)), fn.conv(32, (3, 3)), fn.flatten, fn.dense(3))
X = np.random.default_rng(0).standard_normal((64, 12, 12, 1)).astype("float32")
LABELS = np.arange(64) % 3
MESHES = {"one": None, "automatic": Mesh(np.array(jax.devices()), ("data",)), "explicit": jax.make_mesh((8,), ("data",)),
          "two axes": Mesh(np.array(jax.devices()).reshape(4, 2), ("data", "more"))}
assert len(jax.devices()) == 8
assert MESHES["explicit"].axis_types == (AxisType.Explicit,)

def placed(mesh, trainer, x=X, labels=LABELS):
    ts = training.init(trainer, jax.random.key(0), X.shape[1:])
    if mesh is None:
        return ts, jnp.asarray(x), jnp.asarray(labels)
    over, whole = NamedSharding(mesh, P(mesh.axis_names)), NamedSharding(mesh, P())
    return jax.device_put(ts, whole), *jax.device_put((x, labels), over)

def collectives(compiled):
    return re.findall(r" (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\\(", compiled.as_text())

def products(compiled):
    "2 M N K of all matrix products that one device runs, those of a loop as often as it goes round."
    parts = {part.split(" ", 1)[0].lstrip("%"): part for part in re.split(r"\\n(?=%|ENTRY)", compiled.as_text())}

    def of(part):
        loops = re.findall(r" while\\(.*body=%?([\\w.-]+).*known_trip_count\\W+n\\W+(\\d+)", part)
        assert len(loops) == part.count(" while(")
        return products_of(part) + sum(int(times) * of(parts[body]) for body, times in loops)

    return of(parts["ENTRY"])

def products_of(text):
    total, shapes = 0, {}
    for line in text.splitlines():
        if match := re.match(r"\\s*(?:ROOT )?(%?[\\w.-]+) = \\w+\\[([\\d,]*)\\]", line):
            shapes[match[1].lstrip("%")] = [int(n) for n in match[2].split(",") if n]
        if " dot(" in line:
            out, operand = shapes[match[1].lstrip("%")], re.search(r" dot\\([^%]*%?([\\w.-]+)", line)[1]
            axes = re.search(r"lhs_contracting_dims=\\{([\\d,]*)\\}", line)[1].split(",")
            total += 2 * int(np.prod(out)) * int(np.prod([shapes[operand][int(i)] for i in axes]))
    return total

def close(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for u, v in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(np.asarray(u), np.asarray(v), rtol=1e-3, atol=1e-4)
"""


def on_eight_devices(program):
    env = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"}  # compiled quickly
    done = subprocess.run([sys.executable, "-c", COMMON + textwrap.dedent(program)], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
def test_a_step_divides_the_work_and_moves_sums_alone():
    """Every device has an eighth of the products; what crosses between them are all-reduces, as many bytes as there are gradients,
    statistics and metrics, and none of activations."""
    on_eight_devices("""
        # Winograd transforms its kernels on every device, and its gradient of 3x3 has 36 / 9 of its entries before G
        for net, dots, times in ((WITH_STATISTICS, 0.13, 1.1), (WITHOUT, 0.16, 4)):
            trainer = Trainer(net, optax.sgd(0.1))
            one, eight = (training.make_step(trainer).lower(*placed(mesh, trainer)).compile() for mesh in (None, MESHES["automatic"]))
            assert set(collectives(eight)) == {"all-reduce"} and not collectives(one)
            assert products(eight) <= dots * products(one), products(eight) / products(one)
            moved = sum(int(np.prod([int(n) for n in dims.split(",") if n])) for line in eight.as_text().splitlines()
                        if " all-reduce(" in line for dims in re.findall(r"\\w+\\[([\\d,]*)\\]", line.split(" all-reduce(")[0]))
            params = sum(p.size for p in jax.tree.leaves(net.init(jax.random.key(0), X.shape[1:])[0]))
            statistics = 2 * 2 * sum(s.size for s in jax.tree.leaves(net.init(jax.random.key(0), X.shape[1:])[1])) + 2
            assert params <= moved <= times * params + statistics, (moved, params, statistics)
    """)


@pytest.mark.slow
def test_with_the_cpu_tuning_on_it_would_move_activations():
    """What the counts of the other test can see."""
    on_eight_devices("""
        trainer = Trainer(WITH_STATISTICS, optax.sgd(0.1))
        with fn.cpu_tuning(True):
            eight = training.make_step(trainer).lower(*placed(MESHES["automatic"], trainer)).compile()
        assert set(collectives(eight)) > {"all-reduce"}
    """)


@pytest.mark.slow
def test_an_epoch_an_evaluation_and_microbatches_divide_the_work():
    on_eight_devices("""
        trainer = Trainer(WITH_STATISTICS, optax.sgd(0.1), batch_size=32, evaluation_batch=32)
        parts = trainer._replace(gradients=training.microbatched(4, split_statistics=True))
        for kind in ("automatic", "explicit", "two axes"):
            for make, some in ((training.make_epoch, trainer), (training.make_step, parts), (training.make_evaluate, trainer)):
                programs = []
                for mesh in (None, MESHES[kind]):
                    ts, x, labels = placed(mesh, some)
                    state = (ts.params, ts.state) if make is training.make_evaluate else (ts,)
                    programs.append(make(some).lower(*state, x, labels).compile())
                one, eight = map(products, programs)
                assert eight <= 0.13 * one, (kind, make.__name__, eight / one)
    """)


@pytest.mark.slow
def test_predictions_and_layers_take_what_is_on_several_devices():
    """Also eagerly, but for explicit axes, of which JAX itself makes no empty slices then."""
    on_eight_devices("""
        ts, x, _ = placed(None, Trainer(WITHOUT, optax.sgd(0.1)))
        expected = WITHOUT.apply(ts.params, ts.state, x)[0]
        for kind, mesh in list(MESHES.items())[1:]:
            ts, x, labels = placed(mesh, Trainer(WITHOUT, optax.sgd(0.1)))
            close(training.predict(WITHOUT, ts.params, ts.state, x, answer="outputs", batch_size=24), expected)
            close(jax.jit(WITHOUT.apply)(ts.params, ts.state, x)[0], expected)
            if kind != "explicit":
                close(WITHOUT.apply(ts.params, ts.state, x)[0], expected)
            *_, event = training.fit(Trainer(WITHOUT, optax.sgd(0.1)), (x, labels), epochs=2, key=jax.random.key(0), validation=(x, labels))
            assert np.isfinite(event.metrics["loss"])
    """)


@pytest.mark.slow
@pytest.mark.parametrize("net", ["WITH_STATISTICS", "WITHOUT"])
def test_the_numbers_are_those_of_one_device(net):
    """Three steps, an epoch, microbatches and an evaluation, on meshes of either kind of axes; the parameters stay on all devices."""
    on_eight_devices(f"""
        net, results = {net}, []
        if net is WITH_STATISTICS:
            net = fn.serial(*(layer for layer in net.layers if layer.name != "dropout"))
        for kind, mesh in MESHES.items():
            trainer = Trainer(net, optax.sgd(0.05), batch_size=32, evaluation_batch=24)
            parts = trainer._replace(gradients=training.microbatched(2, split_statistics=True))
            ts, x, labels = placed(mesh, trainer)
            for make in (training.make_step, training.make_epoch, training.make_step):
                ts, metrics = make(trainer)(ts, x, labels)
            if kind == "explicit":
                assert jax.typeof(ts.params[0]["w"]).sharding.spec == P(None, None, None, None)
            ts, last = training.make_step(parts)(ts, x, labels)
            assert mesh is None or all(p.sharding.is_fully_replicated for p in jax.tree.leaves(ts.params))
            results.append((ts.params, ts.state, metrics, last, training.make_evaluate(trainer)(ts.params, ts.state, x, labels)))
            close(results[0], results[-1])
    """)
