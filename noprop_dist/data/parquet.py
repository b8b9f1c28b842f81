"""Parquet: a column of encoded images or of lists of floats, and one of labels."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from noprop_dist.data.account import Account, Reading
from noprop_dist.data.cache import files_key
from noprop_dist.data.columns import (
    LABELS,
    holds_labels,
    is_text,
    no_column,
    plain_type,
    samples_of,
    types_of,
    usual_column,
)
from noprop_dist.data.dataset import Found
from noprop_dist.data.decoding import decode_splits
from noprop_dist.data.images import BadImageError, Encoded
from noprop_dist.data.labels import Labels, match_classes
from noprop_dist.data.parquet_files import Files, count_missing, count_others, damaged, open_parquet
from noprop_dist.data.shards import Rows, Split
from noprop_dist.data.vectors import ROWS, vectors_of
from noprop_dist.errors import UserError
from noprop_dist.text import how_many, shown

if TYPE_CHECKING:
    import pyarrow.parquet as pq


@dataclass(frozen=True)
class _Columns:
    """Where the samples and the labels of a file are.

    Attributes:
        samples: name of the column of samples.
        encoded: they are encoded images, else lists of floats.
        labels: name of the column of labels.
    """

    samples: str
    encoded: bool
    labels: str

    def __str__(self) -> str:
        return f"{shown(self.samples)} and {shown(self.labels)}"


def load_parquet(path: Path, files: Files, reading: Reading, name: str | None = None) -> Found:
    """Load the files of ``find_parquet``.

    Columns are those that ``reading`` names, else the first of a usual name. Labels are integers
    or text. Class names come from the schema metadata key ``huggingface``, else are the text of the
    labels, sorted; files that order them differently are brought to the first one's order.

    Raises:
        UserError: not Parquet, damaged or without such columns; labels missing or out of range;
            files that differ in their class names.
    """
    import pyarrow as pa

    try:
        return _load(path, files, reading, name or path.name)
    except (pa.ArrowException, OSError) as error:  # damage that shows only when pages are read
        raise damaged(path, error) from error


def _load(path: Path, files: Files, reading: Reading, name: str) -> Found:
    opened = {p: open_parquet(p) for paths in files.values() for p in paths}
    columns = _columns(opened, reading)
    read = {str(p): _labels_of(p, file, columns.labels) for p, file in opened.items()}
    classes = match_classes(read, list(map(str, files.get("train", opened))))
    by_file = {p: classes.order[str(p)][read[str(p)].y] for p in opened}
    labels = {s: np.concatenate([by_file[p] for p in paths]) for s, paths in files.items()}
    account = Account(f"Parquet of {shown(name)}, columns {columns}", of_columns=True)
    account.places = {s: _place(paths, path) for s, paths in files.items()}
    if path.is_dir() and (missing := count_missing(opened)):
        account.passed_over["shards that are not there"] = missing
    for folder in {p.parent for p in opened if path.is_dir()}:
        count_others(folder, opened, account.passed_over)
    if columns.encoded:
        count = sum(map(len, labels.values()))
        sources = [
            partial(_encoded_in, {p: opened[p] for p in paths}, columns.samples, by_file)
            for paths in files.values()
        ]
        # What is kept holds the labels too, as numbers of the classes in this order.
        read_as = (str(columns), classes.names, list(map(len, files.values())))
        key = files_key(map(str, opened), *read_as)
        splits = dict(zip(files, decode_splits(sources, reading, account, count, key), strict=True))
    else:
        vectors = vectors_of(opened, columns.samples)
        splits = {
            s: Split.from_arrays(np.concatenate([vectors[p] for p in paths]), labels[s])
            for s, paths in files.items()
        }
    return Found(
        name=path.stem,
        class_names=classes.names,
        named=classes.named,
        splits=splits,
        photographs=columns.encoded and next(iter(splits.values())).sample_shape[0] == 3,
        account=account,
    )


def _place(paths: Sequence[Path], root: Path) -> str:
    first, last = (
        shown(p.name if p == root else str(p.relative_to(root))) for p in (paths[0], paths[-1])
    )
    return first if len(paths) == 1 else f"{len(paths)} files, {first} to {last}"


def _columns(opened: "dict[Path, pq.ParquetFile]", reading: Reading) -> _Columns:
    """The columns to read, alike in all files."""
    found = {path: _columns_of(path, file, reading) for path, file in opened.items()}
    first, columns = next(iter(found.items()))
    for other, there in found.items():
        if there != columns:
            raise UserError(
                f"{first} has samples and labels in {columns}, {other} in {there}: all files need "
                "the same columns."
            )
    return columns


def _columns_of(path: Path, file: "pq.ParquetFile", reading: Reading) -> _Columns:
    fit = [field.name for field in file.schema_arrow if holds_labels(plain_type(field.type))]
    labels = usual_column(LABELS, reading.label_column, fit)
    if labels is None:
        raise no_column(LABELS, reading.label_column, str(path), types_of(file))
    return _Columns(*samples_of(path, file, reading.image_column), labels)


def _class_names_of(file: "pq.ParquetFile", column: str) -> tuple[str, ...] | None:
    metadata = file.schema_arrow.metadata or {}
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError):  # written by something else: names are a courtesy
        return None
    return tuple(map(str, names)) if names else None


def _labels_of(path: Path, file: "pq.ParquetFile", name: str) -> Labels:
    import pyarrow as pa

    column = file.read(columns=[name]).column(name)
    if column.null_count:
        raise UserError(
            f"{path} has {how_many(column.null_count, 'row')} without a label: fill or drop them."
        )
    if not is_text(kind := plain_type(column.type)):
        y = column.cast(pa.int64() if pa.types.is_boolean(kind) else kind).to_numpy()
        return Labels(y.astype(np.int64), _class_names_of(file, name))
    text = column.cast(kind).dictionary_encode().combine_chunks()
    names = tuple(text.dictionary.to_pylist())
    return Labels(text.indices.to_numpy().astype(np.int64), names, are_text=True)


def _encoded_in(
    opened: "dict[Path, pq.ParquetFile]", column: str, labels: dict[Path, Rows]
) -> Iterator[Encoded]:
    for path, file in opened.items():
        yield from _encoded(path, file, column, labels[path])


def _encoded(path: Path, file: "pq.ParquetFile", column: str, y: Rows) -> Iterator[Encoded]:
    import pyarrow as pa

    row = 0
    for batch in file.iter_batches(ROWS, columns=[column]):
        images = batch.column(0)
        paths = None
        if pa.types.is_struct(images.type):
            if images.type.get_field_index("path") >= 0:
                paths = images.field("path")
            images = images.field("bytes")
        for i, data in enumerate(images.to_pylist()):
            elsewhere = data is None and paths is not None and paths[i].is_valid
            if elsewhere and row == 0:
                raise UserError(
                    f"{path} holds the paths of images and not the images: write it with their "
                    "bytes, or give the folder that they are in."
                )
            yield f"row {row} of {path}", _reader(data, elsewhere), int(y[row])
            row += 1


def _reader(data: bytes | None, elsewhere: bool) -> Callable[[], bytes]:
    def read() -> bytes:
        if elsewhere:
            raise BadImageError("holds the path of an image and not the image")
        return data or b""  # nothing at all does not decode, and is named as such

    return read
