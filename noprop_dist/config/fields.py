"""Fields of options: what is told of each where it stands, and checked from there.

A field knows its default, its help line, its bounds and its traits; nothing lists names elsewhere.
"""

import difflib
import math
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import Flag, auto
from typing import Any, Literal, get_args, get_origin, get_type_hints

from noprop_dist.errors import UserError


class Trait(Flag):
    """What else may be said of an option."""

    NONE = 0
    FREE = auto()
    """It changes no weight: a run may be gone on with after changing it."""
    OF_ALL_TRIALS = auto()
    """It is the same for every trial of a sweep, which could not be compared else."""
    OF_A_BLOCK = auto()
    """A block can have a value of its own."""
    ONE_SIDED = auto()
    """It does not mean the same to every method of a comparison."""
    LOCAL = auto()
    """A file of this machine, no URI."""


BRIEF = reprlib.Repr()
BRIEF.maxstring = BRIEF.maxother = 80


@dataclass(frozen=True)
class Bounds:
    """What a finite number may be.

    Attributes:
        least: this or more.
        most: this or less.
        above: more than this.
        below: less than this.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def hold(self, value: float) -> bool:
        """Whether ``value`` may be."""
        return (
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """After "must be"."""
        words = ("at least", "above", "at most", "below")
        limits = (self.least, self.above, self.most, self.below)
        told = [
            f"{word} {limit}"
            for word, limit in zip(words, limits, strict=True)
            if limit is not None
        ]
        return " and ".join(told)


POSITIVE = Bounds(above=0)


@dataclass(frozen=True)
class Former:
    """What an option was called before.

    Attributes:
        name: that name.
        means: from a value of then to the one of now.
        is_switch: whether it was one, ``--name`` alone, and its values mean something else now.
    """

    name: str
    means: Callable[[Any], Any] = lambda value: value
    is_switch: bool = False


def at_least(least: float) -> Bounds:
    """Bounds of a number that may be large."""
    return Bounds(least=least)


def option(
    default: Any,
    group: str,
    text: str,
    bounds: Bounds | None = None,
    traits: Trait = Trait.NONE,
    formerly: Former | str | None = None,
    unset: str | None = None,
) -> Any:
    """A field of options: its default, its group in ``--help`` and its line there.

    ``formerly`` is the name it had before, which is still understood, and ``unset`` the word that
    stands for None on the command line and in YAML.
    """
    former = Former(formerly) if isinstance(formerly, str) else formerly
    told = {"group": group, "help": text, "bounds": bounds or Bounds(), "traits": traits}
    return field(default=default, metadata=told | {"formerly": former, "unset": unset})


def argument(name: str, text: str, default: Any = MISSING) -> Any:
    """A field told by its place: its name and line in ``--help``; it must be given, or defaults."""
    told: dict[str, Any] = {"group": "arguments", "help": text, "name": name, "bounds": Bounds()}
    told |= {"traits": Trait.NONE, "formerly": None}
    return field(default=default, metadata=told)


def flag(name: str) -> str:
    """The command-line spelling of a field."""
    return "--" + name.replace("_", "-")


def as_flag(name: str, value: Any) -> list[str]:
    """A field with its value as the command line has them: a switch, or a flag and the value."""
    if isinstance(value, bool):
        return [flag(name if value else f"no_{name}")]
    return [flag(name), str(value)]


def with_trait(cls: type[Any], trait: Trait) -> frozenset[str]:
    """Names of the fields that have a trait."""
    return frozenset(f.name for f in fields(cls) if trait in f.metadata["traits"])


class Checked:
    """Options whose values are checked against what is told of their fields."""

    def __post_init__(self) -> None:
        """Check every value by itself.

        Raises:
            UserError: a number is out of bounds, a text is empty, or a URI stands for a local file.
        """
        for f in fields(self):  # type: ignore[arg-type]  # of a dataclass
            value, bounds = getattr(self, f.name), f.metadata["bounds"]
            called = f.metadata.get("name") or flag(f.name)
            if isinstance(value, str) and not value:
                raise UserError(f"{called} must not be empty: give a value or leave it out.")
            if Trait.LOCAL in f.metadata["traits"] and "://" in str(value):
                raise UserError(f"{called} {value} must be a file on this machine.")
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if number and not math.isfinite(value):
                raise UserError(f"{called} must be a finite number, got {value}.")
            if number and not bounds.hold(value):
                raise UserError(f"{called} must be {bounds}, got {value}.")


def check_types(cls: type[Any], values: Mapping[str, Any], source: str = "") -> None:
    """Look at names and types: values of a YAML file or of Python code, which no parser has seen.

    Args:
        cls: the dataclass of options.
        values: by field name.
        source: where they stand, for error messages.

    Raises:
        UserError: an unknown field, or a value of another type than its field's.
    """
    hints = get_type_hints(cls)
    where = f"{source}: " if source else ""
    for name, value in values.items():
        if name not in hints:
            near = difflib.get_close_matches(name, hints, n=1)
            known = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(hints))}."
            raise UserError(f"{where}the field '{name}' is unknown; {known}")
        hint = hints[name]
        choices = get_args(hint) if get_origin(hint) is Literal else ()
        if choices and value not in choices:
            known = ", ".join(map(str, choices))
            raise UserError(f"{where}{flag(name)} must be one of {known}, got {_brief(value)}.")
        kinds = () if choices else get_args(hint) or (hint,)
        allowed = kinds + ((int,) if float in kinds else ())
        if kinds and type(value) not in allowed:
            right = " or ".join("left out" if k is type(None) else k.__name__ for k in kinds)
            is_text = source and str in kinds and not isinstance(value, (list, dict))
            mend = ": put quotes around it" if is_text else ""
            raise UserError(f"{where}{flag(name)} must be {right}, got {_brief(value)}{mend}.")


def _brief(value: object) -> str:
    """Enough of a value to know it by: an array is not printed whole."""
    return " ".join(BRIEF.repr(value).split())
