"""Which columns of a table hold its samples and its labels."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from noprop_dist.errors import UserError
from noprop_dist.text import shown

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


@dataclass(frozen=True)
class Wanted:
    """A column that training needs.

    Attributes:
        flag: the option that names it.
        usual: names by which it is found, the first before the others.
        holds: what it holds, in words.
    """

    flag: str
    usual: tuple[str, ...]
    holds: str


SAMPLES = Wanted("--image-column", ("image", "img", "pixel_values"), "images or lists of floats")
LABELS = Wanted(
    "--label-column",
    ("label", "labels", "fine_label", "coarse_label", "target"),
    "integers or text",
)


def usual_column(wanted: Wanted, asked: str | None, fit: Collection[str]) -> str | None:
    """The column that was asked for, else the first of a usual name; None where it is not there.

    Args:
        wanted: what it is for.
        asked: its name, or None.
        fit: names of the columns that could be it.
    """
    names = wanted.usual if asked is None else (asked,)
    return next((name for name in names if name in fit), None)


def no_column(wanted: Wanted, asked: str | None, where: str, there: str) -> UserError:
    """What to say where ``usual_column`` finds nothing.

    Args:
        wanted: what it is for.
        asked: its name, or None.
        where: it was looked for.
        there: the columns that there are, with their types.
    """
    if asked is not None:
        return UserError(
            f"{wanted.flag} {asked} does not fit: {where} has the columns {there}; name one that "
            f"holds {wanted.holds}."
        )
    return UserError(
        f"{where} has the columns {there}; expected is one that holds {wanted.holds}, called "
        f"{', '.join(wanted.usual)} or as {wanted.flag} says; see docs/data.md."
    )


def types_of(file: "pq.ParquetFile") -> str:
    """The columns of a file with their types, in words."""
    return ", ".join(f"{shown(field.name)} ({field.type})" for field in file.schema_arrow)


def samples_of(path: Path, file: "pq.ParquetFile", asked: str | None) -> tuple[str, bool]:
    """The column of samples of a Parquet file, and whether they are encoded images.

    Args:
        path: what to call it.
        file: the file.
        asked: the column's name; None: one of a usual name, else the only one that fits.

    Raises:
        UserError: there is none, or several may be meant.
    """
    import pyarrow as pa

    kinds = {field.name: plain_type(field.type) for field in file.schema_arrow}
    encoded = [name for name, kind in kinds.items() if _holds_images(kind)]
    lists = [
        name
        for name, kind in kinds.items()
        if (pa.types.is_list(kind) or pa.types.is_large_list(kind))
        or pa.types.is_fixed_size_list(kind)
        if pa.types.is_floating(kind.value_type)
    ]
    samples = usual_column(SAMPLES, asked, [*encoded, *lists])
    if samples is None and asked is None:
        if len(encoded) + len(lists) > 1:
            names = ", ".join(map(shown, [*encoded, *lists]))
            raise UserError(
                f"{path} has several columns that may be samples ({names}): name one with "
                f"{SAMPLES.flag}; see docs/data.md."
            )
        samples = next(iter([*encoded, *lists]), None)  # whatever it is called
    if samples is None:
        raise no_column(SAMPLES, asked, str(path), types_of(file))
    return samples, samples in encoded


def plain_type(kind: "pa.DataType") -> "pa.DataType":
    """Of a dictionary-encoded column, what it holds."""
    import pyarrow as pa

    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _holds_images(kind: "pa.DataType") -> bool:
    """Whether it is the hub's struct with the images' ``bytes``, or bytes alone."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def holds_labels(kind: "pa.DataType") -> bool:
    """Whether it is integers, truth values or text."""
    import pyarrow as pa

    return is_text(kind) or bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def is_text(kind: "pa.DataType") -> bool:
    """Whether it is text."""
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
