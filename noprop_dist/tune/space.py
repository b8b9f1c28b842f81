"""The search space: which options vary and over what, from a YAML file or built in."""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from noprop_dist.config import TrainConfig
from noprop_dist.config.fields import Trait, flag, with_trait
from noprop_dist.config.former_names import by_new_names
from noprop_dist.config.model_options import ONLY_FOR, meaningless_to
from noprop_dist.config.run import PIXEL_OPTIONS
from noprop_dist.errors import UserError
from noprop_dist.maths.embedding_types import IS_TRAINED
from noprop_dist.maths.learning_rate import schedules_that
from noprop_dist.options import as_option, read_yaml

FIXED = with_trait(TrainConfig, Trait.OF_ALL_TRIALS)
OF_A_BLOCK = with_trait(TrainConfig, Trait.OF_A_BLOCK)

Lines = Mapping[Any, Any]
DEFAULT: Lines = {
    "lr": {"loguniform": [3e-4, 5e-3]},
    "weight_decay": {"loguniform": [1e-4, 1e-1]},
    "eta": {"loguniform": [0.03, 1.0]},
    "embedding_type": {"choice": ["one-hot", "learned"]},
    "embedding_dim": {"choice": [20, 64]},
    "num_blocks": {"choice": [5, 10, 15]},
    "noise_schedule": {"choice": ["cosine", "linear"]},
    "dropout": {"uniform": [0.0, 0.4]},
    "augmentation": {"choice": ["none", "standard"]},
}
OF_A_BLOCK_DEFAULT = ("lr", "weight_decay", "dropout")
# An option that means something only where another has one of these values.
MEANS_SOMETHING: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "embedding_dim": ("embedding_type", ("learned",)),
    "freeze_after": (
        "embedding_type",
        tuple(name for name, trained in IS_TRAINED.items() if trained),
    ),
    "lr_patience": (
        "lr_schedule",
        schedules_that(lambda schedule: schedule.feedback is not None),
    ),
    **{name: ("objective", objectives) for name, objectives in ONLY_FOR.items()},
}
BLOCK = "t"  # among the settings of a trial of a single block, which one
KINDS = ("choice", "uniform", "loguniform", "randint")


@dataclass(frozen=True)
class Dimension:
    """What one option may be.

    Attributes:
        kind: "uniform" or "loguniform" between two numbers, "randint" between two integers
            (both included), or "choice" of a list.
        values: the two ends, or the list.
    """

    kind: str
    values: tuple[Any, ...]

    def draw(self, generator: np.random.Generator) -> Any:
        """A value by chance."""
        if self.kind == "choice":
            return self.values[int(generator.integers(len(self.values)))]
        low, high = self.values
        if self.kind == "randint":
            return int(generator.integers(low, high + 1))
        if self.kind == "uniform":
            return float(generator.uniform(low, high))
        return float(math.exp(generator.uniform(math.log(low), math.log(high))))

    def to_dict(self) -> dict[str, list[Any]]:
        """As a line of the YAML file."""
        return {self.kind: list(self.values)}


def choice(values: Sequence[Any]) -> Dimension:
    """One of some values."""
    return Dimension("choice", tuple(values))


def uniform(low: float, high: float) -> Dimension:
    """A number between two, all as likely."""
    return Dimension("uniform", (low, high))


def loguniform(low: float, high: float) -> Dimension:
    """A number between two above 0, all orders of magnitude as likely."""
    return Dimension("loguniform", (low, high))


def randint(low: int, high: int) -> Dimension:
    """A whole number between two, both included."""
    return Dimension("randint", (low, high))


Space = dict[str, Dimension]
Settings = dict[str, Any]


def read_space(
    source: str | Mapping[str, Dimension], base: TrainConfig, *, per_block: bool = False
) -> Space:
    """The space of a YAML file, the built-in one, or one that is given.

    Args:
        source: a path, "default", or dimensions by option.
        base: the options that do not vary; every value must go with them.
        per_block: whether only options may vary of which a block can have a value of its own.

    Raises:
        UserError: the file cannot be read, or a line of it is no dimension of an option.
    """
    if source == "default":
        names = set(OF_A_BLOCK_DEFAULT if per_block else DEFAULT)
        if base.features is not None:
            names -= set(PIXEL_OPTIONS)
        names -= meaningless_to(base.objective).keys()
        default = {name: line for name, line in DEFAULT.items() if name in names}
        return parse_space(default, "--space default", base)
    if isinstance(source, str):
        where, lines = f"--space {source}", read_yaml(source, "--space")
    else:
        where = "space"
        lines = {k: v.to_dict() if isinstance(v, Dimension) else v for k, v in source.items()}
    if not isinstance(lines, dict) or not lines:
        raise UserError(f"{where} must hold lines such as lr: {{loguniform: [1e-4, 1e-2]}}.")
    space = parse_space(lines, where, base)
    others = sorted(space.keys() - OF_A_BLOCK) if per_block else []
    if others:
        raise UserError(
            f"{where}: {others[0]} cannot vary with --per-block, only "
            f"{', '.join(sorted(OF_A_BLOCK))}."
        )
    return space


def parse_space(lines: Lines, where: str, base: TrainConfig) -> Space:
    """Dimensions by option.

    Raises:
        UserError: names the line and what would be right.
    """
    every = [f.name for f in fields(TrainConfig)]
    space: Space = {}
    named = {str(key).replace("-", "_"): line for key, line in lines.items()}
    for name, line in by_new_names(TrainConfig, named).items():
        if name not in every:
            near = difflib.get_close_matches(name, every, n=1)
            known = ", ".join(k for k in every if k not in FIXED)
            hint = f"did you mean {near[0]}?" if near else f"known are {known}."
            raise UserError(f"{where}: the field '{name}' is unknown; {hint}")
        if name in FIXED:
            raise UserError(
                f"{where}: {name} is the same for every trial of a sweep: give it as {flag(name)}."
            )
        space[name] = _dimension(name, line, where)
        _check_values(name, space[name], where, base)
    return space


def settle(settings: Settings, base: TrainConfig) -> Settings:
    """The settings without those that mean nothing beside the others: they get their defaults."""
    settled = dict(settings)
    for name, (other, values) in MEANS_SOMETHING.items():
        default = TrainConfig.__dataclass_fields__[name].default
        means_nothing = settings.get(other, getattr(base, other)) not in values
        if means_nothing and settings.get(name, getattr(base, name)) != default:
            settled[name] = default
    return settled


def most_epochs(space: Space, base: TrainConfig) -> int:
    """The longest that a trial can be."""
    return int(max(space["epochs"].values)) if "epochs" in space else base.epochs


def _dimension(name: str, line: Any, where: str) -> Dimension:
    if not isinstance(line, dict) or len(line) != 1 or next(iter(line)) not in KINDS:
        kinds = ", ".join(f"{{{kind}: [...]}}" for kind in KINDS)
        raise UserError(f"{where}: {name} must be one of {kinds}, got {line!r}.")
    ((kind, values),) = line.items()
    if not isinstance(values, list) or not values:
        raise UserError(f"{where}: {name} needs a list after {kind}, got {values!r}.")
    if kind == "choice":
        return Dimension(kind, tuple(as_option(name, value) for value in values))
    numbers = [number for v in values if (number := _number(v)) is not None]
    if len(numbers) != 2 or len(values) != 2:
        raise UserError(f"{where}: {name} needs two numbers after {kind}, got {values!r}.")
    low, high = numbers
    if not low < high:
        raise UserError(
            f"{where}: {name} has a range upside down, {kind} from {low:g} to {high:g}: give the "
            "smaller number first."
        )
    if kind == "loguniform" and low <= 0:
        raise UserError(f"{where}: {name} is loguniform from {low:g}: both ends must be above 0.")
    if kind == "randint":
        if int(low) != low or int(high) != high:
            raise UserError(f"{where}: {name} is randint: give two integers, got {values!r}.")
        return Dimension(kind, (int(low), int(high)))
    return Dimension(kind, (low, high))


def _number(value: Any) -> float | None:
    """YAML 1.1 reads 1e-4, which lacks a point, as a string."""
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _check_values(name: str, dimension: Dimension, where: str, base: TrainConfig) -> None:
    """Try every choice, and both ends of a range, as an option: its own check speaks."""
    for value in dimension.values:
        try:
            replace(base, **{name: value})
        except UserError as error:
            # Two options that do not go together are a matter of the trial.
            if str(error).startswith(f"{flag(name)} must"):
                raise UserError(f"{where}: {error}") from error
