"""A network on data that it was not trained on, and on its own wherever that lies now."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from noprop_dist import TrainConfig, train
from noprop_dist.cli import main
from noprop_dist.data.pictures import Limits, read_picture
from noprop_dist.use.opening import open_run
from noprop_dist.use.rows import rows_for
from pets import NAMES, class_folders, encoded, parquet, pixels
from runs import SMALL


@pytest.fixture(scope="module")
def pets_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that knows the three classes of pets, trained on ``data/`` beside it."""
    root = tmp_path_factory.mktemp("pets")
    class_folders(root / "data", per_class=20)
    options = SMALL | {"batch_size": 12, "epochs": 12, "precision": "fp32", "num_blocks": 2}
    train(TrainConfig(dataset=str(root / "data"), run_dir=str(root / "run"), **options))
    return root / "run"


def evaluated(run: Path, out: Path, *flags: str, capsys: Any) -> dict[str, Any]:
    args = ["evaluate", str(run), "--draws", "1", "--json", "--output", str(out), *flags]
    assert main(args) == 0, capsys.readouterr().err
    told: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return told


def accuracy(told: dict[str, Any]) -> float:
    return float(told["readouts"]["mean_softmax"]["accuracy"]["mean"])


def test_labels_of_other_data_are_matched_by_name(
    pets_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parquet(tmp_path / "other.parquet", ("fox", "dog", "cat"), first=50)
    told = evaluated(
        pets_run, tmp_path, "--dataset", str(tmp_path / "other.parquet"), capsys=capsys
    )
    assert told["class_names"] == list(NAMES)
    assert (told["images"], told["split"]) == (36, "all")
    assert accuracy(told) == 1.0


def test_all_rows_of_what_is_given_are_used(
    pets_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parquet(tmp_path / "one/pets_test.parquet", per_class=1, first=50)
    one = ["--dataset", str(tmp_path / "one")]
    assert evaluated(pets_run, tmp_path, *one, capsys=capsys)["images"] == 3
    assert main(["export", str(pets_run), *one, "--output", str(tmp_path / "x.safetensors")]) == 0
    assert "on 3 images" in capsys.readouterr().out
    for name, count in (("train", 8), ("val", 2), ("test", 4)):
        parquet(tmp_path / f"more/{name}.parquet", per_class=count, first=50)
    more = ["--dataset", str(tmp_path / "more")]
    for split, count in (("test", 12), ("train", 24), ("val", 6), ("all", 42)):
        told = evaluated(pets_run, tmp_path, *more, "--split", split, capsys=capsys)
        assert (told["images"], told["split"]) == (count, split)
    assert evaluated(pets_run, tmp_path, *more, capsys=capsys)["split"] == "test"
    args = ["evaluate", str(pets_run), *one, "--split", "val", "--output", str(tmp_path)]
    assert main(args) == 2
    assert "has test and no val split: give --split all" in capsys.readouterr().err


def test_own_data_keeps_its_splits_wherever_it_lies(
    pets_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = evaluated(pets_run, tmp_path, capsys=capsys)
    assert (here["images"], here["split"]) == (12, "test")
    moved = shutil.copytree(pets_run.parent / "data", tmp_path / "moved")
    there = evaluated(pets_run, tmp_path, "--dataset", str(moved), capsys=capsys)
    assert here["confusion"] == there["confusion"]
    assert there["notes"] == []
    whole = evaluated(pets_run, tmp_path, "--dataset", str(moved), "--split", "all", capsys=capsys)
    assert whole["images"] == 60


def test_own_data_that_has_changed_is_said_to_have(
    pets_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, kept = pets_run.parent / "data", tmp_path / "kept"
    shutil.copytree(data, kept)
    try:
        for i in range(100, 110):
            (data / f"cat/{i}.png").write_bytes(encoded(pixels("cat", i)))
        told = evaluated(pets_run, tmp_path, capsys=capsys)
        assert "is no longer what the run was trained on" in " ".join(told["notes"])
    finally:
        shutil.rmtree(data)
        shutil.copytree(kept, data)


def test_other_channels_are_made_the_networks_as_in_prediction(
    pets_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for k, name in enumerate(NAMES):
        (tmp_path / "grey" / name).mkdir(parents=True)
        for i in range(4):
            image = Image.fromarray(np.full((12, 12), 60 * k + i, np.uint8))
            image.save(tmp_path / "grey" / name / f"{i}.png")
    told = evaluated(pets_run, tmp_path, "--dataset", str(tmp_path / "grey"), capsys=capsys)
    assert told["images"] == 12
    run = open_run(str(pets_run), "cpu")
    x, _ = rows_for(run, dataset=str(tmp_path / "grey")).split.take(np.arange(12))
    files = [str(p) for p in sorted((tmp_path / "grey").rglob("*.png"))]
    predicted = [read_picture(file, run.shape, Limits()) for file in files]
    assert np.array_equal(x, np.stack([p for p in predicted if isinstance(p, np.ndarray)]))


def test_data_without_class_names_needs_the_users_word(
    pets_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parquet(tmp_path / "plain.parquet", None, first=50)
    args = ["--dataset", str(tmp_path / "plain.parquet")]
    assert main(["evaluate", str(pets_run), *args, "--output", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "class 0 is '0' in plain, which the network does not know; it knows cat, dog" in said
    told = evaluated(pets_run, tmp_path, *args, "--other-names", capsys=capsys)
    assert accuracy(told) == 1.0


def test_bad_images_of_other_data_are_left_out_where_asked_for(
    pets_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = class_folders(tmp_path / "data", per_class=2, first=50)
    (data / "cat/x.png").write_bytes(b"")
    args = ["--dataset", str(data)]
    assert main(["evaluate", str(pets_run), *args, "--output", str(tmp_path)]) == 2
    assert "or give --skip-bad-images" in capsys.readouterr().err
    told = evaluated(pets_run, tmp_path, *args, "--skip-bad-images", capsys=capsys)
    assert (told["images"], told["skipped_images"]) == (6, 1)


def test_rows_that_nothing_could_be_trained_on_are_evaluated(
    pets_run: Path, tmp_path: Path, capsys: Any
) -> None:
    """One row of each class, in a file and in folders whose names say nothing."""
    file = parquet(tmp_path / "file/pets.parquet", per_class=1)
    folders = class_folders(tmp_path / "folders", per_class=1)
    for data in (file.parent, folders):
        told = evaluated(pets_run, tmp_path / "out", "--dataset", str(data), capsys=capsys)
        assert told["images"] == 3


def test_predictions_that_lie_beside_the_data_are_no_data(pets_run: Path, tmp_path: Path) -> None:
    data = class_folders(tmp_path / "data")
    args = ["predict", str(pets_run), str(data / "cat"), "--format", "parquet"]
    assert main([*args, "--output", str(data / "answers.parquet")]) == 0
    rows = rows_for(open_run(str(pets_run), "cpu"), "all", dataset=str(data))
    assert len(rows.split) == 36
