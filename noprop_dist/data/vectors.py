"""Parquet: vectors, as lists of floats of any width; F numbers in each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from noprop_dist.data.columns import SAMPLES, samples_of
from noprop_dist.data.parquet_files import damaged, open_parquet
from noprop_dist.data.shards import Array
from noprop_dist.errors import UserError
from noprop_dist.text import shown

if TYPE_CHECKING:
    import pyarrow.parquet as pq

ROWS = 2048  # rows read at a time


def vectors_of(opened: "dict[Path, pq.ParquetFile]", column: str) -> dict[Path, Array]:
    """By file its vectors, float32 (n, F) with one F for all."""
    found = {path: _all_of(path, file, column) for path, file in opened.items()}
    first, vectors = next(iter(found.items()))
    for other, there in found.items():
        if there.shape[1] != vectors.shape[1]:
            raise UserError(
                f"{first} has samples in {shown(column)} of width {vectors.shape[1]}, {other} in "
                f"{shown(column)} of width {there.shape[1]}: all files need the same width."
            )
    return found


def _all_of(path: Path, file: "pq.ParquetFile", column: str) -> Array:
    parts = list(_parts_of(path, file, column))
    return np.concatenate(parts) if parts else np.zeros((0, 1), np.float32)


def _parts_of(path: Path, file: "pq.ParquetFile", column: str) -> Iterator[Array]:
    """Its vectors some rows at a time, float32 (n, F) with one F for all."""
    import pyarrow.compute as pc

    width: set[int] = set()
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
        width |= set(pc.list_value_length(chunk).to_pylist())
        if len(width) > 1:
            raise UserError(
                f"{path}: column {shown(column)} has lists of {min(width)} to {max(width)} "
                "numbers: make all alike."
            )
        if len(chunk):
            yield values.reshape(len(chunk), -1)


@dataclass(frozen=True)
class VectorRow:
    """A row of a Parquet file.

    Attributes:
        path: the file.
        row: its number, from 0.
        values: float32 (F,).
    """

    path: str
    row: int
    values: Array


def vector_rows(
    paths: Sequence[str], width: int, column: str | None
) -> tuple[int, Iterator[VectorRow]]:
    """How many vectors some files hold, and these in order; all files are checked before.

    Args:
        paths: Parquet files.
        width: F.
        column: of the vectors; None: found as training finds it.

    Raises:
        UserError: no Parquet or damaged, no such column, values that are missing or not finite, or
            vectors of another width.
    """
    opened = {path: open_parquet(Path(path)) for path in paths}
    columns = {path: _column_of(path, file, width, column) for path, file in opened.items()}

    def rows() -> Iterator[VectorRow]:
        for path in paths:
            parts = _parts_of(Path(path), opened[path], columns[path])
            yield from (VectorRow(path, i, x) for i, x in enumerate(chain.from_iterable(parts)))

    return sum(opened[path].metadata.num_rows for path in paths), rows()


def _column_of(path: str, file: "pq.ParquetFile", width: int, asked: str | None) -> str:
    """The column of vectors of a file, which is read to its end."""
    import pyarrow as pa

    column, encoded = samples_of(Path(path), file, asked)
    if encoded:
        raise UserError(
            f"{path} holds images in {shown(column)}, and vectors are needed: name their column "
            f"with {SAMPLES.flag}, or give the pictures as files."
        )
    try:
        for part in _parts_of(Path(path), file, column):
            if part.shape[1] != width:
                raise UserError(
                    f"{path}: column {shown(column)} has vectors of {part.shape[1]} numbers, and "
                    f"the network takes {width}: give vectors of what it was trained on."
                )
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from error
    return column
