"""From argv to options: defaults, then a YAML file, then flags.

The parser and YAML are imported late, so that other uses of the package do without them.
"""

import io
import os
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import MISSING, asdict, dataclass, field, fields, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_type_hints

from noprop_dist.config import TrainConfig
from noprop_dist.config.fields import check_types, flag
from noprop_dist.config.run import MAX_NAME
from noprop_dist.errors import UserError
from noprop_dist.record.run_config import parse_yaml

if TYPE_CHECKING:
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
    args, path = _without_config(argv)
    values = _read_yaml(path) if path is not None else {}
    # Names and types alone: flags may yet change a value that does not go with another.
    check_types(TrainConfig, values, f"--config {path}")
    flat = _parse(args, prog, description, _grouped_options(values, extra))
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
    return options(**_parse(argv, prog, description, _groups({}, options)))


def _parse(argv: Sequence[str], prog: str, description: str, grouped: type[Any]) -> dict[str, Any]:
    """The value of every option, by name."""
    import tyro

    errors = io.StringIO()
    try:
        with redirect_stderr(errors):
            parsed: Any = tyro.cli(
                grouped,
                config=(tyro.conf.OmitArgPrefixes,),
                prog=prog,
                description=description,
                args=argv,
            )
    except SystemExit as left:
        if left.code in (0, None):
            raise
        raise UserError(_sentence(errors.getvalue(), prog)) from None
    flat: dict[str, Any] = {}
    for group in fields(parsed):
        flat |= asdict(getattr(parsed, group.name))
    return flat


def _sentence(box: str, prog: str) -> str:
    """What the parser says in a box, drawn in Unicode or in ASCII, as one sentence."""
    rows = [row.strip("\u2502| ") for row in box.splitlines()]
    rules = [i for i, row in enumerate(rows) if row and set(row) <= set("\u2500-+")]
    has_title = bool(rows) and rows[0][:1] in "\u256d+"
    first = 1 if has_title and 0 not in rules else next(iter(rules), -1) + 1
    last = next((i for i in rules if i > first), len(rows))
    text = " ".join(row for row in rows[first:last] if row)
    wrong = re.search(r"Error parsing (\S+):.* instantiated from \['(.*?)'\]", text)
    if wrong:
        text = f"{wrong[1]} cannot be '{wrong[2]}'"
    near = re.search(r"Perhaps you meant:\s*(--[\w-]+)", " ".join(rows))
    hint = f"did you mean {near[1]}? " if near else ""
    return f"{text.rstrip('.')}; {hint}{prog} --help lists the options."


def _grouped_options(values: dict[str, Any], extra: type[Any]) -> type[Any]:
    """All fields as one dataclass per group, which is how the parser shows groups."""
    output: list[tuple[str, Any, Any]] = []
    for name, hint, default, text in (
        ("config", str | None, None, "YAML file of options by name; flags lie over it"),
        ("json", bool, False, "print the result as one JSON object on the last line"),
    ):
        output.append((name, _option_type(hint, text, default), field(default=default)))
    return _groups(values, extra, TrainConfig, output=output)


def _groups(
    values: dict[str, Any], *classes: type[Any], **groups: list[tuple[str, Any, Any]]
) -> type[Any]:
    """One dataclass per group of the fields of ``classes``, after those of ``groups``."""
    for cls in classes:
        hints = get_type_hints(cls)
        for f in fields(cls):
            default = values.get(f.name, f.default)
            hint = _option_type(hints[f.name], f.metadata["help"], default, f.metadata.get("name"))
            made_field = field() if default is MISSING else field(default=default)
            groups.setdefault(f.metadata["group"], []).append((f.name, hint, made_field))
    made = {name: make_dataclass(name.capitalize(), options) for name, options in groups.items()}
    return make_dataclass(
        "Options",
        [
            (name, cls, field(default_factory=cls) if _has_defaults(cls) else field())
            for name, cls in made.items()
        ],
    )


def _has_defaults(cls: type[Any]) -> bool:
    return all(f.default is not MISSING for f in fields(cls))


def _option_type(hint: Any, text: str, default: Any, name: str | None = None) -> Any:
    """A field's type with its help line; switches only turn on; ``name``: of an argument."""
    import tyro

    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    optional = len(kinds) == 1 and isinstance(kinds[0], type)
    described: Any = Annotated[
        hint,
        tyro.conf.arg(
            help=text,
            metavar=name or (kinds[0].__name__.upper() if optional else None),
            # Without a default to show, the text tells what happens; a switch is off.
            help_behavior_hint="" if default in (None, False) else None,
        ),
    ]
    if name is not None:
        positional: Any = tyro.conf.Positional
        described = positional[described]
    if hint == str | None:
        described = Annotated[described, _text()]
    if hint is bool:
        described = Annotated[described, tyro.conf.FlagCreatePairsOff]
    return described


def _text() -> Any:
    """Text that may be left out: the parser's own kind would take "None" for that."""
    from tyro.constructors import PrimitiveConstructorSpec

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="STR",
        instance_from_str=lambda words: words[0],
        is_instance=lambda value: value is None or isinstance(value, str),
        str_from_instance=lambda value: [str(value)],
    )


def _without_config(argv: Sequence[str]) -> tuple[list[str], str | None]:
    """The arguments without ``--config FILE``, and FILE."""
    args, path = [], None
    rest = iter(argv)
    for arg in rest:
        if arg == "--config":
            path = next(rest, None)
            if path is None:
                raise UserError("--config needs the path of a YAML file.")
        elif arg.startswith("--config="):
            path = arg.removeprefix("--config=")
        else:
            args.append(arg)
    return args, path


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
    hint = get_type_hints(TrainConfig).get(name)
    if float not in (get_args(hint) or (hint,)) or type(value) not in (int, str):
        return value
    try:
        return float(value)
    except (ValueError, OverflowError):
        return value
