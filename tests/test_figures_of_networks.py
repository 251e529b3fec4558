"""Pictures of what a network makes of an image, of its answers, and of its gradients by hand and by `jax.grad`."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.colors import to_hex

import funcnn as fn
from funcnn import checking, datasets, figures
from tests.pictures import pictures, readable, words

RNG = np.random.default_rng(0)
DIGITS = "0123456789"


# Feature maps

STAGES = [("input", RNG.random((6, 8, 1))), ("conv", RNG.normal(size=(6, 8, 12))), ("dense", RNG.normal(size=10))]


def test_feature_maps_of_a_layer_share_one_scale_that_is_told():
    figure = readable(figures.feature_maps(STAGES, "A 7"))
    conv, scale = figure.axes[2:4]
    low, high = STAGES[1][1].min(), STAGES[1][1].max()
    assert len(conv.get_images()) == 8
    for picture in conv.get_images():
        np.testing.assert_allclose(picture.get_clim(), (low, high), rtol=1e-6)
    assert [label.get_text() for label in scale.get_yticklabels()] == [f"{low:.2g}", f"{high:.2g}"]
    assert conv.get_ylabel() == "conv\n6 x 8 x 12"
    assert words(figure).count("A 7\nthe first 8 channels of each layer, from black, its smallest value, to white, its largest") == 1


@pytest.mark.parametrize("classes", [DIGITS, datasets.FASHION_CLASSES, [f"a long name {i}" for i in range(10)]])
def test_the_last_bars_are_named_with_the_answer_marked(classes):
    figure = readable(figures.feature_maps(STAGES, "A 7", classes=classes))
    bars, answer = figure.axes[-1], int(STAGES[-1][1].argmax())
    assert [label.get_text() for label in bars.get_xticklabels()] == list(classes)
    colors = [to_hex(bar.get_facecolor()) for bar in bars.patches]
    assert [i for i, color in enumerate(colors) if color == to_hex("tab:orange")] == [answer]
    assert bars.get_xlabel() == f"logits of the classes; orange: the answer, {classes[answer]}, the largest logit"
    np.testing.assert_allclose([bar.get_height() for bar in bars.patches], STAGES[-1][1], rtol=1e-6)


def test_another_answer_is_not_called_the_largest():
    lowest = int(STAGES[-1][1].argmin())
    bars = figures.feature_maps(STAGES, "A 7", classes=DIGITS, answer=lowest).axes[-1]
    assert bars.get_xlabel() == f"logits of the classes; orange: the answer, {lowest}"
    share = [*STAGES[:-1], ("softmax", np.full(10, 0.1))]
    assert figures.feature_maps(share, "A 7", classes=DIGITS, answer=3).axes[-1].get_xlabel().startswith("probabilities of the classes;")


def test_feature_maps_without_spread_or_not_finite():
    stages = [
        ("dead", np.zeros((4, 4, 3))),
        ("broken", np.where(np.eye(4)[..., None] > 0, np.nan, [1.0, 2.0])),
        ("lost", np.full(5, np.inf)),
    ]
    figure = readable(figures.feature_maps(stages, "Nothing left"))
    assert [label.get_text() for label in figure.axes[1].get_yticklabels()] == ["0", "0"]
    assert figure.axes[2].get_ylabel() == "broken\n4 x 4 x 2\nred: not finite"
    assert [label.get_text() for label in figure.axes[3].get_yticklabels()] == ["1", "2"]
    assert figure.axes[4].get_xlabel() == "entries 0 to 4; those without a bar are not finite"


@pytest.mark.parametrize(
    ("stages", "options", "message"),
    [
        ([], {}, "expected at least one stage, got none"),
        ([("conv", np.zeros((2, 2)))], {}, "expected the output of conv of shape (H, W, C) or (D,), got (2, 2)"),
        (STAGES, {"classes": "012"}, "expected the last output of shape (3,), one for each class, got (10,)"),
        (STAGES, {"classes": DIGITS, "answer": 10}, "expected answer in [0, 10), got 10"),
        (STAGES, {"answer": 1}, "expected classes together with answer, got answer=1 alone"),
    ],
)
def test_feature_maps_that_cannot_be_drawn(stages, options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(f'figures.feature_maps: {message}')}$"):
        figures.feature_maps(stages, "A 7", **options)


# Answers


def answers(wrong, n=30, classes=10):
    """Images, labels and probabilities of n answers, of which the first `wrong` are wrong, each surer than the one before."""
    labels, probabilities = np.arange(n) % classes, np.zeros((n, classes), "float32")
    for i, label in enumerate(labels):
        sure = 0.6 + 0.3 * i / n
        probabilities[i] = (1 - sure) / (classes - 1)
        probabilities[i, (label + 1) % classes if i < wrong else label] = sure
    return RNG.random((n, 8, 8, 1)), labels, probabilities


def test_misread_images_come_with_the_confidence_the_surest_first():
    images, labels, probabilities = answers(5)
    figure = readable(figures.misread(images, labels, probabilities, DIGITS))
    confidence = [f"{0.6 + 0.3 * i / 30:.2f}" for i in range(5)]
    assert [axes.get_title() for axes in figure.axes] == [f"{i} read as {i + 1} ({confidence[i]})" for i in (4, 3, 2, 1, 0)]
    np.testing.assert_allclose(pictures(figure), images[4::-1, ..., 0], rtol=1e-6)
    assert "5 of 30 images are misread; the surest mistakes first" in words(figure)


def test_of_many_misread_images_the_surest_are_drawn():
    figure = readable(figures.misread(*answers(30), datasets.FASHION_CLASSES))
    assert len(figure.axes) == 16
    assert "30 of 30 images are misread; the 16 surest mistakes" in words(figure)
    assert figure.axes[0].get_title() == "ankle boot\nread as T-shirt/top (0.89)"
    assert len(figures.misread(*answers(30), DIGITS, most=3).axes) == 3


def test_where_nothing_is_misread_it_says_so():
    assert words(readable(figures.misread(*answers(0), DIGITS))) == "None of 30 images is misread"
    assert "1 of 30 images is misread" in words(readable(figures.misread(*answers(1), DIGITS)))
    assert words(figures.misread(np.zeros((2, 3, 3, 1)), [0, 0], np.ones((2, 1)), "0")) == "None of 2 images is misread"


def test_answers_that_do_not_fit_are_refused():
    images, labels, probabilities = answers(5)
    with pytest.raises(ValueError, match=r"^figures.misread: expected probabilities of shape \(N, K\) = \(30, 3\), got \(30, 10\)$"):
        figures.misread(images, labels, probabilities, "012")
    with pytest.raises(ValueError, match=r"^figures.misread: expected labels of shape \(30,\) in \[0, 10\), got shape \(29,\)$"):
        figures.misread(images, labels[:-1], probabilities, DIGITS)
    with pytest.raises(ValueError, match=r"^figures.misread: expected labels of shape \(30,\) in \[0, 10\), got values from 1 to 10$"):
        figures.misread(images, labels + 1, probabilities, DIGITS)
    for logits in (probabilities + 1, np.log(probabilities), probabilities * np.nan):
        with pytest.raises(ValueError, match=r"^figures.misread: expected probabilities that sum to 1, .*; take the softmax of logits$"):
            figures.misread(images, labels, logits, DIGITS)


@pytest.mark.parametrize("names", [DIGITS, datasets.FASHION_CLASSES, ("a", "b"), ("all",)])
def test_a_confusion_matrix_tells_how_many_are_right(names):
    figure = readable(figures.confusion_matrix(np.eye(len(names), dtype=int) * 3 + 1, names))
    assert figure.axes[0].get_title() == f"Confusion matrix: {4 * len(names)} of {len(names) ** 2 + 3 * len(names)} right"
    with pytest.raises(ValueError, match=r"^figures.confusion_matrix: expected counts of shape \(K, K\) for the \d+ names, got \(1, 2\)$"):
        figures.confusion_matrix(np.ones((1, 2)), names)


# Gradients


@functools.cache
def gradients():
    """A small network and both its gradients."""
    net = fn.serial(fn.conv(4, (3, 3)), fn.batch_norm(), fn.relu, fn.flatten, fn.dense(3))
    params, state = net.init(jax.random.key(0), (6, 6, 1))
    x, labels = RNG.normal(size=(8, 6, 6, 1)).astype("float32"), np.arange(8) % 3

    @jax.jit
    def both(params):
        logits, _, residuals = net.forward(params, state, x, train=True)
        manual, _ = net.backward(residuals, fn.softmax_cross_entropy(logits, labels)[1])
        return manual, jax.grad(lambda p: fn.softmax_cross_entropy(net.apply(p, state, x, train=True)[0], labels)[0])(params)

    return net, *fn.to_numpy(both(params))


def points(axes):
    return np.asarray(axes.collections[0].get_offsets())


def test_gradients_that_agree_lie_on_the_diagonal():
    net, manual, automatic = gradients()
    figure = readable(figures.gradients(manual, automatic, checking.layer_names(net)))
    *panels, histogram = figure.axes
    names = ["0 conv b", "0 conv w", "1 batch_norm scale", "1 batch_norm shift", "4 dense b", "4 dense w"]
    assert [axes.get_title().split("\n")[0] for axes in panels] == names
    np.testing.assert_array_equal(points(panels[1]), np.stack([np.ravel(automatic[0]["w"]), np.ravel(manual[0]["w"])], 1))
    error = np.abs(manual[0]["w"] - automatic[0]["w"]).max() / np.abs(automatic[0]["w"]).max()
    assert panels[1].get_title().endswith(f"relative error {error:.1e}")
    assert panels[0].get_title().endswith("0 but for rounding")  # a bias before batch norm
    assert panels[5].get_xlim() == panels[5].get_ylim()
    assert (panels[4].get_xlabel(), panels[4].get_ylabel()) == ("by jax.grad", "by hand")
    entries = sum(p.size for p in jax.tree.leaves(manual))
    assert sum(bar.get_height() for bar in histogram.patches) == entries
    assert "in machine epsilons (1.2e-07 in float32)" in histogram.get_xlabel()
    assert f"The gradient written by hand against jax.grad, all {entries:,} entries" in words(figure)
    assert "WRONG" not in words(figure)


def test_a_wrong_gradient_is_red_and_its_array_named():
    net, manual, automatic = gradients()
    wrong = (*manual[:-1], {"w": 1.01 * manual[-1]["w"], "b": manual[-1]["b"]})
    figure = readable(figures.gradients(wrong, automatic, checking.layer_names(net)))
    *panels, histogram = figure.axes
    assert [axes.get_title().split("\n")[0] for axes in panels if "WRONG" in axes.get_title()] == ["4 dense w"]
    assert panels[-1].get_title() == "4 dense w\nWRONG: error 1.0e-02"
    assert to_hex(panels[-1].collections[0].get_facecolor()) == to_hex("tab:red")
    assert to_hex(panels[1].collections[0].get_facecolor()) == to_hex("tab:blue")
    assert "on the diagonal both agree; 1 of 6 arrays WRONG" in words(figure)
    assert [text.get_text() for text in histogram.get_legend().get_texts()] == ["right", "WRONG: more than half of the digits are lost"]


def test_gradients_that_are_not_finite_are_wrong():
    a = np.linspace(-1, 1, 9)
    figure = readable(figures.gradients({"w": np.where(a > 0.5, np.nan, a)}, {"w": a}))
    assert figure.axes[0].get_title() == "w\nWRONG: not finite"
    assert len(points(figure.axes[0])) == 7
    assert figure.axes[1].get_title().endswith("; 2 entries are not finite")


def test_of_many_arrays_the_worst_are_drawn():
    a = [RNG.normal(size=4).astype("float32") for _ in range(20)]
    b = [x * np.float32(1 + 1e-6 * i) for i, x in enumerate(a)]
    figure = readable(figures.gradients(b, a, [f"array {i}" for i in range(20)]))
    assert [axes.get_title().split("\n")[0] for axes in figure.axes[:-1]] == [f"array {i}" for i in range(12, 20)]
    assert "the 8 worst of 20 arrays" in words(figure)
    assert sum(bar.get_height() for bar in figure.axes[-1].patches) == 80


def test_of_many_entries_some_are_drawn_the_worst_among_them():
    a = RNG.normal(size=(300, 400))
    b = a.copy()
    b[123, 321] += 7
    figure = readable(figures.gradients(b, a))
    at = points(figure.axes[0])
    assert len(at) <= 20_000
    assert np.abs(at[:, 1] - at[:, 0]).max() == pytest.approx(7)
    assert f"120,000\nentries\n{len(at):,} drawn" in words(figure)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_epsilon_is_that_of_the_coarser_dtype(dtype):
    a = np.linspace(-1, 1, 9).astype(jnp.dtype(dtype))
    figure = readable(figures.gradients({"w": a}, {"w": a.astype("float64")}))
    assert f"({float(jnp.finfo(dtype).eps):.1e} in {dtype})" in figure.axes[-1].get_xlabel()
    assert "WRONG" not in words(figure)


def test_gradients_of_nothing_but_0():
    readable(figures.gradients((np.zeros((3, 2)), np.zeros(()), np.zeros((0, 3))), (np.zeros((3, 2)), np.zeros(()), np.zeros((0, 3)))))


@pytest.mark.parametrize(
    ("manual", "automatic", "names", "message"),
    [
        ({"w": np.ones(2)}, {"v": np.ones(2)}, None, "expected two trees of one structure, got "),
        ({"w": np.ones(2)}, {"w": np.ones(3)}, None, "expected both gradients of w of one shape, got (2,) and (3,)"),
        ({"w": np.ones(2)}, {"w": np.ones(2)}, ["a", "b"], "expected 1 names, one for each array, got 2"),
        ({"w": np.ones(2, int)}, {"w": np.ones(2)}, None, "expected real floating-point gradients of w, got int64"),
        ((), (), None, "expected at least one array, got none"),
    ],
)
def test_gradients_that_cannot_be_compared(manual, automatic, names, message):
    with pytest.raises(ValueError, match=f"^{re.escape(f'figures.gradients: {message}')}"):
        figures.gradients(manual, automatic, names)
