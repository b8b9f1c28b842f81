import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from noprop_dist.errors import UserError
from noprop_dist.record.history import BlockEpoch, History
from noprop_dist.record.plots import (
    plot_confusion,
    plot_denoising,
    plot_embedding,
    plot_history,
    plot_predictions,
    save_figure,
)
from noprop_dist.record.store import Store


def picture(figure: Figure, folder: Path) -> Image.Image:
    """The PNG that comes out, which must show more than paper and frames."""
    save_figure(Store(folder), "plots/picture.png", figure)
    image = Image.open(io.BytesIO((folder / "plots/picture.png").read_bytes()))
    assert image.format == "PNG"
    width, height = figure.get_size_inches()
    assert image.size == (round(150 * width), round(150 * height))
    colours = image.convert("RGB").getcolors(1 << 24)
    assert colours is not None
    assert len(colours) > 50
    return image


def history(epochs: int, *, validation: bool = True) -> History:
    made = History()
    for epoch in range(1, epochs + 1):
        blocks = {t: BlockEpoch(t / epoch, 1 - 1 / (epoch + t), 100.0) for t in (1, 2, 10)}
        val = 1 - 1 / (epoch + 1) if validation else None
        made.record(blocks, val, val, 1e-3)
    return made


@pytest.mark.parametrize(("epochs", "validation"), [(0, True), (1, True), (30, False)])
def test_history_shows_every_block_in_order(tmp_path: Path, epochs: int, validation: bool) -> None:
    made = history(epochs, validation=validation)
    figure = plot_history(made)
    losses, accuracies, _ = figure.axes
    drawn = [list(line.get_ydata()) for line in losses.get_lines()]
    expected = [made.blocks[t]["loss"] for t in ("1", "2", "10")] if epochs else []
    assert drawn == [*expected, made.train_loss_history]
    assert len(accuracies.get_lines()) == (0 if not epochs else 3 if validation else 1)
    picture(figure, tmp_path)


def test_history_without_a_value_leaves_a_gap(tmp_path: Path) -> None:
    made = history(3)
    made.val_accuracy_history[1] = None
    figure = plot_history(made)
    z_t = figure.axes[1].get_lines()[1].get_ydata()
    assert np.isnan(z_t).tolist() == [False, True, False]
    picture(figure, tmp_path)


def test_denoising_shows_percent_from_block_one(tmp_path: Path) -> None:
    figure = plot_denoising([0.1, 0.5, 0.9], [0.8, 0.85, 0.9])
    own, chain = figure.axes[0].get_lines()
    assert list(chain.get_xdata()) == [1, 2, 3]
    assert list(chain.get_ydata()) == pytest.approx([10, 50, 90])
    assert list(own.get_ydata()) == pytest.approx([80, 85, 90])
    picture(figure, tmp_path)


@pytest.mark.parametrize("num_classes", [2, 10, 100])
def test_confusion_is_readable_for_any_number_of_classes(tmp_path: Path, num_classes: int) -> None:
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
    picture(figure, tmp_path)


@pytest.mark.parametrize(("num_classes", "dim"), [(2, 1), (2, 2), (10, 64), (100, 20)])
def test_embedding_shows_distances_and_names(tmp_path: Path, num_classes: int, dim: int) -> None:
    generator = torch.Generator().manual_seed(0)
    u = torch.randn(num_classes, dim, generator=generator)
    figure = plot_embedding(u, [f"class {k}" for k in range(num_classes)])
    scatter, matrix, _ = figure.axes
    distance = matrix.get_images()[0].get_array()
    assert distance is not None
    np.testing.assert_allclose(distance, torch.cdist(u.double(), u.double()), atol=1e-6)
    last = str(num_classes - 1)
    assert scatter.texts[-1].get_text() == (last if num_classes == 100 else f"class {last}")
    picture(figure, tmp_path)


def test_two_components_keep_the_distances_of_a_flat_embedding() -> None:
    u = torch.tensor([[0.0, 0, 5], [3, 4, 5], [6, 0, 5]])
    points = plot_embedding(u, ["a", "b", "c"]).axes[0].collections[0].get_offsets()
    xy = torch.from_numpy(np.asarray(points)).float()
    assert torch.allclose(torch.cdist(xy, xy), torch.cdist(u, u), atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 4, 4)])
def test_prototypes_are_drawn_as_images(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    channels, height, width = shape
    u = torch.arange(5.0 * channels * height * width).view(5, -1)
    figure = plot_embedding(u, list("abcde"), image_shape=shape)
    sheet = figure.axes[2].get_images()[0].get_array()
    assert sheet is not None
    assert sheet.shape[:2] == (2 * height + 1, 3 * width + 2)
    assert sheet[0, 0].min() == 0
    assert sheet[height].min() == 1  # the white gap between rows
    picture(figure, tmp_path)


@pytest.mark.parametrize("channels", [1, 3])
def test_predictions_tell_right_from_wrong(tmp_path: Path, channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (11, channels, 8, 8), dtype=np.uint8)
    labels, answers = np.array([1] * 10 + [2]), np.ones(11, np.int64)
    confidence = np.full(11, 0.5, dtype=np.float32)
    figure = plot_predictions(images, labels, answers, confidence, ["a", "b", "c"])
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:11] == ["b  50 %"] * 10 + ["b  50 %\nis c"]
    assert figure.axes[10].title.get_color() != figure.axes[0].title.get_color()
    picture(figure, tmp_path)


def test_picture_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "plots").write_text("a file where the folder should be")
    with pytest.raises(UserError, match="cannot be written to"):
        save_figure(Store(tmp_path), "plots/a.png", plot_denoising([0.5], [0.5]))


def test_drawing_leaves_pyplot_alone_and_importing_is_light() -> None:
    code = (
        "import sys\n"
        "from noprop_dist.record import plots\n"
        "assert 'matplotlib' not in sys.modules\n"
        "plots.plot_denoising([0.5], [0.5])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
