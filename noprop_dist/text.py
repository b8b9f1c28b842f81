"""What people read: names as a terminal shows them, numbers with their units, tables."""

import json
import re
from collections.abc import Sequence
from typing import Any

SPLITS = {"train": "training", "val": "validation", "test": "test", "all": "all"}
_LONE = re.compile(r"[\ud800-\udfff]")  # what is in a str and in no Unicode text


def shown(text: str) -> str:
    r"""A name as valid Unicode: of a file's name, bytes that are no UTF-8 stand as ``\xe9``.

    Python keeps such bytes as lone surrogates, which open the file again and can be neither
    printed, drawn nor written. So options keep a path as it is, and people get it through here.
    """
    return _LONE.sub(_escape, text)


def _escape(lone: re.Match[str]) -> str:
    code = ord(lone[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def printable(text: str) -> str:
    """``shown``, for a terminal: what would steer it or break the line is written as its escape."""
    valid = shown(text)
    if valid.isprintable():
        return valid
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in valid)


def json_line(value: Any) -> str:
    """Plain values as one line of JSON for other programs, its text ``shown``."""
    return json.dumps(_shown_in(value))


def _shown_in(value: Any) -> Any:
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, dict):
        return {_shown_in(k): _shown_in(v) for k, v in value.items()}
    return [_shown_in(v) for v in value] if isinstance(value, list | tuple) else value


def shortened(name: str, most: int) -> str:
    """A name, printable, of at most ``most`` letters."""
    told = printable(name)
    return told if len(told) <= most else told[: most - 2] + ".."


def last_part(place: str) -> str:
    """The last part of a path, or of a URI without its query; all of it where it has none."""
    path = place.partition("?")[0] if "://" in place else place
    return path.rstrip("/").rsplit("/", 1)[-1] or place


def number(value: float | None, form: str) -> str:
    """A number in a format such as ``",.1f"``, or a dash."""
    return "-" if value is None else format(value, form)


def percent(fraction: float | None, form: str = ".2f", unit: str = " %") -> str:
    """A fraction as a percentage, or a dash."""
    return "-" if fraction is None else f"{100 * fraction:{form}}{unit}"


def how_many(count: int, thing: str) -> str:
    """So many of a thing whose plural ends in s."""
    return f"{count:,} {thing}{'s' * (count != 1)}"


def size(num_bytes: float) -> str:
    """Bytes in MiB, from one GiB on in GiB."""
    if num_bytes >= 2**30:
        return f"{num_bytes / 2**30:,.1f} GiB"
    return f"{num_bytes / 2**20:,.1f} MiB"


def describe_samples(shape: Sequence[int]) -> str:
    """What samples of shape (C, H, W) or (F,) are: "8x8 grey" or "vectors of 64"."""
    if len(shape) == 1:
        return f"vectors of {shape[0]}"
    return f"{shape[1]}x{shape[2]} {'grey' if shape[0] == 1 else 'colour'}"


def duration(seconds: float) -> str:
    """A time in the two units that matter."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} days {hours % 24} h"


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the head first, in Markdown: the first column to the left, others right."""
    head, *cells = rows
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of aligned columns, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def first_line(what: object) -> str:
    """The first line of a message, without its full stop."""
    return str(what).strip().partition("\n")[0].rstrip(". ")


def first_sentence(what: object) -> str:
    """The first sentence of a message's first line, without its full stop; at most 160 letters."""
    return shortened(re.split(r"\.\s+(?=[A-Z])", first_line(what))[0], 160)
