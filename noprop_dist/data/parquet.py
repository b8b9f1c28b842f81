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
from noprop_dist.data.columns import LABELS, SAMPLES, no_column, usual_column
from noprop_dist.data.dataset import Found
from noprop_dist.data.decoding import decode_splits
from noprop_dist.data.images import BadImageError, Encoded
from noprop_dist.data.labels import Labels, match_classes
from noprop_dist.data.parquet_files import Files, count_others, open_parquet
from noprop_dist.data.shards import Array, Rows, Split
from noprop_dist.errors import UserError
from noprop_dist.text import shown

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ROWS = 2048  # rows read at a time


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
        raise UserError(f"{path} cannot be read to its end ({error}): copy it again.") from error


def _load(path: Path, files: Files, reading: Reading, name: str) -> Found:
    opened = {p: open_parquet(p) for paths in files.values() for p in paths}
    columns = _columns(opened, reading)
    read = {str(p): _labels_of(p, file, columns.labels) for p, file in opened.items()}
    classes = match_classes(read, list(map(str, files.get("train", opened))))
    by_file = {p: classes.order[str(p)][read[str(p)].y] for p in opened}
    labels = {s: np.concatenate([by_file[p] for p in paths]) for s, paths in files.items()}
    account = Account(f"Parquet of {shown(name)}, columns {columns}")
    account.places = {s: _place(paths, path) for s, paths in files.items()}
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
        vectors = _vectors(opened, columns.samples)
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
    import pyarrow as pa

    kinds = {field.name: _plain_type(field.type) for field in file.schema_arrow}
    told = ", ".join(f"{shown(field.name)} ({field.type})" for field in file.schema_arrow)
    encoded = [name for name, kind in kinds.items() if _holds_images(kind)]
    lists = [
        name
        for name, kind in kinds.items()
        if (pa.types.is_list(kind) or pa.types.is_large_list(kind))
        or pa.types.is_fixed_size_list(kind)
        if pa.types.is_floating(kind.value_type)
    ]
    fit = [name for name, kind in kinds.items() if _holds_labels(kind)]
    labels = usual_column(LABELS, reading.label_column, fit)
    if labels is None:
        raise no_column(LABELS, reading.label_column, str(path), told)
    samples = usual_column(SAMPLES, reading.image_column, [*encoded, *lists])
    if samples is None and reading.image_column is None:
        if len(encoded) + len(lists) > 1:
            names = ", ".join(map(shown, [*encoded, *lists]))
            raise UserError(
                f"{path} has several columns that may be samples ({names}): name one with "
                f"{SAMPLES.flag}; see docs/data.md."
            )
        samples = next(iter([*encoded, *lists]), None)  # whatever it is called
    if samples is None:
        raise no_column(SAMPLES, reading.image_column, str(path), told)
    return _Columns(samples, samples in encoded, labels)


def _plain_type(kind: "pa.DataType") -> "pa.DataType":
    """Of a dictionary-encoded column, what it holds."""
    import pyarrow as pa

    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _holds_images(kind: "pa.DataType") -> bool:
    """Whether it is the hub's struct with the images' ``bytes``, or bytes alone."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _holds_labels(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return _is_text(kind) or bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def _is_text(kind: "pa.DataType") -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _class_names_of(file: "pq.ParquetFile", column: str) -> tuple[str, ...] | None:
    metadata = file.schema_arrow.metadata or {}
    raw = metadata.get(b"huggingface")
    if raw is None:
        return None
    try:
        names = json.loads(raw)["info"]["features"][column]["names"]
    except (ValueError, KeyError, TypeError):  # written by something else: names are a courtesy
        return None
    return tuple(map(str, names)) if names else None


def _labels_of(path: Path, file: "pq.ParquetFile", name: str) -> Labels:
    import pyarrow as pa

    column = file.read(columns=[name]).column(name)
    if column.null_count:
        raise UserError(f"{path} has {column.null_count} rows without a label: fill or drop them.")
    if not _is_text(kind := _plain_type(column.type)):
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


def _vectors(opened: "dict[Path, pq.ParquetFile]", column: str) -> dict[Path, Array]:
    """By file its vectors, float32 (n, F) with one F for all."""
    found = {path: _vectors_of(path, file, column) for path, file in opened.items()}
    first, vectors = next(iter(found.items()))
    for other, there in found.items():
        if there.shape[1] != vectors.shape[1]:
            raise UserError(
                f"{first} has samples in {shown(column)} of width {vectors.shape[1]}, {other} in "
                f"{shown(column)} of width {there.shape[1]}: all files need the same width."
            )
    return found


def _vectors_of(path: Path, file: "pq.ParquetFile", column: str) -> Array:
    import pyarrow.compute as pc

    parts: list[Array] = []
    for batch in file.iter_batches(ROWS, columns=[column]):
        chunk = batch.column(0)
        values = chunk.flatten().to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):  # becomes infinite, which is refused
            values = values.astype(np.float32)
        if chunk.null_count or not np.isfinite(values).all():
            raise UserError(
                f"{path}: column {shown(column)} has missing or non-finite values: fill them, or "
                "drop these rows."
            )
        widths = set(pc.list_value_length(chunk).to_pylist())
        widths |= {part.shape[1] for part in parts[:1]}
        if len(widths) > 1:
            raise UserError(
                f"{path}: column {shown(column)} has lists of {min(widths)} to {max(widths)} "
                "numbers: make all alike."
            )
        if len(chunk):
            parts.append(values.reshape(len(chunk), -1))
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)
