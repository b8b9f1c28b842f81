"""Single figures, of made-up numbers: any count of classes, blocks and epochs."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure

from noprop_dist.draw.answers import plot_confusion
from noprop_dist.draw.axes import luminance
from noprop_dist.draw.class_embeddings import plot_embedding, plot_prototypes, tsne
from noprop_dist.draw.curves import (
    block_panels,
    history_panels,
    plot_blocks,
    plot_denoising,
    plot_history,
)
from noprop_dist.draw.plane import widest_plane
from noprop_dist.draw.trajectories import Walks, plot_trajectories, shown_classes
from noprop_dist.record.history import BlockEpoch, History

pytestmark = pytest.mark.usefixtures("styled")


def history(epochs: int, *, validation: bool = True) -> History:
    made = History()
    for epoch in range(1, epochs + 1):
        blocks = {t: BlockEpoch(t / epoch, 1 - 1 / (epoch + t), 100.0) for t in (1, 2, 10)}
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
        low, high = sorted(map(luminance, (image.to_rgba(values[row, column]), text.get_color())))
        found.append((high + 0.05) / (low + 0.05))
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
def test_trajectories_end_at_the_class_embeddings(num_classes: int) -> None:
    last = 7
    u = embeddings(num_classes, 5)
    label = np.repeat(shown_classes(num_classes), 3)
    share = np.linspace(0, 1, last + 1)[:, None, None]
    z = share * u[label] + (1 - share) * embeddings(len(label), 5)
    answer = label.copy()
    answer[0] = label[-1]  # of the first class's first sample, which is followed
    names = [f"class {k}" for k in range(num_classes)]
    figure = plot_trajectories(Walks(z, label, answer), u, names)
    paths, *steps = figure.axes
    walked = [c for c in paths.collections if isinstance(c, LineCollection)]
    assert len(walked) == len(shown_classes(num_classes)) * (3 if num_classes == 2 else 1)
    assert {len(path.get_segments()) for path in walked} == {last}
    assert [text.get_text() for text in paths.texts] == [
        names[k] for k in shown_classes(num_classes)
    ]
    marks = [c for c in paths.collections if isinstance(c, PathCollection)]
    (ring,) = [c for c in marks if c.get_sizes() == 190]
    assert np.asarray(ring.get_offsets()).shape == (1, 2)
    titles = [axes.get_title(loc="left") for axes in steps]
    assert (titles[0], titles[-1]) == ("z_0: noise", f"z_{last}")
    expected = widest_plane(u).project(u)
    drawn = np.concatenate([np.asarray(c.get_offsets()) for c in steps[-1].collections[1:]])
    np.testing.assert_allclose(drawn, expected[label], atol=1e-9)
    assert overlapping(figure) == []


def test_shown_classes_are_spread_over_all() -> None:
    assert shown_classes(4).tolist() == [0, 1, 2, 3]
    assert shown_classes(100).tolist() == [0, 11, 22, 33, 44, 55, 66, 77, 88, 99]
