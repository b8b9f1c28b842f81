"""Labels as a source has them, integers or text, and the one numbering that training needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from noprop_dist.data.dataset import check_labels, order_of
from noprop_dist.data.shards import Rows
from noprop_dist.errors import UserError
from noprop_dist.text import shown


@dataclass(frozen=True)
class Labels:
    """The labels of some rows.

    Attributes:
        y: int64 (n,).
        names: K names by label, or None; of text, those that occur.
        are_text: the labels are names themselves, so that nothing tells of a class without rows.
    """

    y: Rows
    names: tuple[str, ...] | None = None
    are_text: bool = False


@dataclass(frozen=True)
class Classes:
    """The classes of a source.

    Attributes:
        names: K names, by label.
        named: whether the source has names; else they are numbers.
        order: by where labels stand, the label here of every label there.
    """

    names: tuple[str, ...]
    named: bool
    order: dict[str, Rows]


def match_classes(found: Mapping[str, Labels], train: Sequence[str]) -> Classes:
    """One numbering of classes for labels that stand in several places.

    Text is numbered in the order of its letters. Integers that have names are brought to the order
    of the first place; without names they are taken as they are.

    Args:
        found: the labels by where they stand, for messages.
        train: where those of training rows stand.

    Raises:
        UserError: text and integers; integers with names and without; names that do not match;
            labels outside 0..K-1; text that no training row has.
    """
    text = [where for where, labels in found.items() if labels.are_text]
    if text and len(text) < len(found):
        other = next(where for where, labels in found.items() if not labels.are_text)
        raise UserError(
            f"the labels of {text[0]} are text and those of {other} are integers: write all alike."
        )
    if text:
        known = _of_training(found, train)
        at = {name: k for k, name in enumerate(known)}
        order = {
            where: np.array([at[name] for name in labels.names or ()], dtype=np.int64)
            for where, labels in found.items()
        }
        return Classes(known, True, order)
    names = {where: labels.names for where, labels in found.items() if labels.names}
    if names and len(names) < len(found):
        without = next(where for where, labels in found.items() if not labels.names)
        raise UserError(
            f"{without} has no class names and {next(iter(names))} has some, so that nothing says "
            "whether their labels mean the same: write all with them, or all without."
        )
    first = next(iter(names), None)
    known = names[first] if first else _numbers([found[where].y for where in train])
    order = {}
    for where, labels in found.items():
        check_labels(labels.y, len(known), where)
        order[where] = (
            order_of(names[where], known, where, first) if first else np.arange(len(known))
        )
    return Classes(known, bool(names), order)


def _of_training(found: Mapping[str, Labels], train: Sequence[str]) -> tuple[str, ...]:
    known = {name for where in train for name in found[where].names or ()}
    for where, labels in found.items():
        if strange := [name for name in labels.names or () if name not in known]:
            raise UserError(
                f"{where} has the label '{shown(strange[0])}', which no training row has: add such "
                "rows, or leave these out."
            )
    return tuple(sorted(known))


def _numbers(labels: Sequence[Rows]) -> tuple[str, ...]:
    """Names of classes that have none, as many as the training rows show."""
    y = np.concatenate(labels)
    # No more classes than rows: a stray huge label is a mistake, not a billion classes.
    most = min(int(y.max(initial=0)), len(y))
    return tuple(str(k) for k in range(max(most, 1) + 1))
