"""The one exception a user is meant to read, and names as a user is shown them."""

import json
import re
from typing import Any

_LONE = re.compile(r"[\ud800-\udfff]")  # what is in a str and in no Unicode text


class UserError(ValueError):
    """Bad input or a bad surrounding: one sentence that says what is wrong and what would be right.

    Entry points print the message alone and exit with code 2; it never comes with a traceback.
    """

    def __str__(self) -> str:
        """The sentence on one line, whatever bytes a name in it holds."""
        return printable(super().__str__())


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
