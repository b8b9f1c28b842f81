"""Rows given in Python are what the same rows in files are."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset, TensorDataset

from noprop_dist import TrainConfig, UserError, train
from noprop_dist.engine.splits import load_splits
from pets import NAMES, class_folders, pixels
from runs import small

CONFIG = TrainConfig(dataset="python")
X = np.stack([pixels(NAMES[i % 3], i) for i in range(60)])  # (60, 12, 12, 3)
Y = np.arange(60) % 3
FIRST = X.transpose(0, 3, 1, 2)


class Rows:
    """A map-style data set of what it is given."""

    def __init__(self, samples: Any, labels: Any, classes: list[str] | None = None) -> None:
        self.samples, self.labels = samples, labels
        if classes:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Any, Any]:
        return self.samples[i], self.labels[i]


def halves(make: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """A set of the first 40 rows and one of the others."""
    return make(x[:40], y[:40]), make(x[40:], y[40:])


def pair(x: Any, y: Any) -> tuple[Any, Any]:
    return x, y


@pytest.mark.parametrize(
    ("make", "x", "y"),
    [
        (pair, FIRST, Y),
        (pair, X, Y.astype(np.uint8)),
        (pair, torch.from_numpy(FIRST.copy()), torch.from_numpy(Y)),
        (pair, torch.from_numpy(FIRST.copy()) / 255, Y.tolist()),
        (TensorDataset, torch.from_numpy(FIRST / np.float32(255)), torch.from_numpy(Y)),
        (Rows, X, Y),
        (Rows, [Image.fromarray(x) for x in X], Y.tolist()),
        (Rows, [Image.fromarray(x).convert("RGBA") for x in X], ["012"[y] for y in Y]),
        (lambda x, y: list(zip(x, y, strict=True)), X, Y),
    ],
)
def test_arrays_tensors_and_data_sets_are_the_same_rows(make: Any, x: Any, y: Any) -> None:
    found = load_splits(CONFIG, halves(make, x, y))
    expected = load_splits(CONFIG, halves(pair, FIRST, Y))
    assert found.hashes == expected.hashes
    assert found.class_names == ("0", "1", "2")
    assert found.photographs
    assert found.told.startswith(
        "rows given in Python: 37 training, 3 validation held out, 20 test"
    )
    assert found.train.sample_shape == (3, 12, 12)


def test_image_folders_of_torchvision_are_the_folders_themselves(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    for split, first in (("train", 0), ("val", 12), ("test", 20)):
        class_folders(tmp_path / split, first=first)
    sets = [ImageFolder(str(tmp_path / split)) for split in ("train", "val", "test")]
    found = load_splits(CONFIG, sets)
    files = load_splits(TrainConfig(dataset=str(tmp_path)))
    assert found.hashes == files.hashes
    assert found.class_names == files.class_names == NAMES
    part = load_splits(CONFIG, (Subset(sets[0], range(0, 36, 2)), sets[2]))
    assert part.class_names == NAMES


def test_data_sets_of_hugging_face_have_columns_and_class_names() -> None:
    hugging = pytest.importorskip("datasets", exc_type=ImportError)
    pictures = [Image.fromarray(x) for x in X]
    features = hugging.Features(img=hugging.Image(), fine_label=hugging.ClassLabel(names=[*NAMES]))
    columns = {"img": pictures, "fine_label": Y.tolist()}
    rows = hugging.Dataset.from_dict(columns, features)
    sets = hugging.DatasetDict(train=rows.select(range(40)), test=rows.select(range(40, 60)))
    found = load_splits(CONFIG, sets)
    assert found.hashes == load_splits(CONFIG, halves(pair, FIRST, Y)).hashes
    assert found.class_names == NAMES
    assert found.told.startswith("rows given in Python, columns img and fine_label: ")
    named = TrainConfig(dataset="python", label_column="kind")
    with pytest.raises(UserError, match=r"--label-column kind does not fit: the train set has the"):
        load_splits(named, sets)


def test_vectors_and_names_are_taken_too() -> None:
    x = np.random.default_rng(0).normal(size=(60, 5))
    names = np.array([NAMES[k] for k in Y])
    arrays = load_splits(CONFIG, {"training": (x[:40], names[:40]), "eval": (x[40:], names[40:])})
    rows = load_splits(CONFIG, halves(Rows, torch.from_numpy(x), names.tolist()))
    assert arrays.hashes == rows.hashes
    assert arrays.class_names == NAMES
    assert arrays.train.sample_shape == (5,)
    assert len(load_splits(CONFIG, {"all": (x, names)}).test) == 12


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ((X, Y), r"data must be \(train, test\) or \(train, val, test\)"),
        (((X, Y),), "data must be"),
        (((X, Y), X), r"the test set is of no use: it is a ndarray; expected are arrays"),
        ((DataLoader(Rows(X, Y)), (X, Y)), "the train set is of no use: it is a DataLoader"),
        ((Rows(X, Y), Rows(X[:0], Y[:0])), "the test set holds no samples"),
        (((X, Y[:9]), (X, Y)), r"samples of shape \(60, 3, 12, 12\) and labels of shape \(9,\)"),
        (((X - 0.5, Y), (X, Y)), r"images of the train set have values outside 0\.\.1"),
        (((X[..., :2], Y), (X, Y)), r"have shape \(12, 12, 2\): give 1 or 3 channels"),
        (((X, Y), (X[:, :, :, 0], Y)), "of the train set are 3x12x12, those of the test set 1x12"),
        (((X, Y / 2), (X, Y)), r"the train set has the label 0\.0 in row 0: labels are class numb"),
        (((X, Y - 1), (X, Y)), r"the train set has the label -1 in row 0; labels must be 0 to"),
        ((Rows(X, ["a", 1] * 30), (X, Y)), "has the label 1 in row 1: labels are class numbers or"),
        (([{"x": 0}], (X, Y)), r"the train set has the columns x \(int\); expected is one"),
        (([X[0]], (X, Y)), "the train set has a ndarray as row 0: expected are arrays"),
    ],
)
def test_what_cannot_be_used_is_explained(data: Any, says: str) -> None:
    with pytest.raises(UserError, match=says):
        load_splits(CONFIG, data)


def test_a_run_on_given_rows_is_known_by_its_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = small(tmp_path / "run", num_blocks=1, epochs=1, batch_size=8, quiet=False)
    result = train(options, data=halves(pair, X, Y))
    assert result.config["dataset"] == "python"
    again = train(options, data=halves(Rows, FIRST, Y))
    assert again.to_dict() == result.to_dict()
    assert "nothing to train" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"on other data than is given now: restore the data"):
        train(options, data=halves(pair, 255 - X, Y))
    with pytest.raises(
        UserError, match=r"given to train\(\) in Python: call it with the same data"
    ):
        train(TrainConfig(**result.config))
    with pytest.raises(UserError, match="--dataset mnist names other data: leave one"):
        train(TrainConfig(dataset="mnist"), data=halves(pair, X, Y))


def test_classes_of_few_rows_are_told_and_trained_on(tmp_path: Path) -> None:
    few = np.r_[0:58:3, 1:58:3, 2]  # one fox, which is held out nowhere
    rows = {"all": (X[few], Y[few])}
    options = small(tmp_path / "run", num_blocks=1, epochs=1, batch_size=14)
    assert load_splits(options, rows).told.endswith(
        "; unbalanced: 1 (2) to 14 (0) training rows of a class; no test rows of 2"
    )
    result = train(options, data=rows)
    assert [sum(row) for row in result.confusion] == [4, 4, 0]


def test_a_last_batch_of_one_row_is_evaluated(tmp_path: Path) -> None:
    sets = ((X[:33], Y[:33]), (X[:17], Y[:17]), (X[:33], Y[:33]))
    result = train(small(tmp_path, num_blocks=1, epochs=1, batch_size=16), data=sets)
    assert sum(map(sum, result.confusion)) == 33
