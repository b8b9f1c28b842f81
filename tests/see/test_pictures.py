"""The pictures of a real run."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.figure import Figure

from noprop_dist.data import load_dataset
from noprop_dist.draw.style import drawn
from noprop_dist.record.events import read_events
from noprop_dist.record.store import Store

if TYPE_CHECKING:
    from noprop_dist.see.run_pictures import Picture

NAMES = [
    "history", "blocks", "denoising", "trajectories", "embedding", "prototypes", "confusion",
    "predictions", "confidence", "timeline",
]  # fmt: skip
NUM_TEST = 359

pytestmark = pytest.mark.usefixtures("styled")


@pytest.fixture(scope="module")
def pictures(pictured_run: Path) -> "dict[str, Picture]":
    from noprop_dist.see.material import gather
    from noprop_dist.see.run_pictures import pictures_of

    found, notes = pictures_of(gather(str(pictured_run)))
    assert notes == []
    assert [picture.name for picture in found] == NAMES
    return {picture.name: picture for picture in found}


@pytest.fixture(scope="module")
def result(pictured_run: Path) -> dict[str, list[float]]:
    numbers: dict[str, list[float]] = json.loads((pictured_run / "result.json").read_text())
    return numbers


def shown(figure: Figure) -> list[np.ndarray]:
    """The images of a figure, axes by axes."""
    return [np.asarray(image.get_array()) for axes in figure.axes for image in axes.get_images()]


def test_every_picture_is_told_in_words(pictures: "dict[str, Picture]") -> None:
    for picture in pictures.values():
        assert picture.title
        assert picture.caption.endswith(".")


def test_history_and_blocks_show_what_the_run_wrote(
    pictures: "dict[str, Picture]", pictured_run: Path
) -> None:
    history = json.loads((pictured_run / "training_history.json").read_text())
    losses, accuracies, rates = pictures["history"].make().axes
    assert list(losses.get_lines()[0].get_ydata()) == history["train_loss_history"]
    validation = [100 * value for value in history["val_accuracy_history"]]
    assert list(accuracies.get_lines()[1].get_ydata()) == validation
    assert list(rates.get_lines()[0].get_ydata()) == history["lr_history"]
    lines = pictures["blocks"].make().axes[0].get_lines()
    assert [list(line.get_ydata()) for line in lines] == [
        history["blocks"][t]["loss"] for t in "123"
    ]


def test_history_tells_each_validation_curve_that_is_drawn(
    pictures: "dict[str, Picture]",
) -> None:
    from noprop_dist.record.history import History
    from noprop_dist.see.material import Material
    from noprop_dist.see.run_pictures import pictures_of

    def caption(**lists: list[float]) -> str:
        (made, *_), _ = pictures_of(Material(History(**lists)))
        return made.caption

    told = pictures["history"].caption
    assert "z_T" in told
    assert "mean softmax" in told
    for name in ("history", "blocks"):
        assert "cannot be compared with validation" in pictures[name].caption
    assert "z_T" not in caption(train_loss_history=[1.0])
    assert "mean softmax" not in caption(train_loss_history=[1.0], val_accuracy_history=[0.5])


def test_denoising_and_confusion_show_the_numbers_of_the_result(
    pictures: "dict[str, Picture]", result: dict[str, list[float]]
) -> None:
    _, own, chain = pictures["denoising"].make().axes[0].get_lines()
    assert list(chain.get_ydata()) == [100 * a for a in result["accuracy_after_t"]]
    assert list(own.get_ydata()) == [100 * a for a in result["block_accuracy"]]
    title = pictures["confusion"].make().axes[0].get_title(loc="left")
    assert title.endswith(" % (z_T, first noise draw)")
    cells = pictures["confusion"].make().axes[0].texts
    assert sum(int(cell.get_text()) for cell in cells) == NUM_TEST


def test_trajectories_are_of_ten_test_images_in_three_steps(
    pictures: "dict[str, Picture]",
) -> None:
    figure = pictures["trajectories"].make()
    _, *steps = figure.axes
    (legend,) = figure.subfigs[1].legends
    assert [text.get_text() for text in legend.get_texts()] == list("0123456789")
    assert [axes.get_title(loc="left") for axes in steps] == ["z_0: noise", "z_1", "z_2", "z_3"]
    for axes in steps:  # the class embeddings, and 15 images of each class
        assert [len(np.asarray(c.get_offsets())) for c in axes.collections] == [10] + [15] * 10


def test_prototypes_began_as_training_images(pictures: "dict[str, Picture]") -> None:
    images = shown(pictures["prototypes"].make())  # of each class before, now, and the change
    assert len(images) == 30
    train = load_dataset("digits").train
    for k, image in enumerate(images[:10]):
        own = train.take(np.flatnonzero(train.labels == k))[0][:, 0] / 255
        assert np.abs(own - image).max(axis=(1, 2)).min() < 0.02
    most = 100 * np.abs(images[20:]).max()
    assert most > 0
    assert f"the largest is {most:.2g} % of the range" in pictures["prototypes"].caption


def test_predictions_show_the_images_that_were_asked_about(
    pictures: "dict[str, Picture]", pictured_run: Path
) -> None:
    from noprop_dist.draw.answers import telling_rows
    from noprop_dist.record.predictions import read_predictions

    said = read_predictions(Store(pictured_run))
    assert said is not None
    figure = pictures["predictions"].make()
    surest = int(telling_rows(said, 1)[0][0])
    assert said.confidence[surest] == said.confidence[~said.right].max()
    x, y = load_dataset("digits").test.take(np.array([surest]))
    np.testing.assert_array_equal(shown(figure)[0], x[0, 0])
    assert re.fullmatch(
        rf"{said.answer[surest]}  >?[\d.]+ %\nis {y[0]}", figure.axes[0].texts[0].get_text()
    )
    assert len(shown(figure)) == 16 + min(16, int((~said.right).sum()))


def test_confidence_counts_every_test_image(pictures: "dict[str, Picture]") -> None:
    legend = pictures["confidence"].make().axes[0].get_legend()
    assert legend is not None
    counts = [int(text.get_text().split()[0]) for text in legend.get_texts()]
    assert sum(counts) == NUM_TEST


def test_timeline_has_a_bar_for_every_unit(
    pictures: "dict[str, Picture]", pictured_run: Path
) -> None:
    units = sum(e["event"] == "unit" for e in read_events(Store(pictured_run)))
    bars = [c for c in pictures["timeline"].make().axes[0].collections if c.get_array() is not None]
    assert len(bars[0].get_paths()) == units


def test_svgs_can_stand_on_one_page(pictures: "dict[str, Picture]") -> None:
    ids: list[str] = []
    for picture in pictures.values():
        svg = drawn(picture.make, "svg", name=picture.name)
        assert len(svg) < 300 * 1024
        ids += re.findall(r' id="([^"]+)"', svg.decode())
    assert len(ids) == len(set(ids))


def test_z_goes_from_noise_to_the_embedding_of_the_answer(pictured_run: Path) -> None:
    from noprop_dist.record.network_files import load_network
    from noprop_dist.see.material import walk

    trained = load_network(pictured_run)
    walks = walk(trained, load_dataset("digits").test, seed=0)
    assert walks.z.shape == (4, 150, 64)
    assert walks.label.tolist() == np.repeat(np.arange(10), 15).tolist()
    assert abs(walks.z[0].std() - 1) < 0.05
    u = trained.network.class_embed.double().numpy()
    nearest = np.linalg.norm(walks.z[-1][:, None] - u[None], axis=2).argmin(axis=1)
    assert (nearest == walks.answer).mean() > 0.8
