"""The one way back from a folder's files: each read as what it was, every type checked."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from noprop_dist.errors import UserError, reading
from noprop_dist.record.store import Store, above
from noprop_dist.run_files import CHECKPOINTS, CONFIG, MODEL, SWEEP, holds_run

if TYPE_CHECKING:
    from torch import Tensor

SUFFIX = ".safetensors"
T = TypeVar("T")


@dataclass(frozen=True)
class Reader:
    """Reads the files that a run keeps in its folder; a missing one is None.

    Attributes:
        store: the folder.
        writer: whose files they are, for messages.
        remedy: what is to be done about a file that nothing of ours has written.
    """

    store: Store
    writer: str = "a run"
    remedy: str = "restore it, or use the version that wrote it"

    def read(self, path: str) -> bytes | None:
        """A file's bytes.

        Raises:
            UserError: it cannot be read.
        """
        with reading(f"{self.store.root}/{path}"), suppress(FileNotFoundError, NotADirectoryError):
            return self.store.read(path)
        return None

    def json(self, path: str, kind: type[Any] = dict) -> Any | None:
        """What a JSON file holds, an object unless another ``kind`` is asked for.

        Raises:
            UserError: it cannot be read, or holds something else.
        """
        data = self.read(path)
        if data is None:
            return None
        try:
            values = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise self.foreign(path, f"it is no JSON: {error}") from error
        if not isinstance(values, kind):
            raise self.foreign(path, f"no JSON {'object' if kind is dict else kind.__name__}")
        return values

    def typed(self, path: str, kind: type[T], more: Mapping[str, Any] | None = None) -> T | None:
        """A dataclass from what its ``asdict`` left in a file; unknown fields are passed over.

        Args:
            path: the file.
            kind: the dataclass, of plain values and other dataclasses.
            more: fields that the file does not hold.

        Raises:
            UserError: the file cannot be read, or a field is missing or of another type.
        """
        values = self.json(path)
        if values is None:
            return None
        try:
            made: T = built(kind, values | dict(more or {}))
        except (TypeError, ValueError) as error:
            raise self.foreign(path, error) from error
        return made

    def tensors(self, path: str) -> "dict[str, Tensor] | None":
        """What a safetensors file holds.

        Raises:
            UserError: it cannot be read, or is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        data = self.read(path)
        try:
            return None if data is None else load(data)
        except SafetensorError as error:
            raise self.foreign(path, f"it is damaged: {error}") from error

    def foreign(self, path: str, reason: object) -> UserError:
        """What is said of a file that nothing of ours has written."""
        why = " ".join(str(reason).split())
        return UserError(
            f"{self.store.root}/{path} is not what {self.writer} writes ({why}): {self.remedy}."
        )


def built(hint: Any, value: Any, where: str = "") -> Any:
    """``value`` as what ``hint`` says.

    Args:
        hint: a dataclass, or a type of plain values.
        value: what its ``asdict`` made, through JSON.
        where: it stands, for messages.

    Raises:
        TypeError: names the place of what does not fit; ValueError alike.
    """
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
        made = {name: built(hints[name], v, _under(where, name)) for name, v in known.items()}
        return hint(**made)  # type: ignore[operator]  # a class, as instances are no hints
    if get_origin(hint) is dict and isinstance(value, dict):
        of_keys, inner = get_args(hint)
        return {
            int(name) if of_keys is int else name: built(inner, v, _under(where, name))
            for name, v in value.items()
        }
    if get_origin(hint) is list and isinstance(value, list):
        (inner,) = get_args(hint)
        return [built(inner, v, where) for v in value]
    plain = (int, float) if hint is float else hint
    if isinstance(plain, type | tuple) and isinstance(value, plain) and not isinstance(value, bool):
        return value
    raise TypeError(f"{where or 'it'} is not of its type")


def _under(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def names_in_run(store: Store) -> list[str]:
    """What lies in a run folder.

    Raises:
        OSError: it cannot be read.
        UserError: it holds no run.
    """
    names, root = store.list(""), store.root
    if SWEEP in names:
        raise UserError(
            f"{root} holds a sweep, which has pictures of its own: give one of its runs, a folder "
            f"in {root.rstrip('/')}/trials."
        )
    if holds_run(names):
        return names
    if store.local is not None and store.local.is_file():
        raise UserError(f"{root} is a file: give a run folder, or --history for a history.")
    if names or store.exists(""):
        raise UserError(f"{root} holds no run: give a folder that noprop train has written to.")
    raise UserError(f"{root}: there is no such run folder; noprop runs lists those there are.")


def checkpoint_names(store: Store) -> list[str]:
    """Oldest first; what a user put beside the checkpoints is left alone."""
    return [name for name in store.list(CHECKPOINTS) if name.startswith("step-")]


def is_complete(store: Store, checkpoint: str) -> bool:
    """Whether a checkpoint has its manifest; whether its files are good is not looked at."""
    return store.exists(f"{CHECKPOINTS}/{checkpoint}/manifest.json")


def is_network_file(path: str | Path) -> bool:
    """Whether ``path`` names an exported file, not a folder."""
    return str(path).endswith(SUFFIX) and Path(path).expanduser().is_file()


def home_of(path: str) -> str:
    """The run folder that ``path`` lies in, or the folder of an exported file."""
    if is_network_file(path):
        return str(Path(path).parent)
    parent, name = above(path)
    if name == MODEL and not Store(path).exists(CONFIG):
        return parent or "."
    run, folder = above(parent)
    return (run or ".") if folder == CHECKPOINTS else path
