"""Parquet as people have it: columns of whatever name, labels of text, floats of any width."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noprop_dist import TrainConfig
from noprop_dist.cli import main
from noprop_dist.engine.splits import Splits, load_splits
from noprop_dist.errors import UserError
from pets import NAMES, encoded, parquet, pixels

ROWS = [NAMES[i % 3] for i in range(36)]
PICTURES = [encoded(pixels(name, i)) for i, name in enumerate(ROWS)]
KINDS = {"cat": "feline", "dog": "canine", "fox": "canine"}


def write(path: Path, columns: dict[str, Any], classes: dict[str, list[str]] | None = None) -> Path:
    """A file of these columns; ``classes``: in its metadata, the names of a column's classes."""
    table = pa.table(columns)
    if classes:
        told = {"info": {"features": {name: {"names": k} for name, k in classes.items()}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(told)})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    return path


def splits(path: Path, **options: Any) -> Splits:
    return load_splits(TrainConfig(dataset=str(path), **options))


def labels_are_right(found: Splits) -> bool:
    """Whether every picture has the label of its colour, of classes called as in NAMES."""
    x, y = found.train.take(np.arange(len(found.train)))
    assert found.class_names == NAMES
    return bool((x.mean(axis=(2, 3)).argmax(axis=1) == y).all())


def test_usual_columns_are_found_and_told_and_others_can_be_named(tmp_path: Path) -> None:
    hub = [{"bytes": data, "path": None} for data in PICTURES]
    kinds = ["canine", "feline"]
    fine, coarse = [NAMES.index(n) for n in ROWS], [kinds.index(KINDS[n]) for n in ROWS]
    columns = {"id": range(36), "img": hub, "coarse_label": coarse, "fine_label": fine, "raw": hub}
    classes = {"fine_label": list(NAMES), "coarse_label": kinds}
    path = write(tmp_path / "pets.parquet", columns, classes)
    found = splits(path)
    assert labels_are_right(found)
    assert found.told.startswith("Parquet of pets.parquet, columns img and fine_label: ")
    other = splits(path, label_column="coarse_label", image_column="raw")
    assert other.class_names == ("canine", "feline")
    assert "columns raw and coarse_label" in other.told
    with pytest.raises(UserError, match=r"--label-column kind does not fit: .*columns id \(int64"):
        splits(path, label_column="kind")
    # Where the rows lie and what columns are called decides nothing: what they hold does.
    same = write(tmp_path / "again.parquet", {"image": hub, "label": fine})
    assert splits(same).hashes == found.hashes
    assert TrainConfig(label_column="label").hash() == TrainConfig().hash()


@pytest.mark.parametrize("coded", [False, True])
def test_labels_of_text_are_classes_in_the_order_of_their_letters(
    tmp_path: Path, coded: bool
) -> None:
    for i in range(3):  # the first has no cat
        rows = slice(*((1, 3), (3, 20), (20, 36))[i])
        names = pa.array(ROWS[rows])
        columns = {"image": PICTURES[rows], "target": names.dictionary_encode() if coded else names}
        write(tmp_path / f"data/train-0000{i}-of-00003.parquet", columns)
    found = splits(tmp_path)
    assert labels_are_right(found)
    assert "columns image and target" in found.told
    write(tmp_path / "data/test.parquet", {"image": PICTURES[:2], "target": ["cat", "owl"]})
    with pytest.raises(
        UserError, match=r"test\.parquet has the label 'owl', which no training row"
    ):
        splits(tmp_path)
    write(tmp_path / "data/test.parquet", {"image": PICTURES[:2], "target": [0, 1]})
    with pytest.raises(UserError, match=r"are text and those of .*test\.parquet are integers"):
        splits(tmp_path)


@pytest.mark.parametrize("bits", [16, 32, 64])
@pytest.mark.parametrize("width", [-1, 4])
def test_lists_of_floats_of_any_width_are_vectors(tmp_path: Path, bits: int, width: int) -> None:
    values = np.random.default_rng(0).normal(size=(40, 4)).astype(f"float{bits}")
    kind = pa.list_(pa.from_numpy_dtype(values.dtype), width)
    lists = pa.array(list(values), kind)
    path = write(tmp_path / "train.parquet", {"embedding": lists, "labels": [True, False] * 20})
    found = splits(path, val_fraction=0)
    assert found.class_names == ("0", "1")
    x = np.concatenate([part.take(np.arange(len(part)))[0] for part in (found.train, found.test)])
    assert x.dtype == np.float32
    assert sorted(x.tolist()) == sorted(values.astype(np.float32).tolist())


def test_lists_of_several_lengths_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "train.parquet", {"x": [[0.0], [1.0, 2.0]], "label": [0, 1]})
    with pytest.raises(UserError, match="column x has lists of 1 to 2 numbers: make all alike"):
        splits(path)


@pytest.mark.parametrize("word", ["val", "valid", "validation", "dev"])
def test_a_validation_split_that_is_there_is_used(tmp_path: Path, word: str) -> None:
    parquet(tmp_path / "train/0.parquet")
    parquet(tmp_path / word / "0.parquet", per_class=4, first=20)
    assert f"12 validation from {word}/0.parquet" in splits(tmp_path).told


def hub_cache(root: Path, revision: str = "main", inside: str = "plain") -> Path:
    """A data set as the hub's client leaves it: files are links to blobs, named by their hash."""
    home = root / "datasets--kim--pets"
    commit = "77f3279b5d1b0f5e2c1e2bd6cbc3a3b4f3b0a9d1"
    folder = home / "snapshots" / commit / inside
    folder.mkdir(parents=True)
    (home / "blobs").mkdir()
    for name, first in (("train", 0), ("test", 20)):
        blob = parquet(home / "blobs" / f"{first}a0b1", first=first)
        (folder / f"{name}-00000-of-00001.parquet").symlink_to(blob)
    (home / "refs" / revision).parent.mkdir(parents=True)
    (home / "refs" / revision).write_text(commit)
    return root


@pytest.mark.parametrize(
    ("name", "revision"),
    [("pets", "main"), ("pets", "refs/convert/parquet"), ("pets/plain", "main"), ("pets@v1", "v1")],
)
def test_a_data_set_of_the_hub_is_read_from_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, revision: str
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants", exc_type=ImportError)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    cache = hub_cache(tmp_path, revision)
    found = load_splits(TrainConfig(dataset=f"hf:kim/{name}", data_dir=str(cache)))
    assert labels_are_right(found)
    plain = name.partition("@")[0]
    assert found.told.startswith(f"Parquet of hf:kim/{plain} at 77f3279, columns image and label: ")
    with pytest.raises(
        UserError,
        match="hf:kim/cars is not in the hub's cache and could not be "
        r"downloaded \(\w+: [^.]+\): check its name and the network, or",
    ):
        load_splits(TrainConfig(dataset="hf:kim/cars", data_dir=str(cache)))


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            "Got: ConnectError: [Errno -2] Name or service not known\nAn error happened while "
            "trying to locate the files. Please check your connection and try again.",
            "OSError: Got: ConnectError: [Errno -2] Name or service not known",
        ),
        ("Repo id must use '-', '_' or '.'. The name is too long.",
         "OSError: Repo id must use '-', '_' or '.'"),
        ("404 " * 100, f"OSError: {'404 ' * 39}40.."),
    ],
)  # fmt: skip
def test_a_data_set_that_the_hub_does_not_give_is_told_in_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    message: str,
    told: str,
) -> None:
    hub = pytest.importorskip("huggingface_hub", exc_type=ImportError)

    def fail(*_: object, **__: object) -> None:
        raise OSError(message)

    monkeypatch.setattr(hub, "snapshot_download", fail)
    assert main(["train", "--dataset", "hf:kim/cars", "--run-dir", str(tmp_path / "run")]) == 2
    *_, said = capsys.readouterr().err.splitlines()
    assert said.endswith(
        "--dataset hf:kim/cars is not in the hub's cache and could not be downloaded "
        f"({told}): check its name and the network, or give the path of a copy."
    )


def test_the_hub_needs_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"needs huggingface_hub: install noprop-dist\[hf\]"):
        load_splits(TrainConfig(dataset="hf:kim/pets"))
