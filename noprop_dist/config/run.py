"""All options of a run, and what they mean together.

The fields of ``TrainConfig`` are the flags of ``noprop train`` and the keys of its YAML file.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from noprop_dist.config.fields import Trait, check_types, with_trait
from noprop_dist.config.groups import (
    DataOptions,
    MachineOptions,
    ModelOptions,
    OptimisationOptions,
    RunOptions,
)
from noprop_dist.errors import UserError

HOME = "checkpoints_run"  # where runs are that name no other place
MAX_NAME = 200


@dataclass(frozen=True, kw_only=True)
class TrainConfig(MachineOptions, RunOptions, OptimisationOptions, ModelOptions, DataOptions):
    """The options of one training run.

    Raises:
        UserError: a value is out of range or two options contradict each other.
    """

    def __post_init__(self) -> None:
        """Check every value."""
        check_types(type(self), vars(self))
        for name, hint in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if float in (get_args(hint) or (hint,)) and type(value) is int:
                object.__setattr__(self, name, float(value))  # one run, one spelling
        super().__post_init__()
        if self.name is not None and not _is_name(self.name):
            raise UserError(
                f"--name must be one folder's name of at most {MAX_NAME} bytes that begins with a "
                f"letter or digit, got '{self.name[:40]}'; --checkpoint-dir takes a path."
            )
        if self.alpha_bar_min >= self.alpha_bar_max:
            raise UserError(
                f"--alpha-bar-min {self.alpha_bar_min} must be below --alpha-bar-max "
                f"{self.alpha_bar_max}."
            )
        parse_resources(self.resources)
        self._check_together()

    def _check_together(self) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise UserError(f"--device {self.device} is unknown: give auto, cpu, cuda or cuda:N.")
        if self.no_cuda and self.device.startswith("cuda"):
            raise UserError(f"--no-cuda contradicts --device {self.device}: leave one of them out.")
        if self.gpus_per_worker and (self.no_cuda or self.device == "cpu"):
            raise UserError(
                f"--gpus-per-worker {self.gpus_per_worker:g} contradicts "
                f"{'--no-cuda' if self.no_cuda else '--device cpu'}: leave one of them out."
            )
        if self.freeze_after is not None and self.embedding_type in ("one-hot", "own"):
            raise UserError(
                f"--freeze-after has no meaning with {self.embedding_type} embeddings, which are "
                "always fixed: leave it out or choose --embedding-type learned or prototype."
            )
        if self.flip == "yes" and self.augmentation == "none":
            raise UserError(
                "--flip yes is a part of the standard augmentation: give --augmentation standard, "
                "or leave it out."
            )
        if self.warmup_epochs > self.epochs:
            raise UserError(
                f"--warmup-epochs {self.warmup_epochs} is longer than the run: give at most "
                f"--epochs, {self.epochs}."
            )

    @property
    def is_placed(self) -> bool:
        """Whether the options say where the run lives."""
        return self.checkpoint_dir is not None or self.name is not None

    @property
    def folder(self) -> str:
        """Where the run lives; see ``placed``."""
        assert self.is_placed
        return self.checkpoint_dir or f"{HOME}/{self.name}"

    def placed(self, hashes: Mapping[str, str], form: str = "{}") -> "TrainConfig":
        """These options with a name, where they say nothing of where the run lives.

        Args:
            hashes: "data" and "test" of the data, "own" and "init" of what else the run begins
                with, which decide together with the options.
            form: of the name.
        """
        if self.is_placed:
            return self
        return replace(self, name=form.format(self.name_for(hashes)))

    def name_for(self, hashes: Mapping[str, str], **changes: Any) -> str:
        """The name of a run that is given none, of these options with some changes."""
        data = "".join(hashes.get(part, "") for part in ("data", "test", "own", "init"))
        return f"{self.dataset_name}-{self.embedding_type}-{self.hash(data, **changes)}"

    def hash(self, data: str = "", **changes: Any) -> str:
        """Six letters that differ between runs of different options or data."""
        kept = {k: v for k, v in (self.to_dict() | changes).items() if k not in FREE_FIELDS}
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


FREE_FIELDS = with_trait(TrainConfig, Trait.FREE)
