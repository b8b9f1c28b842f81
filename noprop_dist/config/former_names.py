"""Names that options had before: still understood wherever an option is named."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from functools import wraps
from typing import Any, TypeVar

from noprop_dist.config.fields import Former, flag
from noprop_dist.errors import UserError

Options = TypeVar("Options")


def formers(cls: type[Any]) -> dict[str, tuple["Field[Any]", Former]]:
    """By former name, the field of today and what is told of that name."""
    return {former.name: (f, former) for f in fields(cls) if (former := f.metadata["formerly"])}


def by_new_names(cls: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of options by the names of today.

    Args:
        cls: the dataclass of options.
        values: by names of today or before; others are kept as they are.

    Raises:
        UserError: an option is given by both of its names, and they do not say the same.
    """
    found = dict(values)
    for name, (f, former) in formers(cls).items():
        if name not in found:
            continue
        meant = former.means(found.pop(name))
        given = found.get(f.name, f.default)
        if given == f.default:
            found[f.name] = meant
        elif meant not in (given, f.default):
            raise UserError(
                f"{flag(name)} contradicts {flag(f.name)} {given}: leave one of them out."
            )
    return found


def told(cls: type[Any], values: Mapping[str, Any]) -> list[str]:
    """Of the former names among ``values``, what each is called now."""
    return [
        f"{name}: {values[name]} is now {f.name}: {former.means(values[name])}"
        if former.is_switch
        else f"{name} is now {f.name}"
        for name, (f, former) in formers(cls).items()
        if name in values
    ]


def told_as_flags(cls: type[Any], values: Mapping[str, Any]) -> list[str]:
    """The same as flags."""
    return [
        f"{flag(name)} is now {flag(f.name)}{f' {former.means(values[name])}' * former.is_switch}"
        for name, (f, former) in formers(cls).items()
        if name in values
    ]


def takes_former_names(cls: type[Options]) -> type[Options]:
    """A class of options whose constructor takes former names, with a DeprecationWarning."""
    made: Callable[..., None] = cls.__init__

    @wraps(made)
    def init(self: Options, **values: Any) -> None:
        if names := "; ".join(told(cls, values)):
            warnings.warn(f"{cls.__name__}: {names}", DeprecationWarning, stacklevel=2)
        made(self, **by_new_names(cls, values))

    cls.__init__ = init  # type: ignore[assignment]  # of the same signature, and more
    return cls
