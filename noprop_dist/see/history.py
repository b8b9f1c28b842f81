"""The training history as a file, read with an open mind: written by hand or by another version."""

import json
import math
from dataclasses import fields
from typing import Any

from noprop_dist.errors import UserError
from noprop_dist.record.history import BlockEpoch, History

MOST_BLOCKS = 10_000
LISTS = [f.name for f in fields(History) if f.name != "blocks"]


def read_history(data: bytes, where: str) -> History:
    """The lists that ``data`` holds; what is missing stays empty, what is unknown is passed over.

    Args:
        data: JSON. Numbers are lists by epoch; null, and a number that is not finite, is a gap.
        where: what to call it.

    Returns:
        Its lists, with NaN for gaps.

    Raises:
        UserError: it is damaged.
    """
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is not what a run writes: it is no JSON ({error}).") from error
    if not isinstance(values, dict):
        raise _foreign(where, "it must hold one object of lists by epoch, such as lr_history")
    history = History()
    for name in LISTS:
        setattr(history, name, _numbers(values.get(name), name, where))
    blocks = values.get("blocks") or {}
    if not isinstance(blocks, dict):
        raise _foreign(where, "its blocks must be an object of blocks by number")
    for t, lists in blocks.items():
        if not isinstance(lists, dict):
            raise _foreign(where, f"its block {t} must be an object of lists by epoch")
        if t.isdecimal():
            if not 1 <= int(t) <= MOST_BLOCKS:
                raise _foreign(where, f"its blocks are numbered 1 to {MOST_BLOCKS}, and one is {t}")
            history.blocks[str(int(t))] = {
                name: _numbers(lists.get(name), name, where) for name in BlockEpoch._fields
            }
    return history


def _numbers(values: Any, name: str, where: str) -> list[float]:
    if values is None:
        return []
    if not isinstance(values, list):
        raise _foreign(where, f"its {name} must be a list of numbers or null by epoch")
    for value in values:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise _foreign(where, f"its {name} holds {str(value)[:40]!r}, which is no number")
    return [_finite(value) for value in values]


def _finite(value: float | None) -> float:
    try:
        return float(value) if value is not None and math.isfinite(value) else math.nan
    except OverflowError:  # a whole number beyond any float
        return math.nan


def _foreign(where: str, what: str) -> UserError:
    return UserError(f"{where} is not what a run writes: {what}.")
