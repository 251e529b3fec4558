"""The networks of `experiments doors`: in every library, by JAX's own convolution and by funcnn's, they compute the same losses."""

import json

import numpy as np
import pytest

from experiments import doors
from experiments.benchmark import race
from experiments.benchmark import workloads as w
from experiments.benchmark.contenders import initial, prepare
from experiments.benchmark.workloads import Way

NETWORKS = {
    "average pooling": w.mnist("avg_pool", 5, 8, 3), "max pooling": w.mnist("max_pool", 5, 8, 3),
    "ResNet": w.resnet(14, 4, 8, 2)._replace(losses=3), "depthwise": w.separable(4, 8, 2)._replace(losses=3),
}  # fmt: skip

IN_LIBRARIES = [
    ("average pooling", "linen"), ("average pooling", "haiku"), ("max pooling", "nnx"), ("max pooling", "equinox"), ("ResNet", "nnx"),
    ("depthwise", "linen"),
]  # fmt: skip


def losses(workload, way):
    return prepare(workload, initial(workload), way).results["losses"]


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_quickly", "optax_promotes")
@pytest.mark.parametrize("name", ["average pooling", "depthwise"])
def test_by_lax_by_hand_and_through_the_door(name):
    workload = NETWORKS[name]
    expected = losses(workload, race.HOW[race.LAX])
    assert expected.shape == (workload.losses,)
    assert np.ptp(expected) > 1e-3
    for way in (Way(), race.DOORS[race.DOOR]):
        np.testing.assert_allclose(losses(workload, way), expected, rtol=1e-5)


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.usefixtures("compiled_quickly", "optax_promotes")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "library"), IN_LIBRARIES)
def test_in_the_libraries(name, library):
    pytest.importorskip(race.LIBRARIES[library])
    from experiments.libraries.step import prepare as prepare_in_library

    workload = NETWORKS[name]
    expected = losses(workload, race.HOW[race.LAX])
    for through in (False, True):
        got = prepare_in_library(workload, initial(workload), library, through).results["losses"]
        np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("compiled_quickly", "optax_promotes")
def test_libraries_that_are_missing_are_left_out_and_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(doors, "find_spec", lambda module: None)
    doors.main(doors.Config(smoke=True, out=tmp_path / "run"))
    assert "left out, as not installed: equinox, flax, haiku;" in capsys.readouterr().out
    rows = json.loads((tmp_path / "run" / "results.json").read_text())
    assert {row["library"] for row in rows["networks"]} == {doors.PLAIN}
    assert all(row["same"] for row in rows["networks"])
