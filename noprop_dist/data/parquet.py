"""Parquet: the Hugging Face image layout, or a fixed-size list of floats per row."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from noprop_dist.data.dataset import Dataset, check_labels, hold_out_test
from noprop_dist.data.images import Encoded, decode_splits
from noprop_dist.data.shards import Rows, Split
from noprop_dist.errors import UserError, shown

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
        UserError: not Parquet, damaged or without those columns; labels missing or out of range.
    """
    import pyarrow as pa

    try:
        return _load(path, files, image_size, skip_bad)
    except (pa.ArrowException, OSError) as error:  # damage that shows only when pages are read
        raise UserError(f"{path} cannot be read to its end ({error}): copy it again.") from error


def _load(path: Path, files: Files, image_size: int | None, skip_bad: bool) -> Dataset:
    opened = {split: [_open(p) for p in paths] for split, paths in files.items()}
    column, vector = _sample_column(files, opened)
    labels = {split: _labels(files[split], parts) for split, parts in opened.items()}
    names = _class_names(opened["train"][0])
    if names is None:
        # No more classes than rows: a stray huge label is a mistake, not a billion classes.
        most = min(int(labels["train"].max(initial=0)), len(labels["train"]))
        names = tuple(str(k) for k in range(max(most, 1) + 1))
    for split, y in labels.items():
        where = files[split][0] if len(files[split]) == 1 else f"{path} (its {split} files)"
        check_labels(y, len(names), str(where))
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
    if "test" in splits:
        test = splits["test"]
    else:
        train, test = hold_out_test(train)
    colour = not vector and train.sample_shape[0] == 3
    return Dataset(path.stem, names, train, test, photographs=colour, num_skipped=skipped)


def _open(path: Path) -> "pq.ParquetFile":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # pyarrow opens no file whose name is not UTF-8.
        named = shown(str(path)) == str(path)
        return pq.ParquetFile(path if named else pa.BufferReader(path.read_bytes()))
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} is not a readable Parquet file ({error}).") from error


def _sample_column(files: Files, opened: "dict[str, list[pq.ParquetFile]]") -> tuple[str, bool]:
    """Name of the sample column, and whether it holds vectors; alike in all files."""
    found: dict[str, tuple[str, bool, int]] = {}
    for split, parts in opened.items():
        for path, file in zip(files[split], parts, strict=True):
            found[str(path)] = _sample_column_of(path, file)
    first, (column, vector, width) = next(iter(found.items()))
    for other, kind in found.items():
        if kind != (column, vector, width):
            a, b = (f"{k[0]} of width {k[2]}" if k[1] else k[0] for k in (found[first], kind))
            raise UserError(
                f"{first} has samples in {a}, {other} in {b}: all files need the same column."
            )
    return column, vector


def _sample_column_of(path: Path, file: "pq.ParquetFile") -> tuple[str, bool, int]:
    import pyarrow as pa

    schema = file.schema_arrow
    if "label" in schema.names:
        if "image" in schema.names:
            image = schema.field("image").type
            if pa.types.is_struct(image) and image.get_field_index("bytes") >= 0:
                return "image", False, 0
        for name in schema.names:
            kind = schema.field(name).type
            if pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type):
                return name, True, kind.list_size
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
    try:
        names = json.loads(raw)["info"]["features"]["label"]["names"]
    except (ValueError, KeyError, TypeError):  # written by something else: names are a courtesy
        return None
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
        for batch in file.iter_batches(ROWS, columns=[column]):
            chunk = batch.column(0)
            values = chunk.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
            if chunk.null_count or not np.isfinite(values).all():
                raise UserError(f"{path}: column {column} has missing or non-finite values.")
            parts.append(values.reshape(len(chunk), -1))
    return np.concatenate(parts)
