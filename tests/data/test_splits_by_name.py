"""What a file or folder is called decides what its rows are for, or is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from noprop_dist import TrainConfig
from noprop_dist.data import Dataset, Split, load_dataset
from noprop_dist.data.account import Reading
from noprop_dist.data.sources import find_rows
from noprop_dist.engine.splits import make_splits
from noprop_dist.errors import UserError
from pets import COLOURS, NAMES, class_folders, encoded, parquet, pixels


def is_labelled_right(split: Split, names: tuple[str, ...] = NAMES) -> bool:
    """Whether every picture has the label of its colour."""
    x, y = split.take(np.arange(len(split)))
    likeliest = x.mean(axis=(2, 3)).argmax(axis=1)
    colours = {name: int(np.argmax(colour)) for name, colour in COLOURS.items()}
    return likeliest.tolist() == [colours[names[label]] for label in y]


def counts(data: Dataset) -> tuple[int, int | None, int]:
    return len(data.train), None if data.val is None else len(data.val), len(data.test)


TRAIN = ["train", "Train", "TRAINING", "pets_train", "pets-train-00000-of-00001", "petsTrain"]
TEST = ["test", "Test", "TESTING", "pets_test", "pets-eval-00000-of-00001", "petsTest"]


@pytest.mark.parametrize(("train", "test"), list(zip(TRAIN, TEST, strict=True)))
def test_splits_are_known_by_a_word_of_their_name(tmp_path: Path, train: str, test: str) -> None:
    parquet(tmp_path / "files" / f"{train}.parquet")
    parquet(tmp_path / "files" / f"{test}.parquet", per_class=4)
    class_folders(tmp_path / "folders" / train)
    class_folders(tmp_path / "folders" / test, per_class=4)
    for kind in ("files", "folders"):
        data = load_dataset(str(tmp_path / kind))
        assert counts(data) == (36, None, 12)
        assert data.class_names == NAMES
        assert data.held_out == ()


@pytest.mark.parametrize("word", ["val", "valid", "Validation", "dev"])
def test_a_validation_split_is_one(tmp_path: Path, word: str) -> None:
    parquet(tmp_path / "files/train.parquet")
    parquet(tmp_path / f"files/{word}.parquet", per_class=2)
    class_folders(tmp_path / "folders/train")
    class_folders(tmp_path / "folders" / word, per_class=2)
    for kind in ("files", "folders"):
        data = load_dataset(str(tmp_path / kind))
        assert counts(data) == (30, 6, 6)
        assert data.held_out == ("test",)


def test_files_lie_in_folders_of_splits_as_the_hub_converts_them(tmp_path: Path) -> None:
    parquet(tmp_path / "default/train/0000.parquet", per_class=8)
    parquet(tmp_path / "default/train/0001.parquet", per_class=4, first=8)
    parquet(tmp_path / "default/test/0000.parquet", per_class=4)
    parquet(tmp_path / "default/validation/0000.parquet", per_class=2)
    for folder in (tmp_path, tmp_path / "default"):
        assert counts(load_dataset(str(folder))) == (36, 6, 12)


def test_a_single_file_named_test_trains_nothing_and_is_read(tmp_path: Path) -> None:
    file = parquet(tmp_path / "pets_test.parquet", per_class=1)
    found = find_rows(str(file), Reading())
    assert {split: len(rows) for split, rows in found.splits.items()} == {"test": 3}
    with pytest.raises(UserError, match=r"has no training rows, only test by its name: .* rename"):
        load_dataset(str(file))


def test_shards_without_a_word_are_one_set(tmp_path: Path) -> None:
    parquet(tmp_path / "part-0.parquet", per_class=8)
    parquet(tmp_path / "part-1.parquet", per_class=2, first=8)
    data = load_dataset(str(tmp_path))
    assert counts(data) == (24, None, 6)
    assert data.held_out == ("test",)


def test_a_class_may_be_called_as_a_split_is(tmp_path: Path) -> None:
    class_folders(tmp_path)
    (tmp_path / "fox").rename(tmp_path / "train")
    assert load_dataset(str(tmp_path)).class_names == ("cat", "dog", "train")


def two_folders(root: Path, one: str, other: str, *, deep: bool) -> None:
    for name in (one, other):
        class_folders(root / name)
        if not deep:
            for i, path in enumerate(sorted((root / name).rglob("*.png"))):
                path.rename(root / name / f"{i}.png")
            for folder in NAMES:
                (root / name / folder).rmdir()


@pytest.mark.parametrize(
    ("one", "other", "deep", "says"),
    [
        ("Training", "Testing", False, "Training and Testing|Testing and Training"),
        ("trainset", "testset", True, "look like splits"),
        ("TRAINdata", "TESTdata", True, "TESTdata and TRAINdata, which look like splits"),
        ("xtrain", "xtest", True, "look like splits"),
        ("trn", "tst", True, "look like splits"),
        ("train", "extra", True, "holds extra, which names no split, beside train"),
        ("train", "training", True, "train and training, which are one split"),
        ("train", "train_test", True, "train_test is named after more than one split"),
    ],
)
def test_folders_that_look_like_splits_and_cannot_be_used_are_refused(
    tmp_path: Path, one: str, other: str, deep: bool, says: str
) -> None:
    two_folders(tmp_path, one, other, deep=deep)
    with pytest.raises(UserError, match=says):
        load_dataset(str(tmp_path))


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (["train", "extra"], "holds extra, which names no split, beside train"),
        (["trainset", "testset"], "look like splits"),
        (["TRAINdata", "TESTdata"], "look like splits"),
        (["train", "train/0000", "test/0000"], "holds Parquet files, and so does its test/"),
        (["train_test"], "train_test is named after more than one split"),
        (["train", "data/test"], "holds Parquet files, and so does its data/"),
        (["a/0", "b/0"], "holds Parquet files in a and b: give one of these folders"),
        (["train/test", "test/0"], "of two splits by its name and its folder's"),
    ],
)
def test_files_that_look_like_splits_and_cannot_be_used_are_refused(
    tmp_path: Path, files: list[str], says: str
) -> None:
    for name in files:
        parquet(tmp_path / f"{name}.parquet")
    with pytest.raises(UserError, match=says):
        load_dataset(str(tmp_path))


def test_classes_whose_names_share_letters_with_splits_are_classes(tmp_path: Path) -> None:
    for name, plain in zip(("latest", "trainers", "devil"), NAMES, strict=True):
        class_folders(tmp_path / "all")
        (tmp_path / "all" / plain).rename(tmp_path / name)
        shutil.rmtree(tmp_path / "all")
    assert load_dataset(str(tmp_path)).class_names == ("devil", "latest", "trainers")


def test_splits_inside_classes_are_refused(tmp_path: Path) -> None:
    for split in ("train", "test"):
        class_folders(tmp_path / split)
        for name in NAMES:
            (tmp_path / "pets" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / split / name).rename(tmp_path / "pets" / name / split)
    with pytest.raises(UserError, match=r"cat holds test/ and train/: .* as in train/cat/"):
        load_dataset(str(tmp_path / "pets"))


def test_files_of_other_endings_are_read_or_counted(tmp_path: Path) -> None:
    parquet(tmp_path / "train.PARQUET")
    parquet(tmp_path / "test.parquet", per_class=4).rename(tmp_path / "test.pq")
    parquet(tmp_path / ".hidden.parquet")
    (tmp_path / "labels.csv").write_text("no rows are read from it")
    data = load_dataset(str(tmp_path))
    assert counts(data) == (36, None, 12)
    assert data.account.passed_over == {"hidden": 1, ".csv": 1}


def test_a_file_in_a_split_s_folder_is_named_with_it(tmp_path: Path) -> None:
    parquet(tmp_path / "train/0000.parquet")
    parquet(tmp_path / "test/0000.parquet", per_class=4)
    config = TrainConfig(dataset=str(tmp_path), val_fraction=0)
    told = make_splits(config, load_dataset(str(tmp_path))).told
    assert "36 training from train/0000.parquet" in told
    assert "12 test from test/0000.parquet" in told


def test_files_beside_class_folders_are_refused(tmp_path: Path) -> None:
    class_folders(tmp_path)
    parquet(tmp_path / "pets.parquet")
    with pytest.raises(UserError, match="holds Parquet files and the pictures of cat/"):
        load_dataset(str(tmp_path))


def test_labels_are_matched_by_the_names_of_each_file(tmp_path: Path) -> None:
    parquet(tmp_path / "train-0.parquet", per_class=6)
    parquet(tmp_path / "train-1.parquet", ("dog", "fox", "cat"), first=6, per_class=6)
    parquet(tmp_path / "val.parquet", ("fox", "cat", "dog"), per_class=4)
    parquet(tmp_path / "test.parquet", ("fox", "dog", "cat"), per_class=4)
    data = load_dataset(str(tmp_path))
    assert data.class_names == NAMES
    assert data.val is not None
    for split in (data.train, data.val, data.test):
        assert is_labelled_right(split)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("cat", "dog", "fox", "owl"), r"differ in their classes \(owl\)"),
        (("cat", "dog", "fox", "fox"), "has two classes called fox"),
        (None, "has no class names and .*train.parquet has some"),
    ],
)
def test_names_that_do_not_match_are_refused(
    tmp_path: Path, names: tuple[str, ...] | None, says: str
) -> None:
    parquet(tmp_path / "train.parquet")
    parquet(tmp_path / "test.parquet", names)
    with pytest.raises(UserError, match=says):
        load_dataset(str(tmp_path))


@pytest.mark.usefixtures("short_tries")
def test_what_was_taken_as_what_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from noprop_dist.cli import main

    class_folders(tmp_path / "Training")
    class_folders(tmp_path / "val", per_class=4)
    class_folders(tmp_path / "eval", per_class=4, first=20)
    (tmp_path / "Training/cat/._000.png").write_bytes(b"not a picture")
    (tmp_path / "Training/cat/x.heic").write_bytes(b"ftypheic")
    (tmp_path / "notes").mkdir()
    said = (
        f"data: class folders of {tmp_path.name}: 36 training from Training/, 12 validation from "
        "val/, 12 test from eval/; 3 classes: cat, dog, fox; passed over: .heic (1), folders "
        "without pictures (1), hidden (1); 12x12 colour; "
    )
    args = ["train", "--dataset", str(tmp_path), "--batch-size", "8", "--num-blocks", "1"]
    args += ["--executor", "local", "--epochs", "1"]
    folder = tmp_path.parent / f"{tmp_path.name}-run"
    for flags, mirrored in (([], "not mirrored"), (["--augmentation", "standard"], "mirrored")):
        assert main([*args, "--dry-run", *flags]) == 0
        assert f"{said.removeprefix('data: ')}{mirrored}\n" in capsys.readouterr().out
    assert main([*args, "--no-plots", "--run-dir", str(folder)]) == 0
    assert f"{said}not mirrored\n" in capsys.readouterr().err


def test_test_rows_that_are_trained_on_are_said_to_be(tmp_path: Path) -> None:
    class_folders(tmp_path / "train")
    class_folders(tmp_path / "test", per_class=4, first=9)
    config = TrainConfig(dataset=str(tmp_path), val_fraction=0)
    told = make_splits(config, load_dataset(str(tmp_path))).told
    assert told.endswith("; not mirrored; 9 test rows are training rows too")


@pytest.mark.usefixtures("short_tries")
def test_a_split_held_out_is_said_to_be(capsys: pytest.CaptureFixture[str]) -> None:
    from noprop_dist.cli import main

    args = ["train", "--executor", "local", "--num-blocks", "1", "--dry-run"]
    assert main([*args, "--flip", "no", "--max-train-images", "200"]) == 0
    assert (
        "scikit-learn's digits: 179 training, 20 validation held out, 359 test; 10 classes: "
        "0, 1, 2, 3, 4, 5, 6, 7, 8, 9; 8x8 grey; not mirrored\n"
    ) in capsys.readouterr().out


def test_own_output_is_never_data(tmp_path: Path) -> None:
    class_folders(tmp_path)
    runs = {
        "checkpoints_run/x": ("config.yaml", "events.jsonl"),
        "a-sweep": ("sweep.json",),
        "cat/compared": ("comparison-of.json",),
    }
    for folder, files in runs.items():
        (tmp_path / folder / "plots").mkdir(parents=True)
        (tmp_path / folder / "plots/history.png").write_bytes(encoded(pixels("cat")))
        for file in files:
            (tmp_path / folder / file).write_text("{}")
    (tmp_path / "begun/x").mkdir(parents=True)
    (tmp_path / "begun/x/.lock").write_text("")
    data = load_dataset(str(tmp_path))
    assert data.class_names == NAMES
    assert data.account.passed_over == {"run folders": 4}
    with pytest.raises(UserError, match="is a run's folder: give one that holds data"):
        load_dataset(str(tmp_path / "a-sweep"))
