"""Parquet: the Hugging Face image layout, or a fixed-size list of floats per row."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noprop_dist.data.dataset import (
    TEST_FRACTION,
    TEST_SEED,
    Dataset,
    check_labels,
    stratified_rows,
)
from noprop_dist.data.images import Encoded, decode_splits
from noprop_dist.data.shards import Rows, Split
from noprop_dist.errors import UserError

if TYPE_CHECKING:
    import pyarrow.parquet as pq

ROWS = 2048  # rows read at a time

Files = dict[str, list[Path]]


def find_parquet(path: Path) -> Files | None:
    """The Parquet files of each split under ``path``, or None where there are none.

    ``test`` is missing where no file is called so; a single file is all training data.
    """
    if path.is_file():
        return {"train": [path]} if path.suffix == ".parquet" else None
    files = sorted(path.glob("*.parquet")) or sorted((path / "data").glob("*.parquet"))
    if not files:
        return None
    test = [p for p in files if p.name.startswith("test")]
    train = [p for p in files if p.name.startswith("train")]
    if not train:
        train = [p for p in files if p not in test and not p.name.startswith("val")]
    if not train:
        raise UserError(f"{path} has no training file: name one train.parquet or train-*.parquet.")
    return {"train": train} | ({"test": test} if test else {})


def load_parquet(path: Path, files: Files, image_size: int | None, skip_bad: bool) -> Dataset:
    """Load the files of ``find_parquet``.

    Columns: ``label`` (integer) and either ``image`` (struct of encoded ``bytes`` and ``path``) or
    one fixed-size list of floats. Class names come from the schema metadata key ``huggingface``.

    Raises:
        UserError: not Parquet, or without those columns; or labels missing or out of range.
    """
    opened = {split: [_open(p) for p in paths] for split, paths in files.items()}
    column, vector = _sample_column(files["train"][0], opened["train"][0])
    labels = {split: _labels(files[split], parts) for split, parts in opened.items()}
    names = _class_names(opened["train"][0])
    if names is None:
        names = tuple(str(k) for k in range(int(max(labels["train"].max(initial=0), 1)) + 1))
    for split, y in labels.items():
        check_labels(y, len(names), str(files[split][0]))
    if vector:
        splits = {
            s: Split.from_arrays(_vectors(files[s], parts, column), labels[s])
            for s, parts in opened.items()
        }
        skipped = 0
    else:
        sources = [_encoded(files[s], parts, column, labels[s]) for s, parts in opened.items()]
        decoded, skipped = decode_splits(sources, image_size, skip_bad)
        splits = dict(zip(opened, decoded, strict=True))
    train = splits["train"]
    test = splits.get("test")
    if test is None:
        held = stratified_rows(train.labels, TEST_FRACTION, TEST_SEED, "test")
        test = train.select(held)
        train = train.select(np.setdiff1d(np.arange(len(train)), held))
    colour = not vector and train.sample_shape[0] == 3
    return Dataset(path.stem, names, train, test, photographs=colour, num_skipped=skipped)


def _open(path: Path) -> "pq.ParquetFile":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} is not a readable Parquet file ({error}).") from error


def _sample_column(path: Path, file: "pq.ParquetFile") -> tuple[str, bool]:
    """Name of the sample column, and whether it holds vectors."""
    import pyarrow as pa

    schema = file.schema_arrow
    if "label" in schema.names:
        if "image" in schema.names and pa.types.is_struct(schema.field("image").type):
            return "image", False
        for name in schema.names:
            kind = schema.field(name).type
            if pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type):
                return name, True
    raise UserError(
        f"{path} has the columns {', '.join(schema.names)}; expected are label (integer) and image "
        "(a struct with bytes), or label and a fixed-size list of floats."
    )


def _labels(paths: list[Path], files: list["pq.ParquetFile"]) -> Rows:
    import pyarrow as pa

    parts = []
    for path, file in zip(paths, files, strict=True):
        if "label" not in file.schema_arrow.names:
            raise UserError(f"{path} has no column label: each row needs an integer label.")
        column = file.read(columns=["label"]).column("label")
        if not pa.types.is_integer(column.type):
            raise UserError(f"{path} has labels of type {column.type}; they must be integers.")
        if column.null_count:
            raise UserError(
                f"{path} has {column.null_count} rows without a label: fill or drop them."
            )
        parts.append(column.to_numpy().astype(np.int64))
    return np.concatenate(parts)


def _class_names(file: "pq.ParquetFile") -> tuple[str, ...] | None:
    metadata = file.schema_arrow.metadata or {}
    raw = metadata.get(b"huggingface")
    if raw is None:
        return None
    features: dict[str, Any] = json.loads(raw).get("info", {}).get("features", {})
    names = features.get("label", {}).get("names")
    return tuple(map(str, names)) if names else None


def _encoded(
    paths: list[Path], files: list["pq.ParquetFile"], column: str, y: Rows
) -> Iterator[Encoded]:
    row = 0
    for path, file in zip(paths, files, strict=True):
        start = row
        for batch in file.iter_batches(ROWS, columns=[column]):
            for data in batch.column(0).field("bytes").to_pylist():
                yield f"row {row - start} of {path}", _reader(data), int(y[row])
                row += 1


def _reader(data: bytes | None) -> Any:
    # A row without bytes reads as an empty file, which does not decode and is named as such.
    return lambda: data or b""


def _vectors(paths: list[Path], files: list["pq.ParquetFile"], column: str) -> Any:
    parts = []
    for path, file in zip(paths, files, strict=True):
        for chunk in file.read(columns=[column]).column(0).chunks:
            values = chunk.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
            if chunk.null_count or not np.isfinite(values).all():
                raise UserError(f"{path}: column {column} has missing or non-finite values.")
            parts.append(values.reshape(len(chunk), -1))
    return np.concatenate(parts)
