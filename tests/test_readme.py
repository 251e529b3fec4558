"""What the README files say is so: their code runs and prints what it says, their commands exist, their links lead somewhere."""

import re
from pathlib import Path

import pytest

import funcnn as fn
from funcnn import checking, datasets, training

ROOT = Path(__file__).parents[1]
FOLDERS = (".", "experiments", "funcnn", "funcnn/checking", "funcnn/convolution")
PAGES = {f"{folder}/README.md".removeprefix("./"): (ROOT / folder / "README.md").read_text() for folder in FOLDERS}
README = PAGES["README.md"]
PYTHON = re.findall(r"```python\n(.*?)```", README, flags=re.S)
COMMANDS = re.findall(r"```sh\n(.*?)\n```", README, flags=re.S)
each_page = pytest.mark.parametrize("page", PAGES)


def lines_of(capsys, code):
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    return capsys.readouterr().out.splitlines()


def said(code):
    """What the comment behind each print says it prints."""
    return re.findall(r"^print\(.*\)  # (.*)$", code, flags=re.M)


def number(text):
    return float(re.search(r"[\d.]+(e-?\d+)?", text)[0])


def test_it_is_one_page():
    assert len(README.splitlines()) < 220
    assert len(PYTHON) == 4


def test_the_gradients_differ_by_what_is_said(capsys):
    """Rounding differs between JAX releases: 5e-07 on 0.12, what is said on 0.9.2."""
    (line,), (claim,) = lines_of(capsys, PYTHON[0]), said(PYTHON[0])
    assert 0 < number(line) <= 2 * number(claim) <= 1e-5


def test_the_layer_in_user_code_is_right_as_it_says(capsys):
    assert lines_of(capsys, PYTHON[1]) == said(PYTHON[1]) == ["True"]


@pytest.mark.usefixtures("optax_promotes")
def test_the_training_reaches_what_is_said(capsys):
    (line,), (claim,) = lines_of(capsys, PYTHON[2]), said(PYTHON[2])
    assert abs(number(line) - number(claim)) <= 1.5  # percent; rounding differs between machines


@pytest.mark.usefixtures("optax_promotes")
def test_the_report_is_the_one_that_is_printed(capsys):
    """The same lines; their numbers depend on the machine's rounding."""
    shown = re.search(r"```text\n(.*?)\n```", README, flags=re.S)[1].splitlines()
    for expected, line in zip(shown, lines_of(capsys, PYTHON[3]), strict=True):
        assert [re.sub(r"[\d.]+(e[-+]?\d+)?", "#", word) for word in line.split()] == [
            re.sub(r"[\d.]+(e[-+]?\d+)?", "#", word) for word in expected.split()
        ]


@pytest.mark.usefixtures("optax_promotes", "compiled_quickly")
def test_the_recipes_of_a_training_run():
    """Each cell of the table `you want | you write` that is Python, with `...` filled in."""
    import jax
    import numpy as np
    import optax

    from funcnn import augmentation

    x, labels = np.zeros((16, 6, 6, 1), "float32"), np.arange(16) % 3
    net, loss = fn.serial(fn.flatten, fn.dense(3)), optax.softmax_cross_entropy_with_integer_labels
    trainer = training.Trainer(net, optax.sgd(0.1), batch_size=8)
    states = jax.vmap(lambda key: training.init(trainer, key, (6, 6, 1)))(jax.vmap(jax.random.key)(np.arange(2)))
    names = {"fn": fn, "training": training, "optax": optax, "augmentation": augmentation, "jax": jax, "net": net, "loss": loss, "x": x}
    names |= {"Trainer": training.Trainer, "trainer": trainer, "labels": labels, "states": states}
    fit = "training.fit(trainer, (x, labels), epochs=1, key=jax.random.key(0), validation=(x, labels))"
    table = re.search(r"\| you want \| you write \|\n(.*?)\n\n", README, flags=re.S)[1]
    codes = [code for row in table.splitlines()[1:] for code in re.findall(r"`([^`]+\)[^`]*)`", row.split(" | ")[-1])]
    results = []
    for code in codes:
        if code.startswith("("):
            continue  # a signature
        code = code.replace("Trainer(..., ", "Trainer(net, optax.sgd(0.1), batch_size=8, ")
        code = code.replace("training.fit(...)", fit)
        code = f"[event {code[:-1]}]" if code.startswith("for ") else code
        results.append(eval(code, names))
    trainers = [r for r in results if isinstance(r, training.Trainer)]
    assert len(trainers) == 4
    assert len(results) >= 7
    for made in trainers:
        *_, event = training.fit(made._replace(batch_size=8), (x, labels), epochs=1, key=jax.random.key(0))
        assert np.isfinite(event.metrics["loss"])


@pytest.mark.peers
def test_the_recipes_with_other_libraries_run(tmp_path, monkeypatch):
    """Each cell of the table `you have | you write`, in its order."""
    import jax

    linen, eqx, torch = map(pytest.importorskip, ("flax.linen", "equinox", "torch"))
    pytest.importorskip("onnx")
    monkeypatch.chdir(tmp_path)
    net = fn.serial(fn.flatten, fn.dense(10))
    params, state = net.init(jax.random.key(0), (28, 28, 1))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    names = {"interop": fn.interop, "nn": linen, "net": net, "params": params, "state": state, "model": model}
    names |= {"init": lambda key, in_shape: (), "apply": lambda params, x: 2 * x, "module": eqx.nn.Linear(3, 2, key=jax.random.key(0))}
    table = re.search(r"\| you have \| you write \|\n(.*?)\n\n", README, flags=re.S)[1]
    codes = re.findall(r"`(?:with )?([^`]+)`", "\n".join(row.split(" | ", 1)[1] for row in table.splitlines()[1:]))
    results = {code: eval(code.rstrip(":"), names) for code in codes}
    assert len(results) == 15
    read, _ = next(made for code, made in results.items() if "load(" in code)
    assert all((a == b).all() for a, b in zip(jax.tree.leaves(read), jax.tree.leaves(params), strict=True))
    assert {path.name for path in tmp_path.iterdir()} == {"net.safetensors", "net.bin", "net.onnx"}
    assert sum(isinstance(made, fn.Layer) for made in results.values()) == 3


def test_the_commands_are_the_ones_that_ci_runs():
    first, second = COMMANDS[:2]
    ci = (ROOT / ".ci" / "run").read_text().splitlines()
    assert second in ci
    assert first.replace("[experiments]", "[test]").replace("experiments digits", "pytest") == second


def test_what_there_is_is_all_there_is():
    """The README's table names what `funcnn` exports, and nothing else; of the packages, what they hold."""
    rows = re.search(r"## What there is\n(.*?)\n## ", README, flags=re.S)[1].splitlines()[3:]
    named = [set(re.findall(r"`(\w+)(?:\(\w*\))?`", row.split("|", 2)[2])) for row in rows if row]
    exported = set(re.findall(r"import (\w+) as \1", (ROOT / "funcnn" / "__init__.py").read_text()))
    assert set().union(*named[:3]) == exported - {"Layer", "stateless", "convolution", "interop", "networks", "_compatibility"}
    for module, names in (
        (fn.networks, named[3]),
        (fn.convolution, named[4]),
        (training, named[5]),
        (checking, named[6]),
        (datasets, named[8] - {"FUNCNN_DATA"}),
        (fn.interop, named[9]),
    ):
        assert names
        assert all(hasattr(module, name) for name in names), module


@each_page
def test_links_and_named_experiments_exist(page):
    for target in re.findall(r"\]\(([^)#]+)\)", PAGES[page]):
        assert (ROOT / page).parent.joinpath(target).exists(), target
    for name in set(re.findall(r"python -m experiments ([a-z]\w*)", PAGES[page])):
        assert (ROOT / "experiments" / f"{name}.py").exists(), name
    for file in set(re.findall(r"pytest (tests/\w+\.py)", PAGES[page])):
        assert (ROOT / file).exists(), file


def test_the_contract_is_as_long_as_it_says():
    assert f"the contract ({len((ROOT / 'funcnn' / 'layer.py').read_text().splitlines())} lines)" in README


def test_every_algorithm_is_in_its_table_with_its_error():
    page = PAGES["funcnn/convolution/README.md"]
    algorithms = {a.name for a in vars(fn.convolution).values() if isinstance(a, fn.convolution.ConvAlgorithm)}
    assert set(re.findall(r"^\| `(\w+)` \|", page, flags=re.M)) == algorithms


@each_page
def test_nothing_is_left_to_fill_in(page):
    """A figure that waits to be measured stands as a word in capitals."""
    prose = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", "", PAGES[page], flags=re.S)
    assert set(re.findall(r"\b[A-Z]{5,}\b", prose)) <= {"GFLOP", "MNIST", "README"}
