"""Runs of which something is not there: what is left is drawn, and a sentence tells the rest."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from noprop_dist.errors import UserError

ALL = {
    "history", "blocks", "denoising", "trajectories", "embedding", "prototypes", "confusion",
    "predictions", "confidence", "timeline",
}  # fmt: skip
OF_NUMBERS = {"history", "blocks", "timeline"}


@pytest.fixture
def run(pictured_run: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be changed."""
    return Path(shutil.copytree(pictured_run, tmp_path / "run"))


def draw(folder: Path, **given: str) -> tuple[set[str], list[str]]:
    from noprop_dist.see.material import gather
    from noprop_dist.see.run_pictures import pictures_of

    pictures, notes = pictures_of(gather(str(folder), **given))
    return {picture.name for picture in pictures}, notes


def remove(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def set_dataset(folder: Path, name: str) -> None:
    values = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(values | {"dataset": name}))


def test_half_finished_run_is_drawn_from_its_checkpoint(run: Path) -> None:
    from noprop_dist.see.material import gather
    from noprop_dist.see.run_pictures import pictures_of

    remove(run, "result.json", "model", "test_predictions.parquet")
    pictures, notes = pictures_of(gather(str(run)))
    assert {picture.name for picture in pictures} == ALL
    assert "has no finished network: using step-" in notes[0]
    assert "359 of 359 were predicted for the pictures" in notes[1]
    captions = {picture.name: picture.caption for picture in pictures}
    for name in ("denoising", "confusion", "predictions", "confidence"):
        assert "359 of 359 test images, predicted for this picture" in captions[name]


def test_run_without_a_checkpoint_has_its_numbers_drawn(run: Path) -> None:
    remove(run, "result.json", "model", "test_predictions.parquet", "checkpoints")
    drawn, notes = draw(run)
    assert drawn == OF_NUMBERS
    (note,) = notes
    assert note.startswith("left out denoising, trajectories, embedding, prototypes, confusion")
    assert "no trained network and no checkpoint" in note


def test_run_before_its_first_unit_has_nothing_to_draw(run: Path) -> None:
    from noprop_dist.see.visualize import draw_run

    remove(run, "result.json", "model", "test_predictions.parquet", "checkpoints")
    (run / "training_history.json").write_text("{}")
    (run / "events.jsonl").write_text('{"event": "run_started", "time": 1.0}\n')
    with pytest.raises(UserError, match="holds nothing to draw yet"):
        draw_run(str(run))


def test_older_run_is_asked_again(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from noprop_dist.see import material

    monkeypatch.setattr(material, "MOST_PREDICTED", 100)
    remove(run, "test_predictions.parquet", "first_embedding.safetensors")
    drawn, notes = draw(run)
    assert drawn == ALL
    assert [
        "keeps no answers to its test images: 100 of 359" in notes[0],
        "prototypes before training were not kept" in notes[1],
        len(notes),
    ] == [True, True, 2]


def test_prediction_of_all_rows_equals_what_the_run_left(pictured_run: Path) -> None:
    from noprop_dist.data import load_dataset
    from noprop_dist.record.predictions import read_predictions
    from noprop_dist.record.store import Store
    from noprop_dist.see.material import predict_some
    from noprop_dist.use.opening import open_run

    left = read_predictions(Store(pictured_run))
    again = predict_some(open_run(str(pictured_run), "cpu"), load_dataset("digits").test)
    assert left is not None
    assert (left.answer == again.said.answer).mean() > 0.99
    assert again.after_t[-1] == again.said.right.mean()


def test_data_set_that_is_gone_leaves_out_what_needs_images(run: Path) -> None:
    set_dataset(run, "/gone/data")
    drawn, notes = draw(run)
    assert drawn == ALL - {"trajectories", "predictions"}
    assert notes == [
        "left out trajectories and predictions: the run's data set /gone/data is not there: say "
        "with --dataset where it is now."
    ]
    assert draw(run, dataset="digits") == (ALL, [])


def test_other_test_images_than_the_runs_are_not_shown(run: Path, tmp_path: Path) -> None:
    from noprop_dist.data import load_dataset
    from noprop_dist.see.material import gather
    from noprop_dist.see.run_pictures import pictures_of

    test = load_dataset("digits").test
    pictures, notes = pictures_of(gather(str(run), test.select(np.arange(100))))
    assert {picture.name for picture in pictures} == ALL - {"trajectories", "predictions"}
    assert "is not the one that the run was tested on" in notes[0]


def test_data_set_of_another_kind_is_refused(run: Path, tmp_path: Path) -> None:
    rows = [[float(i % 2), 1.0] for i in range(20)]
    table = pa.table({"x": pa.array(rows, pa.list_(pa.float32(), 2)), "label": [0, 1] * 10})
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(UserError, match=r"the samples of .* are 2, and the network takes 1x8x8"):
        draw(run, dataset=str(tmp_path))


def test_damaged_predictions_are_told_and_made_again(run: Path) -> None:
    (run / "test_predictions.parquet").write_bytes(b"x")
    drawn, notes = draw(run)
    assert drawn == ALL
    assert "test_predictions.parquet is not what a run writes" in notes[0]


def test_altered_network_is_told_and_the_rest_drawn(run: Path) -> None:
    network = run / "model/network.safetensors"
    network.write_bytes(network.read_bytes()[:-1])
    drawn, notes = draw(run)
    assert drawn == OF_NUMBERS | {"denoising", "confusion", "confidence"}
    assert "was altered" in notes[0]


def sweep(folder: Path) -> None:
    (folder / "sweep.json").write_text("{}")


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def damaged_result(folder: Path) -> None:
    (folder / "result.json").write_text("{}")


def damaged_history(folder: Path) -> None:
    (folder / "training_history.json").write_text("[")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (sweep, "holds a sweep"),
        (empty, "holds no run: give a folder"),
        (shutil.rmtree, "there is no such run folder"),
        (damaged_result, "result.json is not what a run writes"),
        (damaged_history, "training_history.json is not what a run writes"),
    ],
)
def test_folder_of_no_use_gets_one_sentence(
    run: Path, spoil: Callable[[Path], None], says: str
) -> None:
    spoil(run)
    with pytest.raises(UserError, match=says) as refused:
        draw(run)
    assert "\n" not in str(refused.value)


def test_file_in_place_of_a_folder_is_told(run: Path) -> None:
    with pytest.raises(UserError, match="is a file: give a run folder"):
        draw(run / "training_history.json")


def test_run_on_vectors_has_all_but_images(tmp_path: Path) -> None:
    from noprop_dist import train
    from noprop_dist.see.material import gather
    from noprop_dist.see.run_pictures import pictures_of
    from runs import small

    draw = np.random.default_rng(0)
    label = np.arange(300) % 3
    x = np.eye(6)[label] + 0.2 * draw.normal(size=(300, 6))
    rows = pa.array(x.astype(np.float32).tolist(), pa.list_(pa.float32(), 6))
    pq.write_table(pa.table({"x": rows, "label": label}), tmp_path / "train.parquet")
    config = small(
        tmp_path / "run", dataset=str(tmp_path), epochs=1, embedding_type="prototype",
        max_train_images=None,
    )  # fmt: skip
    train(config)
    pictures, notes = pictures_of(gather(str(tmp_path / "run")))
    assert {picture.name for picture in pictures} == ALL - {"predictions", "prototypes"}
    assert notes == ["left out predictions: the data set holds vectors, not images"]
    embedding = next(p for p in pictures if p.name == "embedding")
    assert "So few classes have no t-SNE." in embedding.caption


def test_class_embeddings_of_equal_distances_are_told_in_a_sentence(tmp_path: Path) -> None:
    from noprop_dist import train
    from runs import small

    train(small(tmp_path / "run", epochs=1, embedding_type="learned"))
    names, notes = draw(tmp_path / "run")
    assert names == ALL - {"embedding", "prototypes"}
    (note,) = notes
    assert note.startswith("left out embedding: all classes are about equally far apart, 1.4")


def test_run_is_finished_whatever_happens_to_its_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from noprop_dist import train
    from noprop_dist.see import visualize
    from runs import small

    def break_off(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(visualize, "write_pictures", break_off)
    result = train(small(tmp_path / "run", epochs=1, plots=True))
    assert result.epochs == 1
    said = capsys.readouterr().err
    assert "not all pictures are drawn (no space)" in said
    assert f"noprop visualize {tmp_path / 'run'}" in said


def test_history_with_gaps_is_drawn_and_told(run: Path) -> None:
    from noprop_dist.see.visualize import draw_run

    (run / "training_history.json").write_text(
        '{"lr_history": [0.1], "train_loss_history": [2, null, 1]}'
    )
    drawn = draw_run(str(run))
    assert {f"{run}/plots/history.png", f"{run}/report.html"} <= set(drawn.paths)
    table = (run / "report.html").read_text().partition('id="epoch-table"')[2]
    rows = [re.findall(r"<t[hd][^>]*>([^<]*)</t", row) for row in table.split("<tr")[2:5]]
    assert [row[:3] + row[-1:] for row in rows] == [
        ["1", "2.0000", "-", "1.00e-01"],
        ["2", "-", "-", "-"],
        ["3", "1.0000", "-", "-"],
    ]


def test_pictures_ask_less_of_a_run_than_the_report(run: Path) -> None:
    from noprop_dist.see.visualize import draw_run

    (run / "config.yaml").write_text("from_the_future: 1\n")
    drawn = draw_run(str(run))
    assert f"{run}/plots/history.png" in drawn.paths
    assert f"{run}/report.html" not in drawn.paths
    assert "report.html is left out" in drawn.notes[-1]
