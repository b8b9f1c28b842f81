"""From argv to options: defaults, then a YAML file, then flags.

YAML is imported late, so that other uses of the package do without it.
"""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    NoReturn,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from noprop_dist.config import TrainConfig
from noprop_dist.config.fields import check_types, flag, option
from noprop_dist.config.run import MAX_NAME
from noprop_dist.errors import UserError
from noprop_dist.record.run_config import parse_yaml

if TYPE_CHECKING:
    from argparse import _ArgumentGroup
    from dataclasses import Field

    from _typeshed import DataclassInstance

REHEARSE = "NOPROP_REHEARSE"  # the environment variable that makes a run a rehearsal

Extra = TypeVar("Extra", bound="DataclassInstance")


@dataclass(frozen=True)
class TrainCommand:
    """What ``noprop train`` was asked to do."""

    config: TrainConfig
    as_json: bool


@dataclass(frozen=True)
class _Nothing:
    """``noprop train`` has no options but the run's."""


@dataclass(frozen=True)
class _Around:
    """What every command that trains takes beside the options of the run."""

    config: str | None = option(None, "output", "YAML file of options by name; flags lie over it")
    json: bool = option(False, "output", "print the result as one JSON object on the last line")


def parse_command(argv: Sequence[str], prog: str = "noprop train") -> TrainCommand:
    """Defaults, then the YAML file of ``--config``, then flags.

    Raises:
        UserError: flags that do not parse, a value out of range, or a YAML file of no use.
        SystemExit: ``--help`` (code 0).
    """
    description = "Train a NoProp network: T blocks, each learning on its own (arXiv:2503.24322)."
    config, _, as_json = parse_with(argv, prog, description, _Nothing)
    return TrainCommand(config, as_json)


def parse_with(
    argv: Sequence[str], prog: str, description: str, extra: type[Extra]
) -> tuple[TrainConfig, Extra, bool]:
    """The options of a run and, of another dataclass, those of a command around it.

    Args:
        argv: the arguments.
        prog: what the command is called.
        description: of the command, for ``--help``.
        extra: a dataclass whose fields are made by ``config.option``.

    Returns:
        The run's options, the command's own, and whether the result is wanted as JSON.

    Raises:
        UserError: flags that do not parse, a value out of range, or a YAML file of no use.
        SystemExit: ``--help`` (code 0).
    """
    first = _Parser(prog, add_help=False, allow_abbrev=False)
    first.add_argument("--config")
    found, args = first.parse_known_args(argv)
    path = found.config
    values = _read_yaml(path) if path is not None else {}
    # Names and types alone: flags may yet change a value that does not go with another.
    check_types(TrainConfig, values, f"--config {path}")
    flat = _parse(args, prog, description, (_Around, extra, TrainConfig), values)
    as_json = flat.pop("json")
    del flat["config"]  # in the list for --help alone; it was read first
    own = {f.name: flat.pop(f.name) for f in fields(extra)}
    return *rehearsed(TrainConfig(**flat), extra(**own)), as_json


def rehearsed(config: TrainConfig, own: Extra) -> tuple[TrainConfig, Extra]:
    """What a rehearsal makes of a run: ``NOPROP_REHEARSE`` images, one epoch, no pictures.

    It writes beside what the real run will write, never there.

    Args:
        config: of the real thing.
        own: the command's options; its class may hold, as ``REHEARSAL``, what a rehearsal gives
            at most for some of them.

    Returns:
        Both as they are where the environment asks for no rehearsal.

    Raises:
        UserError: the variable holds no number of images.
    """
    asked = os.environ.get(REHEARSE, "")
    if not asked:
        return config, own
    if not asked.isdecimal() or int(asked) < 1:
        raise UserError(
            f"{REHEARSE}={asked} is no rehearsal: give it the number of images to train on."
        )
    images = min(int(asked), config.max_train_images or int(asked))
    most: dict[str, int] = getattr(own, "REHEARSAL", {})
    less = {name: min(limit, getattr(own, name)) for name, limit in most.items()}
    told = "".join(f", {flag(name)} {value}" for name, value in less.items())
    config = replace(
        config,
        max_train_images=images,
        epochs=1,
        warmup_epochs=min(1, config.warmup_epochs),
        no_plots=True,
    )
    own = replace(own, **less)
    mark = f"-rehearsal-{config.hash(repr(own))}"
    places = {name: getattr(config, name) for name in ("name", "checkpoint_dir", "history")}
    beside: dict[str, Any] = {k: _beside(v, mark) for k, v in places.items() if v is not None}
    config = replace(config, **beside)
    where = f"; in {config.folder}" if config.is_placed else ""
    sys.stderr.write(
        f"rehearsal: one epoch on at most {images} training images, no pictures{told}{where}\n"
    )
    return config, own


def _beside(path: str, mark: str) -> str:
    """A path that differs from ``path`` in its last part, not in its ending or its query."""
    base, question, query = path.partition("?") if "://" in path else (path, "", "")
    parent, slash, name = base.rstrip("/").rpartition("/")
    stem, dot, ending = name.rpartition(".")
    name = f"{stem}{mark}{dot}{ending}" if stem and ending == "json" else name + mark
    return f"{parent}{slash}{name[-MAX_NAME:]}{question}{query}"


def parse_own(argv: Sequence[str], prog: str, description: str, options: type[Extra]) -> Extra:
    """The options of a command that trains nothing.

    Args:
        argv: the arguments.
        prog: what the command is called.
        description: of the command, for ``--help``.
        options: a dataclass whose fields are made by ``config.option`` or ``config.argument``.

    Raises:
        UserError: flags that do not parse, or a value that ``options`` refuses.
        SystemExit: ``--help`` (code 0).
    """
    found = _parse(argv, prog, description, (options,))
    # The parser gives lists.
    return options(**{k: tuple(v) if isinstance(v, list) else v for k, v in found.items()})


class _Parser(ArgumentParser):
    """Says what is wrong with the arguments in one sentence, as an error of ours."""

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments.

        Raises:
            UserError: always.
        """
        what = message.removeprefix("argument ")
        raise UserError(f"{what}; {self.prog} --help lists the options.")


def _parse(
    argv: Sequence[str],
    prog: str,
    description: str,
    classes: Sequence[type[Any]],
    values: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The value of every option, by name.

    Args:
        argv: the arguments.
        prog: what the command is called.
        description: of the command, for ``--help``.
        classes: dataclasses whose fields are the options.
        values: other defaults than the fields' own, by name.
    """
    hints = {name: hint for cls in classes for name, hint in get_type_hints(cls).items()}
    options = [f for cls in classes for f in fields(cls)]
    places = [f.metadata["name"] for f in options if "name" in f.metadata]
    usage = " ".join([prog, "[-h]", "[OPTIONS]", *places])
    parser = _Parser(prog, usage, description, allow_abbrev=False)
    groups: dict[str, _ArgumentGroup] = {}
    for f in options:
        group = f.metadata["group"]
        if group not in groups:
            title = group if group == "arguments" else f"{group} options"
            groups[group] = parser.add_argument_group(title)
        _add(groups[group], f, hints[f.name], (values or {}).get(f.name, f.default))
    found, unknown = parser.parse_known_intermixed_args([_dashed(word) for word in argv])
    if unknown:
        flags = [flag(f.name) for f in options]
        near = get_close_matches(unknown[0].partition("=")[0], flags, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        parser.error(f"Unrecognized options: {', '.join(unknown)}{hint}")
    return vars(found)


def _add(group: "_ArgumentGroup", f: "Field[Any]", hint: Any, default: Any) -> None:
    """Tell the parser of an option; switches only turn on, and no text is taken for nothing."""
    several, none = get_origin(hint) is tuple, type(None)
    inner = get_args(hint) if several or none in get_args(hint) else (hint,)
    kind = next(k for k in inner if k is not none)
    unset = f.metadata.get("unset")
    if default is None and unset:
        default = unset
    # Without a default to show, the text tells what happens; a switch is off.
    shown = "" if default in (None, MISSING) or kind is bool else f" (default: {default})"
    text = (f.metadata["help"] + shown).replace("%", "%%")
    if kind is bool:
        group.add_argument(flag(f.name), action="store_true", default=default, help=text)
        return
    parse = _or_unset(kind, unset) if unset else kind
    told: dict[str, Any] = {"help": text, "type": parse, "metavar": f.metadata.get("name")}
    if get_origin(kind) is Literal:
        told |= {"type": str, "choices": get_args(kind)}
    elif told["metavar"] is None:
        told["metavar"] = kind.__name__.upper()
    if "name" not in f.metadata:
        group.add_argument(flag(f.name), default=default, **told)
    elif several:
        group.add_argument(f.name, nargs="*", default=(), **told)
    elif default is MISSING:
        group.add_argument(f.name, **told)
    else:
        group.add_argument(f.name, nargs="?", default=default, **told)


def _or_unset(kind: type[Any], unset: str) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        return None if text == unset else kind(text)

    parse.__name__ = kind.__name__  # for the parser's message
    return parse


def _dashed(word: str) -> str:
    """A flag as ``--help`` spells it, where it is given as the field is spelt."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else word


def _read_yaml(path: str) -> dict[str, Any]:
    values = read_yaml(path, "--config")
    if not isinstance(values, dict):
        raise UserError(f"--config {path} must hold lines of the form option: value.")
    named = {str(k).replace("-", "_"): v for k, v in values.items()}
    return {name: as_option(name, value) for name, value in named.items()}


def read_yaml(path: str, flag_name: str) -> Any:
    """What a YAML file holds.

    Args:
        path: of the file.
        flag_name: the flag that names it, for messages.

    Raises:
        UserError: it cannot be read.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{flag_name} {path} cannot be read ({error.strerror}).") from error
    return parse_yaml(data, f"{flag_name} {path}")


def as_option(name: str, value: Any) -> Any:
    """A value of a YAML file as an option wants it.

    YAML 1.1 reads 1e-3, which lacks a point, as text: it is a number where the option is one.
    """
    if any(f.name == name and value == f.metadata["unset"] for f in fields(TrainConfig)):
        return None
    hint = get_type_hints(TrainConfig).get(name)
    if float not in (get_args(hint) or (hint,)) or type(value) not in (int, str):
        return value
    try:
        return float(value)
    except (ValueError, OverflowError):
        return value
