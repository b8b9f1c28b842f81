"""The one exception a user is meant to read."""

from collections.abc import Iterator
from contextlib import contextmanager

from noprop_dist.text import printable


class UserError(ValueError):
    """Bad input or a bad surrounding: one sentence that says what is wrong and what would be right.

    Entry points print the message alone and exit with code 2; it never comes with a traceback.
    """

    def __str__(self) -> str:
        """The sentence on one line, whatever bytes a name in it holds."""
        return printable(super().__str__())


@contextmanager
def needing_ray(sentence: str) -> Iterator[None]:
    """What needs Ray is imported inside.

    Raises:
        UserError: the sentence, where Ray is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise UserError(sentence) from error
