"""The one exception a user is meant to read."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from noprop_dist.text import printable


class UserError(ValueError):
    """Bad input or a bad surrounding: one sentence that says what is wrong and what would be right.

    Entry points print the message alone and exit with code 2; it never comes with a traceback.
    """

    def __str__(self) -> str:
        """The sentence on one line, whatever bytes a name in it holds."""
        return printable(super().__str__())


@contextmanager
def reading(name: object) -> Iterator[None]:
    """What is called ``name`` is read inside.

    Raises:
        UserError: it cannot be read, and why.
    """
    try:
        yield
    except OSError as error:
        raise UserError(f"{name} cannot be read ({error.strerror or error}).") from error


@contextmanager
def needing(package: str, sentence: str) -> Iterator[None]:
    """What needs a package is imported inside.

    Raises:
        UserError: the sentence, where the package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise UserError(sentence) from error


def needing_ray(sentence: str) -> AbstractContextManager[None]:
    """``needing`` Ray."""
    return needing("ray", sentence)
