"""All options of a run, and what they mean together.

The fields of ``TrainConfig`` are the flags of ``noprop train`` and the keys of its YAML file.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from noprop_dist.config.augmentation import AugmentationOptions
from noprop_dist.config.fields import Trait, check_types, flag, with_trait
from noprop_dist.config.former_names import takes_former_names
from noprop_dist.config.groups import (
    DataOptions,
    MachineOptions,
    OptimisationOptions,
    RunOptions,
)
from noprop_dist.config.model_options import (
    BLOCK_CHOICES,
    ONLY_FOR,
    ModelOptions,
    meaningless_to,
)
from noprop_dist.errors import UserError
from noprop_dist.maths.embedding_types import IS_TRAINED
from noprop_dist.maths.learning_rate import LR_SCHEDULES

HOME = "checkpoints_run"  # where runs are that name no other place
MAX_NAME = 200
PIXEL_OPTIONS = ("augmentation", "crop", "flip", "randaugment", "random_erasing", "cutmix")


@takes_former_names
@dataclass(frozen=True, kw_only=True)
class TrainConfig(
    MachineOptions, RunOptions, OptimisationOptions, ModelOptions, AugmentationOptions, DataOptions
):
    """The options of one training run.

    Raises:
        UserError: a value is out of range or two options contradict each other.
    """

    def __post_init__(self) -> None:
        """Check every value."""
        for f in fields(self):  # in Python, too, the word for None may be given
            if f.metadata["unset"] is not None and getattr(self, f.name) == f.metadata["unset"]:
                object.__setattr__(self, f.name, None)
        check_types(type(self), vars(self))
        for name, hint in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if float in (get_args(hint) or (hint,)) and type(value) is int:
                object.__setattr__(self, name, float(value))  # one run, one spelling
        super().__post_init__()
        if self.name is not None and not _is_name(self.name):
            raise UserError(
                f"--name must be one folder's name of at most {MAX_NAME} bytes that begins with a "
                f"letter or digit, got '{self.name[:40]}'; --run-dir takes a path."
            )
        if self.alpha_bar_min >= self.alpha_bar_max:
            raise UserError(
                f"--alpha-bar-min {self.alpha_bar_min} must be below --alpha-bar-max "
                f"{self.alpha_bar_max}."
            )
        parse_resources(self.resources)
        self._check_chosen()
        self._check_split(parse_block_options(self.block_options))
        self._check_objective()
        self._check_together()

    def _check_objective(self) -> None:
        for name, default in meaningless_to(self.objective).items():
            if getattr(self, name) != default:
                known = ONLY_FOR[name]
                right = f"{', '.join(known[:-1])} or {known[-1]}"
                raise UserError(
                    f"{flag(name)} has no meaning with --objective {self.objective}: leave it "
                    f"out, or give --objective {right}."
                )

    def _check_together(self) -> None:
        if self.block not in BLOCK_CHOICES and not re.fullmatch(r".+:[A-Za-z_]\w*", self.block):
            raise UserError(
                f"--block must be one of {', '.join(BLOCK_CHOICES)}, or a class of your own, "
                f"package.module:Class or path/file.py:Class, got {self.block!r}."
            )
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise UserError(f"--device {self.device} is unknown: give auto, cpu, cuda or cuda:N.")
        if self.gpus_per_worker and self.device == "cpu":
            raise UserError(
                f"--gpus-per-worker {self.gpus_per_worker:g} contradicts --device cpu: leave one "
                "of them out."
            )
        if self.freeze_after is not None and not IS_TRAINED[self.embedding_type]:
            raise UserError(
                f"--freeze-after has no meaning with {self.embedding_type} embeddings, which are "
                "always fixed: leave it out or choose --embedding-type learned or prototype."
            )
        if self.features is None and self.features_weights is not None:
            raise UserError("--features-weights are of --features: give both, or neither.")
        for asked in self.asked_of_pixels if self.features is not None else ():
            raise UserError(
                f"{asked} has no meaning with --features, which are computed once from every "
                "picture as it is: leave one of them out."
            )
        if self.momentum is not None and self.optimizer == "adamw":
            raise UserError(
                "--momentum is of --optimizer sgd and muon: leave it out, or give one of them."
            )
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise UserError(
                "--nesterov is of --optimizer sgd with a --momentum above 0, and muon's always: "
                "leave it out, or give --optimizer sgd."
            )
        if self.lr_min > self.lr:
            raise UserError(
                f"--lr-min {self.lr_min:g} is above the peak: give at most --lr, {self.lr:g}."
            )
        if self.warmup_epochs > self.epochs:
            raise UserError(
                f"--warmup-epochs {self.warmup_epochs} is longer than the run: give at most "
                f"--epochs, {self.epochs}."
            )

    def _check_chosen(self) -> None:
        """Refuse what a block cannot know without the others."""
        if self.blocks is None:
            return
        parse_blocks(self.blocks, self.num_blocks)
        together = (
            (IS_TRAINED[self.embedding_type] and self.freeze_after != 0, "embedding_type"),
            (self.early_stopping_patience is not None, "early_stopping_patience"),
            (LR_SCHEDULES[self.lr_schedule].feedback is not None, "lr_schedule"),
        )
        for needed, name in together:
            if needed:
                raise UserError(
                    f"{flag(name)} {getattr(self, name)} needs all blocks in one run, and --blocks "
                    f"{self.blocks} trains some: leave out one of them"
                    + (", or give --freeze-after 0." if name == "embedding_type" else ".")
                )

    def _check_split(self, block_options: Mapping[str, Any]) -> None:
        depth, num_blocks = self.split_depth, self.num_blocks
        if depth is None:
            return
        if depth % num_blocks:
            counts = [str(n) for n in range(1, depth + 1) if depth % n == 0]
            raise UserError(
                f"--split-depth {depth} cannot be cut into {num_blocks} blocks of as many layers "
                f"each: give --num-blocks {', '.join(counts[:-1]) + ' or ' * (len(counts) > 1)}"
                f"{counts[-1]}, or a multiple of {num_blocks} such as "
                f"--split-depth {-(-depth // num_blocks) * num_blocks}."
            )
        if "depth" in block_options:
            raise UserError(
                f"--split-depth {depth} says how many layers a block has, and so does "
                f"--block-options depth={block_options['depth']}: leave one of them out."
            )

    @property
    def asked_of_pixels(self) -> list[str]:
        """What of the options changes pixels, as flags with their values."""
        values = {name: getattr(self, name) for name in PIXEL_OPTIONS}
        off = ("none", "auto", "no", None, 0)
        return [f"{flag(name)} {value}" for name, value in values.items() if value not in off]

    @property
    def chosen(self) -> list[int]:
        """The blocks to train, in the order of t: all of 1..T where none are named."""
        return parse_blocks(self.blocks or f"1-{self.num_blocks}", self.num_blocks)

    @property
    def is_placed(self) -> bool:
        """Whether the options say where the run lives."""
        return self.run_dir is not None or self.name is not None

    @property
    def folder(self) -> str:
        """Where the run lives; see ``placed``."""
        assert self.is_placed
        return self.run_dir or f"{HOME}/{self.name}"

    def placed(self, hashes: Mapping[str, str], form: str = "{}") -> "TrainConfig":
        """These options with a name, where they say nothing of where the run lives.

        Args:
            hashes: "data" and "test" of the data, "own", "init", "block" and "features" of what
                else the run begins with, which decide together with the options.
            form: of the name.
        """
        if self.is_placed:
            return self
        return replace(self, name=form.format(self.name_for(hashes)))

    def name_for(self, hashes: Mapping[str, str], **changes: Any) -> str:
        """The name of a run that is given none, of these options with some changes."""
        parts = ("data", "test", "block", "own", "init", "features")
        data = "".join(hashes.get(part, "") for part in parts)
        return f"{self.dataset_name}-{self.embedding_type}-{self.hash(data, **changes)}"

    def hash(self, data: str = "", **changes: Any) -> str:
        """Six letters that differ between runs of different options or data."""
        # What is at its default is left out: an option that is added later renames no run.
        usual = {f.name: f.default for f in fields(self) if f.name not in FREE_FIELDS}
        mine = self.to_dict() | changes
        kept = {k: mine[k] for k, default in usual.items() if mine[k] != default}
        if "block" in kept:  # of a class of one's own the sha256 counts, not the place
            kept["block"] = kept["block"].rpartition(":")[2]
        text = json.dumps(kept, sort_keys=True) + data
        return hashlib.sha256(text.encode()).hexdigest()[:6]

    @property
    def dataset_name(self) -> str:
        """What the data set is called, wherever it lies: its file's or folder's own name."""
        name = Path(self.dataset).expanduser().resolve().name
        return re.sub(r"[^\w.+-]+", "_", name).strip("._-+")[:40] or "data"

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain values."""
        return asdict(self)

    def to_yaml(self) -> str:
        """The fields as a YAML file that ``--config`` reads."""
        import yaml

        text: str = yaml.safe_dump(self.to_dict(), sort_keys=False)
        return text


def _is_name(text: str) -> bool:
    """Whether a folder of this name is listed, and none that a shell or a path takes otherwise."""
    plain = text.isprintable() and not set(text) & {"/", "\\"} and text == text.strip()
    return plain and (text[0].isalnum() or text[0] == "_") and len(text.encode()) <= MAX_NAME


def parse_resources(text: str | None) -> dict[str, float]:
    """The value of ``--resources`` as amounts by name.

    Raises:
        UserError: it is not of the form name=amount,...
    """
    found: dict[str, float] = {}
    for part in text.split(",") if text is not None else ():
        name, _, amount = part.strip().partition("=")
        try:
            found[name] = float(amount)
        except ValueError:
            found[name] = 0
        if not name or name in ("CPU", "GPU") or not 0 < found[name] < math.inf:
            raise UserError(
                f"--resources must be name=amount,... with amounts above 0, got '{text}'; CPUs "
                "and GPUs have options of their own."
            )
    return found


def parse_blocks(text: str, num_blocks: int) -> list[int]:
    """The value of ``--blocks`` as numbers in order.

    Args:
        text: numbers and ranges, such as "1-3,7".
        num_blocks: T.

    Raises:
        UserError: it is not of this form, or names a block that there is not.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdecimal() or not (last or first).isdecimal():
            raise UserError(f"--blocks must be numbers and ranges such as 1-3,7, got '{text}'.")
        span = range(int(first), int(last or first) + 1)
        if not span or span[0] < 1 or span[-1] > num_blocks:
            raise UserError(f"--blocks {text}: blocks are numbered 1 to {num_blocks}.")
        found.update(span)
    return sorted(found)


def parse_block_options(text: str | None) -> dict[str, int | float | bool | str]:
    """The value of ``--block-options`` by name: numbers, true or false, or text.

    Raises:
        UserError: it is not of the form name=value,...
    """
    found: dict[str, int | float | bool | str] = {}
    for part in text.split(",") if text is not None else ():
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not name.isidentifier() or not equals or not value or name in found:
            raise UserError(
                f"--block-options must be name=value,... with each name once, got '{text}'."
            )
        found[name] = _value(value)
    return found


def _value(text: str) -> int | float | bool | str:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


FREE_FIELDS = with_trait(TrainConfig, Trait.FREE)
