"""Which columns of a table hold its samples and its labels."""

from collections.abc import Collection
from dataclasses import dataclass

from noprop_dist.errors import UserError


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
        f"{', '.join(wanted.usual)} or as {wanted.flag} says."
    )
