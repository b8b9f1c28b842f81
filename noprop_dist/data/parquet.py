"""Parquet: the Hugging Face image layout, or a fixed-size list of floats per row."""

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from noprop_dist.data.account import Account, PassedOver, Reading
from noprop_dist.data.cache import files_key
from noprop_dist.data.dataset import Found, check_labels, order_of
from noprop_dist.data.decoding import decode_splits
from noprop_dist.data.images import BadImageError, Encoded
from noprop_dist.data.pictures import holds_pictures, visible
from noprop_dist.data.shards import Array, Rows, Split
from noprop_dist.data.split_names import ADVICE, ALL, by_split, split_of
from noprop_dist.errors import UserError
from noprop_dist.text import shown

if TYPE_CHECKING:
    import pyarrow.parquet as pq

ROWS = 2048  # rows read at a time
SUFFIXES = frozenset({".parquet", ".parq", ".pq"})
OWN = b"noprop-dist"  # in the metadata of what is written about data, and is none

Files = dict[str, list[Path]]


@dataclass(frozen=True)
class _Column:
    """The samples of a file: encoded images, or vectors of ``width`` floats."""

    name: str
    width: int | None = None

    def __str__(self) -> str:
        return self.name if self.width is None else f"{self.name} of width {self.width}"


def find_parquet(path: Path) -> Files | None:
    """The Parquet files of each split under ``path``, or None where there are none.

    They lie in the folder itself, in its ``data/``, in folders named after splits, or all in one
    folder inside it.

    Raises:
        UserError: names that contradict each other; see ``by_split``.
    """
    if path.is_file():
        return {split_of(path.stem) or ALL: [path]} if _is_parquet(path.name) else None
    if not path.is_dir():
        return None
    here, data = _parquet_in(path), _parquet_in(path / "data")
    inside = [Path(e.path) for e in visible(path, PassedOver()) if e.is_dir()]
    if here or data:
        for folder in inside:
            if (here or folder.name != "data") and _parquet_in(folder):
                raise UserError(
                    f"{path} holds Parquet files, and so does its {shown(folder.name)}/: give one "
                    "of the two."
                )
        _refuse_pictures(path, [folder for folder in inside if folder.name != "data"])
        at = {file.stem: file for file in here or data}
        return {s: [at[name] for name in names] for s, names in by_split(at, str(path)).items()}
    found = {folder.name: there for folder in inside if (there := _parquet_in(folder))}
    if not found:
        return find_parquet(inside[0]) if len(inside) == 1 else None
    _refuse_pictures(path, [folder for folder in inside if folder.name not in found])
    files: Files = {}
    for split, names in by_split(found, str(path)).items():
        if split == ALL and len(names) == 1:
            return find_parquet(path / names[0])
        if split == ALL or len(names) > 1:
            raise UserError(
                f"{path} holds Parquet files in {' and '.join(map(shown, names[:2]))}: give one of "
                f"these folders, or {ADVICE}."
            )
        files[split] = found[names[0]]
        for file in files[split]:
            if split_of(file.stem) not in (None, split):
                raise UserError(f"{file} is of two splits by its name and its folder's: {ADVICE}.")
    return files


def _refuse_pictures(path: Path, folders: Sequence[Path]) -> None:
    for folder in folders:
        if holds_pictures(folder):
            raise UserError(
                f"{path} holds Parquet files and the pictures of {shown(folder.name)}/: give the "
                "path of one of them."
            )


def _is_parquet(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES


def _parquet_in(folder: Path) -> list[Path]:
    """The Parquet files of a folder, without what ``noprop predict`` has written there."""
    if not folder.is_dir():
        return []
    files = (Path(e.path) for e in visible(folder, PassedOver()) if e.is_file())
    return [file for file in files if _is_parquet(file.name) and not _is_own(file)]


def _count_others(folder: Path, read: Collection[Path], passed_over: PassedOver) -> None:
    """Count what lies beside the files that are read, by its ending."""
    for entry in visible(folder, passed_over):
        if entry.is_file() and Path(entry.path) not in read:
            ending = Path(entry.name).suffix or "without an ending"
            passed_over["predictions" if _is_parquet(entry.name) else ending] += 1


def _is_own(path: Path) -> bool:
    import pyarrow as pa

    try:
        metadata = _open(path).schema_arrow.metadata or {}
    except (UserError, pa.ArrowException, OSError):
        return False  # what is wrong with it is told when it is read
    return OWN in metadata


def load_parquet(path: Path, files: Files, reading: Reading) -> Found:
    """Load the files of ``find_parquet``.

    Columns: ``label`` (integer) and either ``image`` (struct of encoded ``bytes`` and ``path``) or
    one fixed-size list of floats. Class names come from the schema metadata key ``huggingface``;
    files that order them differently are brought to the first one's order.

    Raises:
        UserError: not Parquet, damaged or without those columns; labels missing or out of range;
            files that differ in their class names.
    """
    import pyarrow as pa

    try:
        return _load(path, files, reading)
    except (pa.ArrowException, OSError) as error:  # damage that shows only when pages are read
        raise UserError(f"{path} cannot be read to its end ({error}): copy it again.") from error


def _load(path: Path, files: Files, reading: Reading) -> Found:
    opened = {p: _open(p) for paths in files.values() for p in paths}
    column = _sample_column(opened)
    names = _class_names(opened)
    by_file = {p: _labels(p, file) for p, file in opened.items()}
    known = next(iter(names.values()), None) or _numbers(files, by_file)
    for p, y in by_file.items():
        check_labels(y, len(known), str(p))
        if p in names:
            by_file[p] = order_of(names[p], known, str(p), str(next(iter(names))))[y]
    labels = {s: np.concatenate([by_file[p] for p in paths]) for s, paths in files.items()}
    account = Account(f"Parquet of {shown(path.name)}")
    account.places = {s: _place(paths, path) for s, paths in files.items()}
    for folder in {p.parent for p in opened if path.is_dir()}:
        _count_others(folder, opened, account.passed_over)
    if column.width is not None:
        splits = {
            s: Split.from_arrays(
                np.concatenate([_vectors(p, opened[p], column.name) for p in paths]), labels[s]
            )
            for s, paths in files.items()
        }
    else:
        count = sum(map(len, labels.values()))
        sources = [
            partial(_encoded_in, {p: opened[p] for p in paths}, column.name, by_file)
            for paths in files.values()
        ]
        key = files_key(map(str, opened), column.name, list(map(len, files.values())))
        decoded = decode_splits(sources, reading, account, count, key)
        splits = dict(zip(files, decoded, strict=True))
    return Found(
        name=path.stem,
        class_names=known,
        named=bool(names),
        splits=splits,
        photographs=column.width is None and next(iter(splits.values())).sample_shape[0] == 3,
        account=account,
    )


def _numbers(files: Files, labels: dict[Path, Rows]) -> tuple[str, ...]:
    """Names of classes that have none, as many as the training rows, else all, show."""
    y = np.concatenate([labels[p] for p in files.get("train", labels)])
    # No more classes than rows: a stray huge label is a mistake, not a billion classes.
    most = min(int(y.max(initial=0)), len(y))
    return tuple(str(k) for k in range(max(most, 1) + 1))


def _place(paths: Sequence[Path], root: Path) -> str:
    first, last = (
        shown(p.name if p == root else str(p.relative_to(root))) for p in (paths[0], paths[-1])
    )
    return first if len(paths) == 1 else f"{len(paths)} files, {first} to {last}"


def _open(path: Path) -> "pq.ParquetFile":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # pyarrow opens no file whose name is not UTF-8.
        named = shown(str(path)) == str(path)
        return pq.ParquetFile(path if named else pa.BufferReader(path.read_bytes()))
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} is not a readable Parquet file ({error}).") from error


def _sample_column(opened: "dict[Path, pq.ParquetFile]") -> _Column:
    """The sample column, alike in all files."""
    found = {path: _sample_column_of(path, file) for path, file in opened.items()}
    first, column = next(iter(found.items()))
    for other, kind in found.items():
        if kind != column:
            raise UserError(
                f"{first} has samples in {column}, {other} in {kind}: all files need the same "
                "column."
            )
    return column


def _sample_column_of(path: Path, file: "pq.ParquetFile") -> _Column:
    import pyarrow as pa

    schema = file.schema_arrow
    if "label" in schema.names:
        if "image" in schema.names:
            image = schema.field("image").type
            if pa.types.is_struct(image) and image.get_field_index("bytes") >= 0:
                return _Column("image")
        vectors = [
            _Column(name, kind.list_size)
            for name in schema.names
            if pa.types.is_fixed_size_list(kind := schema.field(name).type)
            and pa.types.is_floating(kind.value_type)
        ]
        if len(vectors) > 1:
            raise UserError(
                f"{path} has several columns of floats ({', '.join(map(str, vectors))}): keep the "
                "one to train on."
            )
        if vectors:
            return vectors[0]
    columns = ", ".join(f"{shown(f.name)} ({f.type})" for f in schema)
    raise UserError(
        f"{path} has the columns {columns}; expected are label (integer) and image (a struct with "
        "bytes), or label and a fixed-size list of floats: rename or convert them."
    )


def _class_names(opened: "dict[Path, pq.ParquetFile]") -> dict[Path, tuple[str, ...]]:
    """By file its class names; empty where no file has any.

    Raises:
        UserError: some files have them and some do not.
    """
    found = {path: _class_names_of(file) for path, file in opened.items()}
    with_names = {path: names for path, names in found.items() if names}
    if with_names and len(with_names) < len(found):
        without = next(path for path, names in found.items() if not names)
        raise UserError(
            f"{without} has no class names and {next(iter(with_names))} has some, so that nothing "
            "says whether their labels mean the same: write all files with them, or all without."
        )
    return with_names


def _class_names_of(file: "pq.ParquetFile") -> tuple[str, ...] | None:
    metadata = file.schema_arrow.metadata or {}
    raw = metadata.get(b"huggingface")
    if raw is None:
        return None
    try:
        names = json.loads(raw)["info"]["features"]["label"]["names"]
    except (ValueError, KeyError, TypeError):  # written by something else: names are a courtesy
        return None
    return tuple(map(str, names)) if names else None


def _labels(path: Path, file: "pq.ParquetFile") -> Rows:
    import pyarrow as pa

    column = file.read(columns=["label"]).column("label")
    if not pa.types.is_integer(column.type):
        raise UserError(
            f"{path} has labels of type {column.type}; they must be integers: write the number of "
            "each row's class, 0 to K - 1, as int64, and the names into the features of the "
            "Hugging Face layout."
        )
    if column.null_count:
        raise UserError(f"{path} has {column.null_count} rows without a label: fill or drop them.")
    labels: Rows = column.to_numpy().astype(np.int64)
    return labels


def _encoded_in(
    opened: "dict[Path, pq.ParquetFile]", column: str, labels: dict[Path, Rows]
) -> Iterator[Encoded]:
    for path, file in opened.items():
        yield from _encoded(path, file, column, labels[path])


def _encoded(path: Path, file: "pq.ParquetFile", column: str, y: Rows) -> Iterator[Encoded]:
    row = 0
    for batch in file.iter_batches(ROWS, columns=[column]):
        images = batch.column(0)
        paths = None
        if images.type.get_field_index("path") >= 0:
            paths = images.field("path")
        for i, data in enumerate(images.field("bytes").to_pylist()):
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


def _vectors(path: Path, file: "pq.ParquetFile", column: str) -> Array:
    parts = []
    for batch in file.iter_batches(ROWS, columns=[column]):
        chunk = batch.column(0)
        values = chunk.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
        if chunk.null_count or not np.isfinite(values).all():
            raise UserError(
                f"{path}: column {shown(column)} has missing or non-finite values: fill them, or "
                "drop these rows."
            )
        parts.append(values.reshape(len(chunk), -1))
    vectors: Array = np.concatenate(parts)
    return vectors
