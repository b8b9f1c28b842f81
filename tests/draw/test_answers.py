"""Pictures of made-up answers: which are shown, how sure they are, and what that is worth."""

import numpy as np
import pytest

from noprop_dist.draw.answers import (
    as_sure,
    plot_confidence,
    plot_confusion,
    plot_predictions,
    surest_first,
    telling_rows,
)
from noprop_dist.draw.odds import log_odds
from noprop_dist.record.predictions import Predictions

pytestmark = pytest.mark.usefixtures("styled")


def said(num_rows: int, wrong: int) -> Predictions:
    rows = np.arange(num_rows)
    answer = np.ones(num_rows, np.int64)
    label = np.where(rows < wrong, 2, 1)
    return Predictions(rows, label, answer, np.linspace(0.3, 0.9, num_rows).astype(np.float32))


def test_telling_rows_are_sure_mistakes_and_unsure_hits() -> None:
    places, mistakes = telling_rows(said(10, 3), 2)
    assert (places.tolist(), mistakes) == ([2, 1, 3, 4], 2)
    assert telling_rows(said(4, 0), 8) == (pytest.approx([0, 1, 2, 3]), 0)


def tied() -> Predictions:
    """300 mistakes of three classes and 60 hits, all but the first 30 mistakes equally sure."""
    label = np.repeat([0, 1, 2, 3], [200, 70, 30, 60])
    confidence = np.ones(360, np.float32)
    confidence[:30] = 0.5
    return Predictions(np.arange(360), label, np.full(360, 3), confidence)


def test_of_equally_sure_answers_classes_take_turns_whatever_the_order() -> None:
    made = tied()
    places, mistakes = telling_rows(made, 6)
    assert mistakes == 6
    assert np.bincount(made.label[places[:6]]).tolist() == [2, 2, 2]
    assert np.any(np.diff(places[6:]) < 0)  # not the first of the file
    shuffled = made.at(np.random.default_rng(0).permutation(360))
    again, _ = telling_rows(shuffled, 6)
    assert shuffled.row[again].tolist() == made.row[places].tolist()
    assert as_sure(made, places[:6]).startswith(" 270 of 300 mistakes are as sure as the last one")
    assert as_sure(made, places[6:]).startswith(" 60 of 60 hits are")
    alone = said(10, 3)
    assert as_sure(alone, np.array([2, 1])) == as_sure(alone, np.array([], int)) == ""


def test_equally_sure_answers_are_one_point_of_the_curve() -> None:
    made = tied()
    for order in (np.arange(360), np.arange(360)[::-1]):
        answered, accuracy = surest_first(made.at(order))
        assert answered == pytest.approx([100 * 330 / 360, 100])
        assert accuracy == pytest.approx([100 * 60 / 330, 100 * 60 / 360])


@pytest.mark.parametrize("made", [said(200, 50), said(200, 0), said(200, 200), tied()])
def test_accuracy_of_all_is_told_beside_the_curve(made: Predictions) -> None:
    figure = plot_confidence(made)
    figure.draw_without_rendering()
    kept = figure.axes[1]
    (label,) = kept.texts
    assert label.get_window_extent().x0 >= kept.get_window_extent().x1
    assert f"{100 * made.right.mean():.2f} %" in label.get_text()


def test_what_rounds_to_certainty_is_told_as_less() -> None:
    confidence = np.array([1, 0.9994, 0.996, 0.994, 0.001], np.float32)
    rows = np.arange(5)
    made = Predictions(rows, rows * 0, rows * 0, confidence)
    figure = plot_predictions(np.zeros((5, 1, 8, 8), np.uint8), made, 0, ["a"])
    told = [text.get_text().split("  ")[1] for text in figure.axes[0].texts]
    assert told == [">99.9 %", ">99.9 %", "99.6 %", "99 %", "0.1 %"]


@pytest.mark.parametrize(("channels", "wrong"), [(1, 10), (3, 0), (1, 11)])
def test_predictions_tell_right_from_wrong(channels: int, wrong: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (11, channels, 8, 8), dtype=np.uint8)
    figure = plot_predictions(images, said(11, wrong), wrong, ["a", "b", "c"])
    texts = [text for axes in figure.axes for text in axes.texts]
    words = [text.get_text() for text in texts]
    assert len(words) == sum(len(axes.get_images()) for axes in figure.axes) == 11
    assert [("is c" in text) for text in words] == [True] * wrong + [False] * (11 - wrong)
    assert words[-1].startswith("b  90 %")
    assert len(figure.axes) == 1 + (wrong == 10)
    assert len({text.get_color() for text in texts}) == 1 + (wrong == 10)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_confidence_counts_hits_and_mistakes() -> None:
    made = said(200, 50)
    shares, kept = plot_confidence(made).axes
    legend = shares.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["150 hits", "50 mistakes"]
    assert sum(bar.get_height() for bar in shares.patches[:25]) == 150
    accuracy = kept.get_lines()[0].get_ydata()
    assert accuracy[0] == 100  # the surest are right here
    assert accuracy[-1] == 75


@pytest.mark.parametrize("wrong", [0, 1, 50])
def test_confidence_draws_nothing_where_there_are_no_mistakes(wrong: int) -> None:
    made = said(200, wrong)
    axes = plot_confidence(made).axes[0]
    outline = axes.patches[25].get_path().vertices
    assert isinstance(outline, np.ndarray)
    low, high = log_odds(made.confidence[[0, max(wrong, 1) - 1]])
    bar = (log_odds(made.confidence[-1]) - low) / 25
    assert np.all(outline[:, 0] >= low - 1e-9)
    assert np.all(outline[:, 0] <= high + bar + 1e-9)
    assert len(outline) > 0 or wrong == 0


@pytest.mark.parametrize(
    ("low", "high"), [(0.01, 0.03), (0.2, 1), (0.6, 0.65), (0.992, 0.997), (0.999, 1), (1, 1)]
)
def test_confidence_has_an_axis_that_its_answers_fill(low: float, high: float) -> None:
    made = said(200, 0)
    sure = np.linspace(low, high, 200).astype(np.float32)
    axes = plot_confidence(Predictions(made.row, made.label, made.answer, sure)).axes[0]
    axes.figure.draw_without_rendering()
    bars = [bar for bar in axes.patches[:25] if bar.get_height()]
    left, right = axes.get_xlim()
    used = bars[-1].get_x() + bars[-1].get_width() - bars[0].get_x()
    assert used / (right - left) > (0.7 if high > low else 0)
    boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
    assert boxes
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert len(set(names)) == len(names)


def test_dollars_in_a_class_name_are_not_mathematics() -> None:
    figure = plot_confusion([[3, 1], [0, 2]], ["$x_1$ to $", "b$c$"])
    figure.canvas.draw()
    names = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert names == [r"\$x_1\$ to \$", r"b\$c\$"]
