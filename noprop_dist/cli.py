"""The command line: argv -> options -> call -> say where the results are.

Heavy imports come after parsing, so that ``--help`` and a mistyped option answer at once.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from noprop_dist.config import TrainConfig, check_types
from noprop_dist.errors import UserError

if TYPE_CHECKING:
    from noprop_dist.record.result import TrainResult

BAD_INPUT = 2
INTERRUPTED = 130


@dataclass(frozen=True)
class TrainCommand:
    """What ``noprop train`` was asked to do."""

    config: TrainConfig
    as_json: bool


def main(argv: Sequence[str] | None = None) -> int:
    """``noprop``: the console command. Returns the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    commands: dict[str, Callable[[Sequence[str]], int]] = {"train": train_main}
    if not args or args[0] not in commands:
        known = ", ".join(commands)
        asked = args[:1] in (["-h"], ["--help"])
        print(
            f"usage: noprop COMMAND ...; commands: {known}",
            file=sys.stdout if asked else sys.stderr,
        )
        return 0 if asked else BAD_INPUT
    return commands[args[0]](args[1:])


def train_main(argv: Sequence[str], prog: str = "noprop train") -> int:
    """The training job. Returns the exit code: 0, 2 for bad input, 130 when stopped."""
    try:
        command = parse_command(argv, prog)
        return _run_train(command)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return INTERRUPTED


def _run_train(command: TrainCommand) -> int:
    from noprop_dist.training import StoppedError, dry_run, train

    if command.config.dry_run:
        report = dry_run(command.config)
        print(
            json.dumps(report)
            if command.as_json
            else "\n".join(f"{k}: {v}" for k, v in report.items())
        )
        return 0
    try:
        result = train(command.config)
    except StoppedError as stopped:
        print(f"stopped; the same command goes on from {stopped.folder}", file=sys.stderr)
        return INTERRUPTED
    print(json.dumps(result.to_dict()) if command.as_json else summary(result))
    if result.set_aside:
        reasons = "; ".join(f"block {t}: {why}" for t, why in result.set_aside.items())
        raise UserError(
            f"{len(result.set_aside)} of {len(result.block_accuracy)} blocks failed ({reasons}); "
            "their neighbours stand in for them."
        )
    return 0


def parse_train(argv: Sequence[str], prog: str = "noprop train") -> TrainConfig:
    """The options of the training job, as ``parse_command`` reads them."""
    return parse_command(argv, prog).config


def parse_command(argv: Sequence[str], prog: str = "noprop train") -> TrainCommand:
    """Defaults, then the YAML file of ``--config``, then flags.

    Raises:
        UserError: a value is out of range, or the YAML file cannot be used.
        SystemExit: ``--help`` (code 0), or flags that do not parse (code 2).
    """
    import tyro

    args, path = _without_config(argv)
    values = _read_yaml(path) if path is not None else {}
    # Names and types alone: flags may yet change a value that does not go with another.
    check_types(values, f"--config {path}")
    parsed: Any = tyro.cli(
        _grouped_options(values),
        config=(tyro.conf.OmitArgPrefixes,),
        prog=prog,
        description="Train a NoProp network: T blocks, each learning on its own "
        "(arXiv:2503.24322). Options come from --config FILE.yaml first, then from flags.",
        args=args,
    )
    flat: dict[str, Any] = {}
    for group in fields(parsed):
        flat |= asdict(getattr(parsed, group.name))
    as_json = flat.pop("json")
    return TrainCommand(TrainConfig(**flat), as_json)


def _grouped_options(values: dict[str, Any]) -> type[Any]:
    """TrainConfig's fields as one dataclass per group, which is how the parser shows groups."""
    hints = get_type_hints(TrainConfig)
    groups: dict[str, list[tuple[str, Any, Any]]] = {"output": []}
    text = "print the result as one JSON object on the last line"
    groups["output"].append(("json", _option_type(bool, text), field(default=False)))
    for f in fields(TrainConfig):
        hint = _option_type(hints[f.name], f.metadata["help"])
        option = (f.name, hint, field(default=values.get(f.name, f.default)))
        groups.setdefault(f.metadata["group"], []).append(option)
    made = {name: make_dataclass(name.capitalize(), options) for name, options in groups.items()}
    return make_dataclass(
        "Options", [(name, cls, field(default_factory=cls)) for name, cls in made.items()]
    )


def _option_type(hint: Any, text: str) -> Any:
    """A field's type with its help line; switches only turn on."""
    import tyro

    described: Any = Annotated[hint, tyro.conf.arg(help=text)]
    if hint is bool:
        described = Annotated[described, tyro.conf.FlagCreatePairsOff]
    return described


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
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--config {path} cannot be read ({error.strerror}).") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"--config {path} is not valid YAML ({reason}).") from error
    if not isinstance(values, dict):
        raise UserError(f"--config {path} must hold lines of the form option: value.")
    return {str(k).replace("-", "_"): _number(v) for k, v in values.items()}


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-3, which lacks a point, as a string."""
    try:
        return float(value) if isinstance(value, str) and "e" in value.lower() else value
    except ValueError:
        return value


def summary(result: "TrainResult") -> str:
    """What a person wants to know at the end, in a few lines."""
    z_T, mean = result.test_accuracy["z_T"], result.test_accuracy["mean_softmax"]  # noqa: N806
    after = "  ".join(f"{100 * a:.1f}" for a in result.accuracy_after_t)
    return "\n".join(
        [
            f"test accuracy, {len(z_T.draws)} noise draws",
            f"  z_T           {100 * z_T.mean:.2f} % +- {100 * z_T.stderr:.2f}",
            f"  mean softmax  {100 * mean.mean:.2f} % +- {100 * mean.stderr:.2f}",
            f"  after t = 1..{len(result.accuracy_after_t)}, %: {after}",
            f"trained {result.epochs} epochs in {result.train_seconds:.0f} s",
            f"results in {result.folder}",
        ]
    )
