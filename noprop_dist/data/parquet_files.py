"""Which Parquet files there are under a path, by split."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from noprop_dist.data.account import PassedOver
from noprop_dist.data.pictures import holds_pictures, visible
from noprop_dist.data.split_names import ADVICE, ALL, by_split, split_of
from noprop_dist.errors import UserError
from noprop_dist.text import shown

if TYPE_CHECKING:
    import pyarrow.parquet as pq

SUFFIXES = frozenset({".parquet", ".parq", ".pq"})
OWN = b"noprop-dist"  # in the metadata of what is written about data, and is none

Files = dict[str, list[Path]]


def table_bytes(columns: Mapping[str, npt.NDArray[Any]], metadata: Mapping[bytes, bytes]) -> bytes:
    """A Parquet file with this metadata in its schema.

    Args:
        columns: by name, numbers (N,), or (N, F), whose rows become lists of F.
        metadata: of the schema.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    made = {}
    for name, column in columns.items():
        # Of buffers: pa.array would import pandas, which takes half a second, to ask it.
        numbers = np.ascontiguousarray(column)
        kind = pa.from_numpy_dtype(numbers.dtype)
        flat = pa.Array.from_buffers(kind, numbers.size, [None, pa.py_buffer(numbers)])
        lists = numbers.ndim == 2
        made[name] = pa.FixedSizeListArray.from_arrays(flat, numbers.shape[1]) if lists else flat
    out = pa.BufferOutputStream()
    pq.write_table(pa.table(made).replace_schema_metadata(metadata), out)
    written: bytes = out.getvalue().to_pybytes()
    return written


def find_parquet(path: Path) -> Files | None:
    """The Parquet files of each split under ``path``, or None where there are none.

    They lie in the folder itself, in its ``data/``, in folders named after splits, or all in one
    folder inside it.

    Raises:
        UserError: names that contradict each other; see ``by_split``.
    """
    if path.is_file():
        return {split_of(path.stem) or ALL: [path]} if is_parquet(path.name) else None
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


def is_parquet(name: str) -> bool:
    """Whether a file is called as Parquet files are."""
    return Path(name).suffix.lower() in SUFFIXES


def _parquet_in(folder: Path) -> list[Path]:
    """The Parquet files of a folder, without what ``noprop predict`` has written there."""
    if not folder.is_dir():
        return []
    files = (Path(e.path) for e in visible(folder, PassedOver()) if e.is_file())
    return [file for file in files if is_parquet(file.name) and not _is_own(file)]


def count_others(folder: Path, read: Collection[Path], passed_over: PassedOver) -> None:
    """Count what lies beside the files that are read, by its ending."""
    for entry in visible(folder, passed_over):
        if entry.is_file() and Path(entry.path) not in read:
            ending = Path(entry.name).suffix or "without an ending"
            passed_over["predictions" if is_parquet(entry.name) else ending] += 1


def count_missing(files: Iterable[Path]) -> int:
    """How many shards there should be beside these, by names such as train-00000-of-00002."""
    series = defaultdict(set)
    for file in files:
        if numbered := re.fullmatch(r"(.*)-(\d+)-of-(\d+)", file.stem):
            series[file.parent, numbered[1], int(numbered[3])].add(int(numbered[2]))
    return sum(max(0, of - len(there)) for (_, _, of), there in series.items())


def _is_own(path: Path) -> bool:
    import pyarrow as pa

    try:
        metadata = open_parquet(path).schema_arrow.metadata or {}
    except (UserError, pa.ArrowException, OSError):
        return False  # what is wrong with it is told when it is read
    return OWN in metadata


def open_parquet(path: Path) -> "pq.ParquetFile":
    """A Parquet file, of which nothing but its schema has been read.

    Raises:
        UserError: it is none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # pyarrow opens no file whose name is not UTF-8.
        named = shown(str(path)) == str(path)
        return pq.ParquetFile(path if named else pa.BufferReader(path.read_bytes()))
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} is not a readable Parquet file ({error}).") from error


def damaged(path: Path | str, error: Exception) -> UserError:
    """What is said of a Parquet file whose pages cannot be read."""
    return UserError(f"{path} cannot be read to its end ({error}): copy it again.")
