"""Classifying the rows of Parquet files that hold vectors."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noprop_dist import load_network, train
from noprop_dist.cli import main
from noprop_dist.data import load_dataset
from noprop_dist.data.shards import Array
from runs import small

Capture = pytest.CaptureFixture[str]


def vectors(part: str, count: int) -> tuple[Array, Array]:
    """Digits as vectors of 64 numbers, which every width of float holds exactly."""
    x, y = getattr(load_dataset("digits"), part).take(np.arange(count))
    return (x.reshape(count, -1) // 16).astype(np.float32), y


def written(path: Path, rows: list[Any], kind: pa.DataType, name: str = "image") -> Path:
    """A Parquet file of one column."""
    pq.write_table(pa.table({name: pa.array(rows, kind)}), path)
    return path


def many(x: Array) -> list[list[float]]:
    return [[float(value) for value in row] for row in x]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run on vectors."""
    folder = tmp_path_factory.mktemp("vectors")
    x, y = vectors("train", 400)
    column = pa.array(many(x), pa.list_(pa.float32()))
    pq.write_table(pa.table({"features": column, "label": y}), folder / "data.parquet")
    config = small(
        folder / "run", dataset=str(folder / "data.parquet"), image_column="features", epochs=2
    )
    return train(config).folder


def test_rows_of_any_width_of_float_are_answered_in_order(
    run: str, tmp_path: Path, capsys: Capture
) -> None:
    x, _ = vectors("test", 20)
    half = written(tmp_path / "half.parquet", many(x[:12]), pa.list_(pa.float16()), "features")
    full = written(tmp_path / "full.pq", many(x[12:]), pa.list_(pa.float64(), 64), "features")
    args = ["predict", run, str(half), str(full), "--top-k", "10", "--draws", "2"]
    assert main([*args, "--format", "jsonl", "--batch-size", "5"]) == 0
    out = capsys.readouterr()
    assert out.err.count("\n") == 1  # what answers
    told = [json.loads(line) for line in out.out.splitlines()]
    places = [(str(half), row) for row in range(12)] + [(str(full), row) for row in range(8)]
    assert [(t["file"], t["row"]) for t in told] == places
    said = load_network(run).predict(x, draws=2)
    for t, label, p in zip(told, said.labels, said.probabilities, strict=True):
        assert t["top"][0]["label"] == label
        by_label = {top["label"]: top["probability"] for top in t["top"]}
        assert [by_label[k] for k in range(10)] == pytest.approx(p.tolist(), abs=1e-5)
    output = tmp_path / "answers.parquet"
    assert main([*args, "--format", "parquet", "--output", str(output)]) == 0
    rows = pq.read_table(output).to_pylist()
    assert [(r["file"], r["row"], r["labels"]) for r in rows] == [
        (t["file"], t["row"], [top["label"] for top in t["top"]]) for t in told
    ]
    assert main(["predict", run, str(half)]) == 0
    assert capsys.readouterr().out.startswith(f"{half} row 0 ")


@pytest.mark.parametrize(
    ("rows", "kind", "name", "more", "says"),
    [
        ([[1.0] * 63], pa.list_(pa.float32()), "features", [], "of 63 numbers, and the network"),
        ([[1.0] * 64, [1.0]], pa.list_(pa.float32()), "features", [], "lists of 1 to 64 numbers"),
        ([[1.0] * 64, None], pa.list_(pa.float32()), "features", [], "missing or non-finite"),
        ([[None] * 64], pa.list_(pa.float32()), "features", [], "missing or non-finite"),
        ([[1.0] * 64], pa.list_(pa.float32()), "other", [], "--image-column features does not fit"),
        ([[1.0] * 64], pa.list_(pa.float32()), "x", ["--image-column", "y"], "y does not fit"),
        ([[1] * 64], pa.list_(pa.int64()), "features", [], "does not fit"),
        ([b"png"], pa.binary(), "features", [], "holds images in features"),
    ],
)  # fmt: skip
def test_other_columns_get_one_sentence_and_no_answer(
    rows: list[Any], kind: pa.DataType, name: str, more: list[str], says: str,
    run: str, tmp_path: Path, capsys: Capture,
) -> None:  # fmt: skip
    good = written(tmp_path / "a.parquet", [[1.0] * 64], pa.list_(pa.float32()), "features")
    bad = written(tmp_path / "b.parquet", rows, kind, name)
    files = [str(bad)] if more else [str(good), str(bad)]
    assert main(["predict", run, *files, *more]) == 2
    out = capsys.readouterr()
    assert says in out.err
    assert (out.out, out.err.count("\n")) == ("", 1)


def test_pictures_and_vectors_are_told_apart(
    run: str, trained_folder: Path, pictures: Path, tmp_path: Path, capsys: Capture
) -> None:
    file = written(tmp_path / "a.parquet", [[1.0] * 64], pa.list_(pa.float32()), "features")
    (tmp_path / "broken.parquet").write_text("none")
    for args, says in (
        ([run, str(pictures)], "takes vectors of 64 numbers, not pictures: give Parquet files"),
        ([run, str(file), str(pictures)], "takes vectors of 64 numbers, not pictures"),
        ([str(trained_folder), str(file)], "takes pictures of 8x8 grey, not vectors"),
        ([run, str(tmp_path / "broken.parquet")], "is not a readable Parquet file"),
        ([str(trained_folder), str(pictures), "--image-column", "x"], "--image-column is for"),
    ):
        assert main(["predict", *args]) == 2
        out = capsys.readouterr()
        assert says in out.err
        assert (out.out, out.err.count("\n")) == ("", 1)


def test_what_comes_next_names_vectors(run: str, capsys: Capture) -> None:
    assert main(["show", run]) == 0
    assert f"noprop predict {run} VECTORS.parquet\n" in capsys.readouterr().out


@pytest.mark.ray
@pytest.mark.timeout(400)  # a cluster, on a machine that may be busy
def test_ray_says_the_same_of_vectors(run: str, tmp_path: Path) -> None:
    x, _ = vectors("test", 30)
    file = written(tmp_path / "a.parquet", many(x), pa.list_(pa.float16()), "features")
    told = []
    for more in ([], ["--ray"]):
        args = [run, str(file), "--batch-size", "8", "--format", "jsonl", *more]
        done = subprocess.run(
            [sys.executable, "-m", "noprop_dist", "predict", *args],
            capture_output=True,
            text=True,
            timeout=180,
            check=True,
        )
        told.append(done.stdout)
    assert told[0].count("\n") == 30
    assert told[0] == told[1]
