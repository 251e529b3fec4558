"""Pictures show what is there: facts about their axes, texts, scales and data, and one sentence for what cannot be drawn."""

import re

import numpy as np
import pytest

from funcnn import figures
from tests.pictures import pictures, readable, words

RNG = np.random.default_rng(0)
DIGITS = "0123456789"


def history(epochs=6, **metrics):
    """Rows of an epoch each, with the given functions of the epoch."""
    return [{"epoch": i, **{name: metric(i) for name, metric in metrics.items()}} for i in range(1, epochs + 1)]


CLASSIFIER = history(
    train_loss=lambda i: 2 / i, train_accuracy=lambda i: 1 - 0.5 / i**2, test_loss=lambda i: 3 / i, test_accuracy=lambda i: 1 - 0.6 / i**2
)


# Learning curves


def test_curves_of_a_classifier():
    loss, error = readable(figures.learning_curves(CLASSIFIER)).axes
    assert (loss.get_xlabel(), loss.get_ylabel(), loss.get_yscale()) == ("epoch", "cross-entropy (nats)", "log")
    assert (error.get_ylabel(), error.get_yscale()) == ("misclassified (%)", "log")
    train, test = error.get_lines()
    np.testing.assert_allclose(train.get_ydata(), [50 / i**2 for i in range(1, 7)])
    np.testing.assert_allclose(test.get_ydata(), [60 / i**2 for i in range(1, 7)])
    assert [text.get_text() for text in error.get_legend().get_texts()] == ["train: 1.39 % at the end", "test: 1.67 % at the end"]


def test_the_error_can_be_read_from_60_percent_down_to_less_than_1():
    (_, error) = readable(figures.learning_curves(history(20, test_loss=lambda i: 1 / i, test_accuracy=lambda i: 1 - 0.6 / i**1.44))).axes
    labels = [label.get_text() for label in error.get_yticklabels()]
    assert labels == ["1", "2", "5", "10", "20", "50"]
    end = error.transAxes.inverted().transform(error.transData.transform((20, 0.8)))[1]
    later = error.transAxes.inverted().transform(error.transData.transform((5, 6)))[1]
    assert later - end > 0.3  # what comes after epoch 5 has a third of the height and more


def test_an_error_of_0_lies_on_a_line_of_its_own():
    (_, error) = readable(figures.learning_curves(history(test_loss=lambda i: 1 / i, test_accuracy=lambda i: min(1, 0.4 + i / 8)))).axes
    assert error.get_yscale() == "symlog"
    assert error.get_yticks()[0] == 0
    assert error.get_ylim()[0] < 0 < error.get_yticks()[1]
    assert "linear from 0 to 10" in [text.get_text() for text in error.texts]  # 1 - (0.4 + 4 / 8)
    assert error.get_lines()[0].get_ydata()[-1] == 0


@pytest.mark.parametrize("wrong", [0.0, 1.0])
def test_nothing_but_right_or_wrong_answers(wrong):
    (_, error) = readable(figures.learning_curves(history(test_loss=lambda i: 1 / i, test_accuracy=lambda i: 1 - wrong))).axes
    assert set(error.get_lines()[0].get_ydata()) == {100 * wrong}


def test_a_regression_has_no_error_but_its_own_metrics():
    rows = history(train_loss=lambda i: 1 / i, validation_loss=lambda i: 2 / i, validation_mean_absolute_error=lambda i: 3 - i / 3)
    loss, metric = readable(figures.learning_curves(rows, "squared error (m²)")).axes
    assert loss.get_ylabel() == "squared error (m²)"
    assert [line.get_label().split(":")[0] for line in loss.get_lines()] == ["train", "validation"]
    assert (metric.get_title(), metric.get_ylabel()) == ("Mean absolute error", "mean absolute error")
    assert metric.get_yscale() == "linear"
    assert "error (%)" not in words(metric.get_figure())


@pytest.mark.parametrize(
    "rows",
    [
        history(loss=lambda i: 1 / i),
        history(train_loss=lambda i: -i),
        history(train_loss=lambda i: 0.0),
        history(1, train_loss=lambda i: 1.0, train_accuracy=lambda i: 0.5),
        [{**row, "seconds": 3.0, "seed": 0} for row in history(train_loss=lambda i: 1 / i)],
    ],
)
def test_curves_of_whatever_there_is(rows):
    figure = readable(figures.learning_curves(rows))
    assert len(figure.axes) == 1 + ("train_accuracy" in rows[0])
    values = [row.get("loss", row.get("train_loss")) for row in rows]
    np.testing.assert_allclose(figure.axes[0].get_lines()[0].get_ydata(), values)
    assert all(float(label) == int(float(label)) for label in map(str, figure.axes[0].get_xticks()))


def test_rows_may_lack_a_metric():
    rows = history(train_loss=lambda i: 1 / i)
    rows[2]["test_loss"], rows[5]["test_loss"] = 0.5, 0.25
    _, test = readable(figures.learning_curves(rows)).axes[0].get_lines()
    assert (test.get_xdata().tolist(), test.get_ydata().tolist()) == ([3, 6], [0.5, 0.25])


def test_a_loss_that_is_not_finite_is_said():
    figure = readable(figures.learning_curves(history(train_loss=lambda i: 1 / i if i < 5 else float("nan"), test_loss=lambda i: 1 / i)))
    train, crosses, _ = figure.axes[0].get_lines()
    assert train.get_label() == "train: not finite at the end"
    assert (crosses.get_label(), crosses.get_xdata().tolist()) == ("train: NaN or infinite", [5, 6])
    readable(figures.learning_curves(history(train_loss=lambda i: float("inf"))))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "expected a history of at least one epoch, got an empty one"),
        ([{"train_loss": 1.0}], "expected 'epoch' in every row of the history, got ['train_loss']"),
        ([{"epoch": 1, "accuracy": 1.0}], "expected a loss in the history, 'train_loss' or 'test_loss', got ['accuracy', 'epoch']"),
        (
            [{"epoch": 3, "test_loss": 1.0, "test_accuracy": 98.0}],
            "expected accuracies in [0, 1], got the test accuracy 98 in epoch 3; divide percents by 100",
        ),
    ],
)
def test_histories_that_cannot_be_drawn(rows, message):
    with pytest.raises(ValueError, match=f"^{re.escape(f'figures.learning_curves: {message}')}$"):
        figures.learning_curves(rows)


# Images


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_colour_images_are_drawn_in_colour(dtype):
    images = RNG.integers(0, 256, (3, 4, 5, 3), dtype="uint8")
    figure = readable(figures.examples(images if dtype == "uint8" else images / np.float32(255), ["a", "b", "c"], "Three images"))
    np.testing.assert_allclose(pictures(figure), images / 255, atol=1e-6)
    assert [axes.get_title() for axes in figure.axes] == ["a", "b", "c"]
    assert "Three images" in words(figure)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_grey_images_share_one_scale(dtype):
    images = np.full((2, 4, 5, 1), 51, "uint8")
    figure = figures.examples(images if dtype == "uint8" else images / np.float32(255), ["a", "b"], "Two images")
    assert [axes.get_images()[0].get_clim() for axes in figure.axes] == [(0, 1)] * 2
    assert [axes.get_images()[0].get_cmap().name for axes in figure.axes] == ["gray"] * 2
    np.testing.assert_allclose(pictures(figure), np.full((2, 4, 5), 0.2), atol=1e-6)


def test_grey_images_may_leave_0_to_1():
    images = np.asarray([[[-1.0, 0.5]], [[0.0, 3.0]]], "float32")[..., None]
    assert [axes.get_images()[0].get_clim() for axes in figures.examples(images, "ab", "").axes] == [(-1, 3)] * 2


@pytest.mark.parametrize(
    ("shape", "captions", "message"),
    [
        ((2, 4, 4, 2), "ab", "expected images of shape (N, H, W, 1) or (N, H, W, 3), got (2, 4, 4, 2); choose channels"),
        ((4, 4, 1), "ab", "expected images of shape (N, H, W, 1) or (N, H, W, 3), got (4, 4, 1); choose channels"),
        ((2, 4, 4, 1), "abc", "expected 2 captions, one for each image, got 3"),
    ],
)
def test_images_of_another_shape_are_refused(shape, captions, message):
    with pytest.raises(ValueError, match=f"^{re.escape(f'figures.examples: {message}')}$"):
        figures.examples(np.zeros(shape), captions, "")


def test_images_of_other_values_are_refused():
    with pytest.raises(ValueError, match=r"^figures.examples: expected finite values in images, got NaN or infinity$"):
        figures.examples(np.full((1, 2, 2, 1), np.nan), "a", "")
    with pytest.raises(ValueError, match=r"^figures.examples: expected colours in \[0, 1\] or of dtype uint8, got values from -2 to -2"):
        figures.examples(np.full((1, 2, 2, 3), -2.0), "a", "")


# Filters


def test_filters_of_one_channel_are_drawn_on_one_scale():
    w = RNG.normal(size=(3, 3, 1, 5))
    figure = readable(figures.filters(w))
    np.testing.assert_allclose(pictures(figure)[:5], w[:, :, 0].transpose(2, 0, 1), rtol=1e-6)
    limits = {axes.get_images()[0].get_clim() for axes in figure.axes[:5]}
    assert limits == {(-np.float32(abs(w).max()), np.float32(abs(w).max()))}
    assert figure.axes[-1].get_ylabel() == "weight"


def test_filters_of_colours_are_colours():
    w = RNG.normal(size=(3, 3, 3, 5))
    w[0, 0, :, 0] = 0
    figure = readable(figures.filters(w))
    np.testing.assert_allclose(pictures(figure), (0.5 + w / (2 * abs(w).max())).transpose(3, 0, 1, 2), rtol=1e-5)
    np.testing.assert_allclose(pictures(figure)[0][0, 0], 0.5)
    assert f"grey is 0; each colour from dark, {-abs(w).max():.2g}, to bright, {abs(w).max():.2g}" in words(figure)


@pytest.mark.parametrize(
    ("inputs", "note"), [(2, "2 input channels side by side"), (16, "input channels 0 to 3 of 16 side by side"), (4, "4 input channels")]
)
def test_filters_of_other_channels_lie_side_by_side(inputs, note):
    w = RNG.normal(size=(3, 2, inputs, 6))
    figure = readable(figures.filters(w, "Second layer"))
    shown = min(inputs, 4)
    assert [len(axes.get_images()) for axes in figure.axes[:6]] == [shown] * 6
    np.testing.assert_allclose(pictures(figure)[shown : 2 * shown], w[:, :, :shown, 1].transpose(2, 0, 1), rtol=1e-6)
    assert note in words(figure)


def test_of_many_filters_the_first_are_drawn():
    figure = readable(figures.filters(RNG.normal(size=(3, 3, 1, 100))))
    assert len(figure.axes) == 64 + 1
    assert "the first 64 of 100" in words(figure)
    readable(figures.filters(np.zeros((1, 1, 1, 1))))


def test_filters_that_cannot_be_drawn():
    with pytest.raises(ValueError, match=r"^figures.filters: expected w of shape \(KH, KW, C, O\), got \(3, 3\)$"):
        figures.filters(np.zeros((3, 3)))
    with pytest.raises(ValueError, match=r"^figures.filters: expected finite weights, got NaN or infinity$"):
        figures.filters(np.full((3, 3, 1, 1), np.nan))
