"""Standard output and standard error of a command, also where they cannot be written."""

import codecs
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from noprop_dist.text import shown

SHOWN = "shown"  # the error handler for characters that an encoding lacks


class OutputError(Exception):
    """Standard output cannot be written; the message says why.

    No ``OSError``: libraries would take it for one of their own files.

    Attributes:
        closed: whether whoever reads it has closed it.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror)
        self.closed = error.errno == errno.EPIPE


@contextmanager
def standard_streams() -> Iterator[None]:
    """Streams that a command can print to, whatever becomes of them.

    Characters that their encoding lacks are written as escapes. One that is closed from the start
    is taken for ``/dev/null``. What standard error does not take is lost: it holds what may be
    missed. Streams that somebody else has put in their place, as a notebook does, stay.

    Raises:
        OutputError: the first time that standard output cannot be written.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    before = sys.stdout, sys.stderr
    if sys.stdout is sys.__stdout__:
        sys.stdout = _open(1, sys.__stdout__, tell=True)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _open(2, sys.__stderr__, tell=False)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _open(number: int, before: Any, *, tell: bool) -> io.TextIOWrapper:
    """A stream like the one before it, which is None where it was closed."""
    file = _File(number, tell=tell)
    unbuffered = isinstance(getattr(before, "buffer", None), io.RawIOBase)  # python -u
    return io.TextIOWrapper(
        file if unbuffered else io.BufferedWriter(file),
        encoding=getattr(before, "encoding", "utf-8"),
        errors=SHOWN,
        line_buffering=getattr(before, "line_buffering", False),
        write_through=unbuffered,
    )


def _encode(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = shown(error.object[error.start : error.end])
    return lacking.encode(error.encoding, "backslashreplace").decode(error.encoding), error.end


codecs.register_error(SHOWN, _encode)


class _File(io.FileIO):
    """Drops what cannot be written; ``tell``: raises ``OutputError`` for it once.

    Once only, or Python would find what is left in a buffer at its exit, and say so.
    """

    def __init__(self, number: int, *, tell: bool) -> None:
        super().__init__(number, "w", closefd=False)
        self._tell = tell

    def write(self, data: Any, /) -> int:
        try:
            while (
                written := super().write(data)
            ) is None:  # it does not block, and is full for now
                select.select([], [self], [])
            return written
        except OSError as error:
            tell, self._tell = self._tell, False
            if tell:
                raise OutputError(error) from error
            return len(data)
