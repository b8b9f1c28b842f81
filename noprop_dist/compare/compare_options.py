"""What a comparison can be asked: flags of ``noprop compare``. Imports no PyTorch."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import ClassVar

from noprop_dist.config import TrainConfig
from noprop_dist.config.fields import Bounds, Checked, Trait, at_least, flag, option
from noprop_dist.errors import UserError
from noprop_dist.host import on_linux
from noprop_dist.maths.learning_rate import LR_SCHEDULES
from noprop_dist.options import parse_with

NOPROP, TWIN, SEQUENTIAL = "noprop", "twin", "noprop-sequential"
SINGLE, CHECKPOINTED, LAYERWISE = "single", "twin-checkpointed", "layerwise"
GROUP = "comparison"


@dataclass(frozen=True)
class Method:
    """A way to train the network.

    Attributes:
        heading: of its column, with a place for the objective.
        name: in a sentence.
        only: options that have one value there, by name.
    """

    heading: str
    name: str
    only: Mapping[str, str] = field(default_factory=dict)


METHODS = {
    NOPROP: Method("NoProp-{}, block-parallel", "NoProp"),
    TWIN: Method("back-propagated twin", "the twin"),
    SEQUENTIAL: Method(
        "Algorithm 1, sequential",
        "Algorithm 1",
        {"objective": "dt", "readout": "softmax", "block_loss": "auto"},
    ),
    SINGLE: Method("single block", "the single block"),
    CHECKPOINTED: Method("twin, checkpointed", "the checkpointed twin"),
    LAYERWISE: Method("layer-wise, local heads", "layer-wise training"),
}


def heading(method: str, objective: str) -> str:
    """What a method is called in a table, where blocks learn ``objective``."""
    return METHODS[method].heading.format(objective.upper())


@dataclass(frozen=True, kw_only=True)
class CompareOptions(Checked):
    """The options of a comparison beside those of a run.

    Raises:
        UserError: an unknown method, or a number out of range.
    """

    REHEARSAL: ClassVar[dict[str, int]] = {"seeds": 1, "efficiency_epochs": 0}

    methods: str = option(
        f"{NOPROP},{TWIN}",
        GROUP,
        "what to compare: noprop, block-parallel; twin, the same blocks trained end to end by "
        "back-propagation, data-parallel on Ray Train; noprop-sequential, Algorithm 1 as printed "
        "on one device; single, one block for as many operations; twin-checkpointed, the twin with "
        "gradient checkpointing and accumulation; layerwise, the twin's chain, each block by a "
        "loss of its own",
    )
    seeds: int = option(1, GROUP, "train with so many seeds, from --seed on", at_least(1))
    target_accuracy: float | None = option(
        None,
        GROUP,
        "validation accuracy to which the time is taken; default: 99 % of the best that the least "
        "accurate method reaches",
        Bounds(above=0, most=1),
    )
    efficiency_epochs: int = option(
        5,
        GROUP,
        "epochs of the short runs on one device that efficiency is held to; 0: none",
        at_least(0),
    )

    def __post_init__(self) -> None:
        """Check every value."""
        super().__post_init__()
        if not self.names:
            raise UserError(f"--methods needs at least one of {', '.join(METHODS)}.")
        for name in self.names:
            if name not in METHODS:
                near = difflib.get_close_matches(name, METHODS, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(METHODS)}."
                raise UserError(f"--methods '{name}' is unknown; {hint}")
        if len(set(self.names)) < len(self.names):
            raise UserError(f"--methods {self.methods} names a method twice: name each once.")

    @property
    def names(self) -> list[str]:
        """The methods, in the order they were given."""
        return [name for part in self.methods.split(",") if (name := part.strip())]


def check_comparable(config: TrainConfig, options: CompareOptions) -> None:
    """Refuse options of a run that cannot be kept for every method alike.

    Raises:
        UserError: names the option and what to do.
    """
    if not on_linux():
        raise UserError("noprop compare counts memory and bytes as Linux tells them: run it there.")
    if config.executor != TrainConfig.executor:
        raise UserError(
            f"--executor {config.executor} cannot be compared, whose blocks and twin train on "
            "workers of Ray: leave it out."
        )
    for f in fields(config):
        if Trait.ONE_SIDED in f.metadata["traits"] and getattr(config, f.name) != f.default:
            raise UserError(
                f"{flag(f.name)} does not mean the same to every method of a comparison: leave it "
                "out."
            )
    if LR_SCHEDULES[config.lr_schedule].feedback is not None:
        raise UserError(
            f"--lr-schedule {config.lr_schedule} would give every method a learning rate of its "
            "own: give cosine or constant."
        )
    for method in options.names:
        for name, value in METHODS[method].only.items():
            if getattr(config, name) != value:
                raise UserError(
                    f"{flag(name)} {getattr(config, name)} is not in {METHODS[method].name} as "
                    f"printed: give {flag(name)} {value}, or leave {method} out of --methods."
                )


def parse_compare(
    argv: Sequence[str], prog: str = "noprop compare", description: str = ""
) -> tuple[TrainConfig, CompareOptions, bool]:
    """The run's options, the comparison's, and whether JSON is wanted.

    Raises:
        UserError: flags that do not parse, or that cannot be compared.
        SystemExit: ``--help`` (code 0).
    """
    config, options, as_json = parse_with(argv, prog, description, CompareOptions)
    check_comparable(config, options)
    return config, options, as_json
