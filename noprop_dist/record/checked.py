"""JSON files of a run folder read back as the dataclasses they were, every type checked."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from noprop_dist.errors import UserError
from noprop_dist.record.store import Store

T = TypeVar("T")
REMEDIES = {
    "result.json": "delete it, and the same command makes it again from the last checkpoint",
}


def read_json(store: Store, path: str) -> dict[str, Any] | None:
    """A JSON object of a run folder, or None where the file is missing.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    try:
        values = json.loads(store.read(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise foreign(store, path, error) from error
    if not isinstance(values, dict):
        raise foreign(store, path, "no JSON object")
    return values


def as_written(kind: type[T], values: Mapping[str, Any], store: Store, path: str) -> T:
    """A dataclass from what its ``asdict`` left in a file; fields that are unknown are passed over.

    Args:
        kind: the dataclass, of plain values and other dataclasses.
        values: what the file holds.
        store: the run folder.
        path: the file, for messages.

    Raises:
        UserError: a field is missing, or of another type.
    """
    try:
        made: T = _build(kind, values, "")
    except TypeError as error:
        raise foreign(store, path, error) from error
    return made


def foreign(store: Store, path: str, reason: object) -> UserError:
    """What is said of a file that no run of this version has written."""
    why = " ".join(str(reason).split())
    remedy = REMEDIES.get(path, "restore it, or use the version that wrote it")
    return UserError(f"{store.root}/{path} is not what a run writes ({why}): {remedy}.")


def _build(hint: Any, value: Any, where: str) -> Any:
    """``value`` as what ``hint`` says; TypeError names the place of what does not fit."""
    if hint is Any:
        return value
    if get_origin(hint) in (Union, UnionType):
        kinds = get_args(hint)
        if value is None and type(None) in kinds:
            return None
        hint = next(kind for kind in kinds if kind is not type(None))
    if is_dataclass(hint) and isinstance(value, dict):
        hints = get_type_hints(hint)
        known = {f.name: value[f.name] for f in fields(hint) if f.name in value}
        for f in fields(hint):
            if f.name not in value and f.default is MISSING and f.default_factory is MISSING:
                raise TypeError(f"it lacks {_under(where, f.name)}")
        built = {name: _build(hints[name], v, _under(where, name)) for name, v in known.items()}
        return hint(**built)  # type: ignore[operator]  # a class, as instances are no hints
    if get_origin(hint) is dict and isinstance(value, dict):
        inner = get_args(hint)[1]
        return {name: _build(inner, v, _under(where, name)) for name, v in value.items()}
    if get_origin(hint) is list and isinstance(value, list):
        (inner,) = get_args(hint)
        return [_build(inner, v, where) for v in value]
    plain = (int, float) if hint is float else hint
    if isinstance(plain, type | tuple) and isinstance(value, plain) and not isinstance(value, bool):
        return value
    raise TypeError(f"{where or 'it'} is not of its type")


def _under(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
