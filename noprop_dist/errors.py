"""The one exception a user is meant to read, and how a name is shown in it."""

import os


class UserError(ValueError):
    """Bad input or a bad surrounding: one sentence that says what is wrong and what would be right.

    Entry points print the message alone and exit with code 2; it never comes with a traceback.
    """


def shown(name: str) -> str:
    """A file's name as valid Unicode; bytes of it that are no UTF-8 are written as their escape."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
