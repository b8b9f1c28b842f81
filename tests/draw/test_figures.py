"""Single figures, of made-up numbers: any count of classes, blocks and epochs."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from noprop_dist.draw.ablation import plot_ablation
from noprop_dist.draw.answers import plot_confusion
from noprop_dist.draw.axes import contrast
from noprop_dist.draw.class_embeddings import (
    equally_far,
    plot_embedding,
    plot_prototypes,
    tsne,
)
from noprop_dist.draw.curves import (
    block_panels,
    history_panels,
    plot_blocks,
    plot_denoising,
    plot_history,
)
from noprop_dist.draw.evaluation import plot_evaluation
from noprop_dist.draw.odds import log_odds, probability
from noprop_dist.draw.plane import widest_plane
from noprop_dist.draw.style import COLOUR_OF
from noprop_dist.draw.trajectories import Walks, plot_trajectories, shown_classes, towards
from noprop_dist.model.answering import BEST, LAST, MEAN, READOUTS, WEIGHTED, Z_T
from noprop_dist.record.history import BlockEpoch, History

pytestmark = pytest.mark.usefixtures("styled")


def history(
    epochs: int, *, validation: bool = True, blocks_at: tuple[int, ...] = (1, 2, 10)
) -> History:
    made = History()
    for epoch in range(1, epochs + 1):
        blocks = {t: BlockEpoch(t / epoch, 1 - 1 / (epoch + t), 100.0) for t in blocks_at}
        val = 1 - 1 / (epoch + 1) if validation else float("nan")
        made.record(blocks, val, val, 1e-3)
    return made


def embeddings(num_classes: int, dim: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(num_classes, dim))


def overlapping(figure: Figure) -> list[str]:
    """Names on points that lie over one another."""
    figure.draw_without_rendering()
    boxes = [(t.get_text(), t.get_window_extent()) for axes in figure.axes for t in axes.texts]
    return [f"{a[0]} {b[0]}" for i, a in enumerate(boxes) for b in boxes[:i] if a[1].overlaps(b[1])]


def ticks(axes: Axes, along: str = "x") -> list[str]:
    """What is written beside the ticks that are seen."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    axis = axes.xaxis if along == "x" else axes.yaxis
    low, high = sorted(axis.get_view_interval())
    return [
        tick.label1.get_text() for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high
    ]


@pytest.mark.parametrize("epochs", [1, 2, 7, 30, 300])
@pytest.mark.parametrize("blocks_at", [(1,), (1, 2, 10)])
def test_curves_by_epoch_have_whole_epochs_and_legends_where_nothing_lies(
    epochs: int, blocks_at: tuple[int, ...]
) -> None:
    made = history(epochs, blocks_at=blocks_at)
    for figure in (plot_history(made), plot_blocks(made)):
        panels = [axes for axes in figure.axes if axes.get_xlabel() == "epoch"]
        for axes in panels:
            told = list(map(int, ticks(axes)))
            assert told[0] >= 1
            assert told[-1] <= epochs
            assert len(told) >= min(epochs, 2)
            assert len(ticks(axes, "y")) >= 2
            if legend := axes.get_legend():
                free = legend.get_window_extent()
                assert free.y1 < axes.xaxis.label.get_window_extent().y0
                assert not any(free.overlaps(other.get_window_extent()) for other in panels)


def test_what_is_the_same_has_the_same_colour_in_every_picture() -> None:
    def colours(axes: Axes) -> dict[str, object]:
        return {str(line.get_label()).split(",")[0]: line.get_color() for line in axes.get_lines()}

    bins = [{"low": 0.9, "high": 1.0, "count": 9, "confidence": 0.95, "accuracy": 0.9}]
    found = {
        "calibration": {"bins": bins, "expected_calibration_error": 0.05},
        "accuracy_of_averaged_draws": [0.9],
    }
    readouts = dict.fromkeys(READOUTS, found)
    of_run = {"block_accuracy": [0.5, 0.9], "accuracy_after_t": [0.1, 0.9]}
    for answers in (WEIGHTED, BEST, LAST):
        evaluation = {"readouts": readouts, "answering": {"readout": answers}, **of_run}
        reliability, draws, shares, blocks = plot_evaluation(evaluation).axes
        for axes in (reliability, draws):
            for name in (Z_T, MEAN, answers):
                assert colours(axes)[READOUTS[name]] == COLOUR_OF[name]
        legend = shares.get_legend()
        assert legend is not None
        assert [patch.get_facecolor() for patch in legend.get_patches()] == [
            to_rgba(COLOUR_OF[name]) for name in (Z_T, MEAN, answers)
        ]
        low, high = shares.get_xlim()
        assert 89 < low < 90 < high < 101  # no more than where there are answers
    assert COLOUR_OF[BEST] == COLOUR_OF[LAST] == COLOUR_OF["block"] == COLOUR_OF["chain"]
    denoising = colours(plot_denoising([0.1, 0.9], [0.5, 0.9], 10).axes[0])
    assert denoising["readout of z_t"] == colours(blocks)["readout of z_t"] == COLOUR_OF[Z_T]
    own = "the block's own softmax"
    assert denoising[own] == colours(blocks)[own] == COLOUR_OF["block"]
    accuracies = colours(plot_history(history(3)).axes[1])
    assert accuracies["z_T"] == COLOUR_OF[Z_T]
    assert accuracies["mean softmax"] == COLOUR_OF[MEAN]


def evaluated(counts: list[int], draws: int) -> dict[str, object]:
    """An evaluation with so many answers in bins of confidence, all but the last ones wrong."""
    size = len(counts)
    bins = [
        {
            "low": i / size, "high": (i + 1) / size, "count": n,
            "confidence": (i + 0.5) / size if n else None,
            "accuracy": float(i == size - 1) if n else None,
        }
        for i, n in enumerate(counts)
    ]  # fmt: skip
    found = {
        "calibration": {"bins": bins, "expected_calibration_error": 0.05},
        "accuracy_of_averaged_draws": [0.9] * draws,
    }
    return {
        "readouts": dict.fromkeys(READOUTS, found), "answering": {"readout": BEST},
        "block_accuracy": [0.5, 0.9], "accuracy_after_t": [0.1, 0.9],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("counts", "draws", "places"),
    [
        ([0, 1, 2, 0, 10, 0, 5, 970], 1, [{1: 1, 2: 2, 4: 10}, {6: 5, 7: 970}]),
        ([0, 1, 2, 0, 10, 0, 5, 970], 5, [{1: 1, 2: 2, 4: 10, 6: 5, 7: 970}]),  # 2 images a draw
        ([3, 9, 30, 500, 9, 0, 0, 0], 1, [{0: 3, 1: 9}, {2: 30}, {3: 500, 4: 9}]),
        ([0, 0, 0, 0, 0, 0, 0, 4], 1, [{7: 4}]),  # all there are
    ],
)
def test_calibration_has_no_point_of_a_few_answers(
    counts: list[int], draws: int, places: list[dict[int, int]]
) -> None:
    confidence = [sum((i + 0.5) * n for i, n in p.items()) / sum(p.values()) for p in places]
    axes = plot_evaluation(evaluated(counts, draws)).axes[0]
    dashed, *readouts = axes.get_lines()
    assert dashed.get_ydata() == pytest.approx(100 * probability(dashed.get_xdata()))
    for line in readouts:
        assert 8 * probability(line.get_xdata()) == pytest.approx(confidence)
    # Of one place, they lie over one another, the smaller above the larger.
    sizes = [line.get_markersize() for line in readouts]
    assert sizes == sorted(sizes, reverse=True)
    assert len({line.get_marker() for line in readouts}) == len(set(sizes)) == 3
    low, high = axes.get_xlim()
    assert low < log_odds(confidence[0] / 8) <= log_odds(confidence[-1] / 8) < high


def test_ablation_gives_a_block_alone_the_colour_of_blocks_and_a_mark_of_its_own() -> None:
    differences = {"z_T": (1.0, 0.1), "block 3 alone": (2.0, 0.1), "another run": (3.0, 0.1)}
    kinds = {"given": "chain", "z_T": "z_T", "block 3 alone": "best_block"}
    blocks, beside = plot_ablation({"given": [0.1, 0.2]}, differences, kinds).axes
    _, of_z, of_block, of_run = (line for line in beside.get_lines() if line.get_marker() != "|")
    assert of_block.get_color() == blocks.get_lines()[0].get_color() == COLOUR_OF["block"]
    assert of_z.get_marker() == of_run.get_marker() != of_block.get_marker()


@pytest.mark.parametrize(("epochs", "validation"), [(1, True), (30, False)])
def test_history_has_mean_loss_accuracies_and_rate(epochs: int, validation: bool) -> None:
    made = history(epochs, validation=validation)
    losses, accuracies, rates = plot_history(made).axes
    assert list(losses.get_lines()[0].get_ydata()) == made.train_loss_history
    assert len(accuracies.get_lines()) == (3 if validation else 1)
    assert list(rates.get_lines()[0].get_ydata()) == made.lr_history
    band = losses.collections[0].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == pytest.approx((1 / epochs, 10))


def test_history_draws_the_panels_that_there_is_something_for() -> None:
    (losses,) = plot_history(History(train_loss_history=[3, float("nan"), 1])).axes
    assert np.isnan(losses.get_lines()[0].get_ydata()).tolist() == [False, True, False]
    assert history_panels(History()) == []
    assert history_panels(History(lr_history=[float("nan")])) == []


def test_every_block_has_its_curve_from_dark_to_light() -> None:
    made = history(3)
    losses, accuracies, bar = plot_blocks(made).axes
    drawn = [list(line.get_ydata()) for line in losses.get_lines()]
    assert drawn == [made.blocks[t]["loss"] for t in ("1", "2", "10")]
    percents = [list(line.get_ydata()) for line in accuracies.get_lines()]
    assert percents == [[100 * v for v in made.blocks[t]["accuracy"]] for t in ("1", "2", "10")]
    shades = [sum(line.get_color()[:3]) for line in losses.get_lines()]
    assert shades == sorted(shades)
    assert bar.get_ylabel() == "block t"
    assert block_panels(History(train_loss_history=[1.0])) == []


def test_denoising_shows_percent_from_step_one() -> None:
    axes = plot_denoising([0.1, 0.5, 0.9], [0.8, 0.85, 0.9], 4).axes[0]
    chance, own, chain = axes.get_lines()
    assert set(chance.get_ydata()) == {25}
    assert list(chain.get_xdata()) == [1, 2, 3]
    assert list(chain.get_ydata()) == pytest.approx([10, 50, 90])
    assert list(own.get_ydata()) == pytest.approx([80, 85, 90])
    assert [text.get_text() for text in axes.texts] == ["10.0", "50.0", "90.0"]


@pytest.mark.parametrize("num_classes", [2, 10, 100])
def test_confusion_is_readable_for_any_number_of_classes(num_classes: int) -> None:
    counts = 9 * np.eye(num_classes, dtype=int)
    counts[0, 1] = 1
    counts[1] = 0  # a class without samples
    figure = plot_confusion(counts, [f"a long class name {k}" for k in range(num_classes)])
    axes = figure.axes[0]
    shares = axes.get_images()[0].get_array()
    assert shares is not None
    assert shares[0, :2].tolist() == [90, 10]
    assert shares[1].sum() == 0
    written = sorted(text.get_text() for text in axes.texts)
    assert written == ([] if num_classes == 100 else ["1"] + ["9"] * (num_classes - 1))
    right = 9 * (num_classes - 1)
    assert axes.get_title(loc="left").startswith(f"{right} of {right + 1} right")


def test_a_single_mistake_among_many_classes_is_seen() -> None:
    counts = 1000 * np.eye(100, dtype=int)
    counts[3, 5] = 1
    (image,) = plot_confusion(counts, [str(k) for k in range(100)]).axes[0].get_images()
    shares = np.ma.asarray(image.get_array())
    none, one, all_of_them = (image.to_rgba(shares[at]) for at in ((3, 6), (3, 5), (4, 4)))
    assert contrast(one, none) > 1.15
    assert contrast(all_of_them, one) > 5


def test_pairs_of_many_classes_are_told_most_confused_first() -> None:
    counts = 9 * np.eye(100, dtype=int)
    counts[3, 5], counts[5, 3], counts[7, 1] = 2, 2, 3
    pairs = plot_confusion(counts, [f"c{k}" for k in range(100)]).axes[1]
    assert [t.get_text() for t in pairs.get_yticklabels()] == ["c3 - c5", "c1 - c7"]
    assert [bar.get_width() for bar in pairs.patches] == [4, 3]


@pytest.mark.parametrize(("num_classes", "dim"), [(2, 1), (3, 2), (4, 4), (10, 64), (100, 20)])
def test_embedding_shows_distances_and_two_maps(num_classes: int, dim: int) -> None:
    u = embeddings(num_classes, dim)
    names = [f"class {k}" for k in range(num_classes)]
    figure = plot_embedding(u, tsne(u), names)
    matrix, *maps, _ = figure.axes
    apart = matrix.get_images()[0].get_array()
    assert apart is not None
    expected = np.linalg.norm(u[:, None] - u[None], axis=2)
    np.fill_diagonal(expected, np.nan)
    np.testing.assert_allclose(np.ma.filled(apart, np.nan), expected, atol=1e-6)
    assert matrix.get_images()[0].get_clim()[1] == pytest.approx(np.nanmax(expected))
    assert matrix.get_images()[0].get_clim()[0] == pytest.approx(
        min(np.nanmin(expected), 0.99 * np.nanmax(expected))
    )
    assert figure.axes[-1].get_ylabel() == "distance"
    assert len(maps) == (1 if num_classes < 4 else 2)
    for axes in maps:
        assert len(np.asarray(axes.collections[0].get_offsets())) == num_classes
        told = [text.get_text() for text in axes.texts]
        assert told == names if num_classes <= 10 else set(told) < set(names)
    assert overlapping(figure) == []


def readable(figure: Figure) -> list[float]:
    """The contrast of every number in a cell of the first panel with the colour of its cell."""
    axes = figure.axes[0]
    (image,) = axes.get_images()
    values = np.ma.asarray(image.get_array())
    found = []
    for text in axes.texts:
        column, row = map(int, text.get_position())
        found.append(contrast(image.to_rgba(values[row, column]), text.get_color()))
    return found


def test_numbers_in_cells_are_read_on_any_colour() -> None:
    counts = np.diag(np.arange(1, 21) * 50)
    counts[:, 0] += 1000 - counts.sum(axis=1)  # shares of 5 to 100 %
    shares = readable(plot_confusion(counts, [str(k) for k in range(20)]))
    assert len(shares) == 38
    line = np.cumsum(np.arange(12.0))[:, None]
    distances = readable(plot_embedding(line, None, list("abcdefghijkl")))
    assert len(distances) == 12 * 11
    assert min(shares + distances) >= 4.5


@pytest.mark.parametrize(("beyond", "told"), [(1.0, "4 to 4.199"), (1.1, "")])
def test_distances_within_5_per_cent_count_as_equal(beyond: float, told: str) -> None:
    u = np.array([[0.0, 0.0], [4.0, 0.0], [2.0, np.sqrt((4 + 0.199 * beyond) ** 2 - 4)]])
    assert equally_far(u) == f"all classes are about equally far apart, {told}" * bool(told)
    assert equally_far(np.eye(9)) == "all classes are about equally far apart, 1.414"
    assert equally_far(np.zeros((4, 3))) == "all classes are about equally far apart, 0"


def test_equal_distances_have_one_colour() -> None:
    u = np.eye(4) + 1e-9 * embeddings(4, 4)
    (image,) = plot_embedding(u, None, list("abcd")).axes[0].get_images()
    shades = np.ma.compressed(image.norm(np.ma.masked_invalid(image.get_array())))
    assert np.ptp(shades) < 0.01


def test_names_beside_rows_are_told_in_full_and_leave_the_matrix_its_size() -> None:
    long = [f"a class of {k} that is told at length" for k in range(5)]
    for draw in (
        lambda names: plot_confusion(np.eye(5, dtype=int), names),
        lambda names: plot_embedding(np.eye(5), None, names),
    ):
        sides = []
        for names in (long, [f"class {k}" for k in range(5)]):
            figure = draw(names)
            figure.draw_without_rendering()
            sides.append(figure.axes[0].get_window_extent().width)
            rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
            assert rows == names
        assert sides[0] > 0.8 * sides[1]


def test_tsne_is_the_same_each_time() -> None:
    u = embeddings(10, 8)
    once, again = tsne(u), tsne(u)
    assert once is not None
    assert again is not None
    np.testing.assert_array_equal(once, again)
    assert once.shape == (10, 2)


def test_two_components_keep_the_distances_of_a_flat_embedding() -> None:
    u = np.array([[0.0, 0, 5], [3, 4, 5], [6, 0, 5]])
    plane = widest_plane(u)
    xy = plane.project(u)
    apart = np.linalg.norm(xy[:, None] - xy[None], axis=2)
    np.testing.assert_allclose(apart, np.linalg.norm(u[:, None] - u[None], axis=2), atol=1e-9)
    assert plane.share == pytest.approx(1)


@pytest.mark.parametrize("num_classes", [3, 10, 25])
def test_one_hot_classes_lie_around_a_circle(num_classes: int) -> None:
    xy = widest_plane(np.eye(num_classes)).project(np.eye(num_classes))
    assert np.linalg.norm(xy, axis=1) == pytest.approx(np.full(num_classes, xy[0, 0]))
    turns = np.unwrap(np.arctan2(xy[:, 1], xy[:, 0]))
    assert np.diff(turns) == pytest.approx(np.full(num_classes - 1, 2 * np.pi / num_classes))


def test_nearly_equal_directions_count_as_equal_and_clear_ones_do_not() -> None:
    rng = np.random.default_rng(0)
    almost = np.eye(10, 32) + 0.02 * rng.normal(size=(10, 32))
    plane = widest_plane(almost)
    assert plane.alike == 9
    assert 0.2 < plane.share < 0.3
    xy = plane.project(almost)
    turns = np.unwrap(np.arctan2(xy[:, 1], xy[:, 0]))
    assert np.diff(turns) == pytest.approx(np.full(9, 2 * np.pi / 10), abs=0.2)
    assert "around a circle" in plane.about
    assert plane.about.endswith("distances in it say little")
    wide = almost * np.array([3.0, 2.0] + [1.0] * 30)
    assert widest_plane(wide).alike == 2
    assert widest_plane(np.eye(3)).alike == 2  # the plane holds all of it
    assert widest_plane(np.eye(3)).about.endswith("holds 100 % of their variance")
    titles = [
        [axes.get_title(loc="left") for axes in plot_embedding(u, None, list("abcdefghij")).axes]
        for u in (almost, wide)
    ]
    assert titles[0][1].startswith("two of 9 directions about as wide: ")
    assert titles[1][1].startswith("principal components: ")


def test_plane_of_equal_embeddings_is_a_point() -> None:
    plane = widest_plane(np.ones((4, 3)))
    assert plane.project(np.ones((4, 3))).tolist() == [[0, 0]] * 4
    assert plane.share == 0


@pytest.mark.parametrize(
    ("shape", "num_classes"), [((1, 8, 8), 5), ((3, 4, 4), 12), ((3, 4, 4), 30)]
)
@pytest.mark.parametrize("known", [True, False])
def test_prototypes_are_drawn_before_and_now(
    shape: tuple[int, int, int], num_classes: int, known: bool
) -> None:
    first = np.random.default_rng(0).random((num_classes, int(np.prod(shape))))
    now = first + 0.1
    names = [f"class {k}" for k in range(num_classes)]
    figure = plot_prototypes(first if known else None, now, shape, names)
    sheets = {a.get_title(loc="left"): a for a in figure.axes if a.get_title(loc="left")}
    states = ["before training", "now", "change, at most 10 %"] if known else ["now"]
    assert list(sheets) == states
    for axes in sheets.values():
        assert len(axes.get_images()) == num_classes
        told = [text.get_text() for text in axes.texts]
        assert told == (names if num_classes <= 20 else [])
    if known:
        change = sheets[states[-1]].get_images()[-1].get_array()
        np.testing.assert_allclose(np.asarray(change).max(), 0.1, atol=1e-6)
    figure.draw_without_rendering()


@pytest.mark.parametrize("num_classes", [2, 10, 100])
@pytest.mark.parametrize("last", [1, 4, 10])
def test_trajectories_end_at_the_class_embeddings(num_classes: int, last: int) -> None:
    u = embeddings(num_classes, 5)
    label = np.repeat(shown_classes(num_classes), 3)
    share = np.linspace(0, 1, last + 1)[:, None, None]
    z = share * u[label] + (1 - share) * embeddings(len(label), 5)
    answer = label.copy()
    answer[0] = label[-1]
    names = [f"class {k}" for k in range(num_classes)]
    figure = plot_trajectories(Walks(z, label, answer), u, names)
    near, *steps = [axes for axes in figure.axes if axes.axison]
    others, true, wrong = near.get_lines()
    assert list(true.get_xdata()) == list(range(last + 1))
    assert true.get_ydata()[-1] == pytest.approx(1)
    assert others.get_ydata()[-1] < 1
    assert wrong.get_label() == "the true class, 1 wrong answer"
    assert all(tick.isdigit() for tick in ticks(near))
    (legend,) = figure.subfigs[1].legends
    told = [text.get_text() for text in legend.get_texts()]
    assert told == [names[k] for k in shown_classes(num_classes)]
    titles = [axes.get_title(loc="left") for axes in steps]
    assert (titles[0], titles[-1]) == ("z_0: noise", f"z_{last}")
    expected = widest_plane(u).project(u)
    drawn = np.concatenate([np.asarray(c.get_offsets()) for c in steps[-1].collections[1:]])
    np.testing.assert_allclose(drawn, expected[label], atol=1e-9)
    lowest = min(axes.get_window_extent().y0 for axes in steps)
    assert legend.get_window_extent().y1 < lowest


def test_middle_is_towards_no_class_and_an_embedding_most_towards_its_own() -> None:
    u, label = embeddings(10, 4), np.arange(10)
    z = np.stack([np.broadcast_to(u.mean(axis=0), u.shape), u])
    middle, there = towards(Walks(z, label, label), u)
    np.testing.assert_allclose(middle, np.zeros((10, 10)), atol=1e-12)
    np.testing.assert_allclose(there.diagonal(), np.ones(10))
    assert there.max() <= 1 + 1e-12


def test_shown_classes_are_spread_over_all() -> None:
    assert shown_classes(4).tolist() == [0, 1, 2, 3]
    assert shown_classes(100).tolist() == [0, 11, 22, 33, 44, 55, 66, 77, 88, 99]
