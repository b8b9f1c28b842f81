"""From argv to options: defaults, then a YAML file, then flags.

YAML is imported late, so that other uses of the package do without it.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, get_args, get_type_hints

from noprop_dist.config import TrainConfig
from noprop_dist.config.arguments import OptionParser, make_parser
from noprop_dist.config.fields import Checked, argument, at_least, check_types, flag, option
from noprop_dist.config.former_names import by_new_names, told, told_as_flags
from noprop_dist.config.presets import PRESETS
from noprop_dist.config.run import MAX_NAME
from noprop_dist.errors import UserError, reading
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
    seeds: int = 1

    @property
    def repeats(self) -> list[TrainConfig]:
        """The run, or one for every seed, each in a folder of its own."""
        if self.seeds == 1:
            return [self.config]
        config, found = self.config, []
        for seed in range(config.seed, config.seed + self.seeds):
            own: dict[str, Any] = {
                name: f"{value}-seed-{seed}"
                for name in ("name", "run_dir")
                if (value := getattr(config, name)) is not None
            }
            found.append(replace(config, seed=seed, **own))
        return found


@dataclass(frozen=True, kw_only=True)
class Repeats(Checked):
    """What ``noprop train`` takes beside the options of the run."""

    REHEARSAL: ClassVar[dict[str, int]] = {"seeds": 1}

    seeds: int = option(
        1,
        "run",
        "train with so many seeds, from --seed on, each in a folder of its own",
        at_least(1),
    )

    def check_fit(self, config: TrainConfig) -> None:
        """Refuse what means one run.

        Raises:
            UserError: such an option.
        """
        for name in ("history", "resume_from", "blocks"):
            if self.seeds > 1 and getattr(config, name) is not None:
                raise UserError(f"{flag(name)} is of one run: leave it out, or --seeds.")


@dataclass(frozen=True)
class Around:
    """What every command that trains takes beside the options of the run."""

    config: str | None = option(None, "starting", "YAML file of options by name; flags lie over it")
    preset: Literal["paper-mnist", "paper-cifar10", "paper-cifar100", "quick"] | None = option(
        None,
        "starting",
        "options to begin with: the paper's (Table 3), or 3 blocks and 10 epochs; --config and "
        "flags change them",
    )
    json: bool = option(False, "output", "print the result as one JSON object on the last line")


@dataclass(frozen=True, kw_only=True)
class MergeOptions(Checked):
    """What ``noprop merge`` makes of which runs."""

    runs: tuple[str, ...] = argument("RUN", "run folders of noprop train --blocks, or their URIs")
    run_dir: str | None = option(
        None, "output", "run folder or URI of the whole; default: checkpoints_run/<name>"
    )
    dataset: str | None = option(None, "data", "where the runs' data is now")
    data_dir: str | None = option(None, "data", "where named data sets are kept or downloaded to")
    block: str | None = option(
        None, "block", "of runs whose block is a class of one's own: that class; its code is run"
    )
    executor: Literal["ray", "local"] = option("ray", "machine", "where it is evaluated")
    json: bool = option(False, "output", "print the result as one JSON object on the last line")

    @property
    def changes(self) -> dict[str, Any]:
        """What the whole run's options are other than the parts'."""
        given = {name: getattr(self, name) for name in ("dataset", "data_dir")}
        kept = {name: value for name, value in given.items() if value is not None}
        return kept | {"run_dir": self.run_dir, "executor": self.executor}


def parse_command(
    argv: Sequence[str], prog: str = "noprop train", description: str = ""
) -> TrainCommand:
    """Defaults, then those of ``--preset``, then the YAML file of ``--config``, then flags.

    Raises:
        UserError: flags that do not parse, a value out of range, or a YAML file of no use.
        SystemExit: ``--help`` (code 0).
    """
    config, repeats, as_json = parse_with(argv, prog, description, Repeats)
    repeats.check_fit(config)
    return TrainCommand(config, as_json, repeats.seeds)


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
    first = OptionParser(prog, add_help=False, allow_abbrev=False)
    first.add_argument("--config")
    first.add_argument("--preset", choices=list(PRESETS))
    found, args = first.parse_known_args(argv)
    path = found.config
    in_file = _read_yaml(path) if path is not None else {}
    values = PRESETS.get(found.preset, {}) | by_new_names(TrainConfig, in_file)
    # Names and types alone: flags may yet change a value that does not go with another.
    check_types(TrainConfig, values, f"--config {path}")
    flat = _parse(args, prog, description, (Around, extra, TrainConfig), values)
    named = values.get("block", "")
    given = any(_dashed(word).partition("=")[0] == "--block" for word in args)
    if ":" in named and flat.get("block", named) == named and not given:
        raise UserError(
            f"--config {path} names code, {named}, which runs only where you say so: give --block "
            f"{named} too."
        )
    as_json = flat.pop("json", False)
    for name in ("config", "preset"):
        flat.pop(name, None)  # in the list for --help alone; they were read first
    own = {f.name: flat.pop(f.name) for f in fields(extra) if f.name in flat}
    config = TrainConfig(**values | by_new_names(TrainConfig, flat))
    if not config.quiet:
        _tell(told(TrainConfig, in_file) + told_as_flags(TrainConfig, flat))
    return *rehearsed(config, extra(**own)), as_json


def _tell(names: Sequence[str]) -> None:
    if names:
        sys.stderr.write(f"note: {'; '.join(names)}\n")


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
    told = "".join(
        f", {flag(name)} {value}" for name, value in less.items() if value != getattr(own, name)
    )
    config = replace(
        config,
        max_train_images=images,
        epochs=1,
        warmup_epochs=min(1, config.warmup_epochs),
        plots=False,
    )
    own = replace(own, **less)
    mark = f"-rehearsal-{config.hash(repr(own))}"
    places = {name: getattr(config, name) for name in ("name", "run_dir", "history")}
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
    _tell(told_as_flags(options, found))
    return options(**by_new_names(options, found))


def _parse(
    argv: Sequence[str],
    prog: str,
    description: str,
    classes: Sequence[type[Any]],
    values: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The values of the options that are given, by the names that they are given by."""
    parser = make_parser(prog, description, classes, values)
    found, unknown = parser.parse_known_intermixed_args([_dashed(word) for word in argv])
    if unknown:
        flags = [flag(f.name) for cls in classes for f in fields(cls)]
        near = get_close_matches(unknown[0].partition("=")[0], flags, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        parser.error(f"Unrecognized options: {', '.join(unknown)}{hint}")
    # The parser gives lists.
    return {k: tuple(v) if isinstance(v, list) else v for k, v in vars(found).items()}


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
    with reading(f"{flag_name} {path}"):
        data = Path(path).read_bytes()
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
