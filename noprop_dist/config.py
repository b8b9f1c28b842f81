"""Every option of a run: its default, its help line and its check, once.

The fields of ``TrainConfig`` are the flags of ``noprop train`` and the keys of its YAML file.
"""

import difflib
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from noprop_dist.errors import UserError


def option(default: Any, group: str, text: str) -> Any:
    """A field of options: its default, its group in ``--help`` and its line there."""
    return field(default=default, metadata={"group": group, "help": text})


def argument(name: str, text: str, default: Any = MISSING) -> Any:
    """A field told by its place: its name and line in ``--help``; it must be given, or defaults."""
    return field(default=default, metadata={"group": "arguments", "help": text, "name": name})


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The options of one training run.

    Raises:
        UserError: a value is out of range or two options contradict each other.
    """

    dataset: str = option(
        "digits",
        "data",
        "digits, mnist, fashion-mnist, kmnist, cifar10, cifar100, svhn, or the path of a folder of "
        "class folders or of Parquet files",
    )
    data_dir: str | None = option(None, "data", "where named data sets are kept or downloaded to")
    image_size: int | None = option(None, "data", "resize images to this height and width")
    skip_bad_images: bool = option(
        False, "data", "go on past images that do not decode, and count them"
    )
    max_train_images: int | None = option(
        None, "data", "train on about N images, the same share of every class"
    )
    val_fraction: float = option(
        0.1,
        "data",
        "share of the training set held out for validation, where the data has no such split",
    )
    augmentation: Literal["none", "standard"] = option(
        "none",
        "data",
        "standard: random crop with padding 4, less for small images, and flips for colour "
        "photographs",
    )
    flip: Literal["auto", "yes", "no"] = option(
        "auto",
        "data",
        "whether the standard augmentation mirrors; auto: colour images, but not digits of svhn",
    )

    embedding_type: Literal["one-hot", "learned", "prototype"] = option(
        "one-hot", "model", "class embeddings: fixed one-hot, learned, or prototype images"
    )
    embedding_dim: int | None = option(
        None, "model", "D; default: classes for one-hot, 64 for learned, pixels for prototype"
    )
    num_blocks: int = option(10, "model", "T, the number of blocks")
    block: Literal["auto", "conv", "conv-pooled", "mlp", "resnet18"] = option(
        "auto",
        "model",
        "block architecture; auto: conv (Fig. 6) for images, conv-pooled for those above 64 "
        "pixels, mlp for vectors",
    )
    dropout: float = option(
        0.2, "model", "dropout of every block but resnet18, to the nearest 1/256"
    )
    schedule: Literal["cosine", "linear"] = option("cosine", "model", "noise schedule")
    alpha_bar_min: float = option(1e-4, "model", "alpha_bar[0], the share of label in z_0")
    alpha_bar_max: float = option(0.99, "model", "alpha_bar[T], the share of label in z_T")
    readout: Literal["softmax", "radial"] = option("softmax", "model", "readout of z_T")

    epochs: int = option(25, "optimisation", "epochs of every block")
    batch_size: int = option(128, "optimisation", "images per step")
    lr: float = option(1e-3, "optimisation", "peak learning rate of AdamW")
    weight_decay: float = option(1e-3, "optimisation", "weight decay of AdamW")
    eta: float = option(0.1, "optimisation", "weight of the denoising term in the loss (eq. 8)")
    warmup_epochs: float = option(0.5, "optimisation", "linear warm-up, in epochs")
    lr_schedule: Literal["constant", "cosine", "plateau"] = option(
        "cosine", "optimisation", "learning rate after the warm-up"
    )
    lr_scheduler_patience: int = option(
        5, "optimisation", "plateau: epochs without a better validation accuracy before lr halves"
    )
    grad_clip: float | None = option(
        None, "optimisation", "clip a block's gradient norm at this times its loss weight"
    )
    ema_decay: float | None = option(
        None, "optimisation", "evaluate an exponential average of the weights with this decay"
    )
    freeze_after: int | None = option(
        None, "optimisation", "rounds after which learned embeddings stay fixed; default: never"
    )
    early_stopping_patience: int | None = option(
        None, "optimisation", "stop after this many epochs without a better validation accuracy"
    )

    name: str | None = option(
        None,
        "run",
        "name of the run; default: data set, embedding and a hash of options and images",
    )
    checkpoint_dir: str | None = option(
        None, "run", "run folder or URI; default: checkpoints_run/<name>"
    )
    checkpoint: str | None = option(None, "run", "run folder or checkpoint to go on from")
    save_every: int = option(1, "run", "epochs between checkpoints")
    keep_checkpoints: int = option(2, "run", "newest checkpoints to keep")
    history: str | None = option(None, "run", "also write the training history to this file")
    seed: int = option(0, "run", "seed of every random number")
    dry_run: bool = option(
        False, "run", "check everything, estimate memory and time, leave nothing"
    )
    no_plots: bool = option(False, "run", "draw no pictures at the end")
    tensorboard: bool = option(False, "run", "write TensorBoard's event files into the run folder")
    tracker: Literal["none", "wandb", "mlflow"] = option(
        "none", "run", "also log to Weights & Biases or MLflow, set up by their own variables"
    )
    quiet: bool = option(False, "run", "print nothing but the result")

    device: str = option("auto", "machine", "auto, cpu, cuda or cuda:N")
    no_cuda: bool = option(False, "machine", "never use a GPU")
    precision: Literal["auto", "fp32", "bf16"] = option(
        "auto", "machine", "auto: bf16 autocast where the device computes in it"
    )
    executor: Literal["ray", "local"] = option(
        "ray",
        "machine",
        "where units run: on the Ray cluster of RAY_ADDRESS, else on a private one that ends with "
        "the run; or in this process",
    )
    workers: int | None = option(
        None, "machine", "default: one per GPU, else one per core; on a cluster as many as it holds"
    )
    cpus_per_worker: int = option(1, "machine", "threads of a unit; they change the bits")
    gpus_per_worker: float | None = option(
        None,
        "machine",
        "ray: GPUs of a worker; a fraction lets workers share one; default: 1 where there are any",
    )
    blocks_per_worker: int = option(
        1, "machine", "ray: blocks that a worker trains at once, where one does not fill its GPU"
    )
    resources: str | None = option(
        None, "machine", "ray: custom resources of a worker, for labelled nodes: name=amount,..."
    )
    spares: int | None = option(
        None,
        "machine",
        "ray, without GPUs: warm workers per node that stand in for dead ones; default: 1 on a "
        "cluster, 0 on a private one",
    )

    def __post_init__(self) -> None:
        """Check every value."""
        check_types(vars(self))
        for name, hint in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if float in (get_args(hint) or (hint,)) and type(value) is int:
                object.__setattr__(self, name, float(value))  # one run, one spelling
        for name, least in _AT_LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"{flag(name)} must be at least {least}, got {value}.")
        for name in _NOT_EMPTY:
            if getattr(self, name) == "":
                raise UserError(f"{flag(name)} must not be empty: give a value or leave it out.")
        if self.name is not None and not _is_name(self.name):
            raise UserError(
                f"--name must be one folder's name of at most {MAX_NAME} bytes that begins with a "
                f"letter or digit, got '{self.name[:40]}'; --checkpoint-dir takes a path."
            )
        if self.image_size is not None and self.image_size > MAX_IMAGE_SIZE:
            raise UserError(
                f"--image-size must be at most {MAX_IMAGE_SIZE}, got {self.image_size}."
            )
        for name in _AT_LEAST_ZERO:
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise UserError(f"{flag(name)} must be a number of at least 0, got {value}.")
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UserError(f"{flag(name)} must be a positive finite number, got {value}.")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise UserError(f"--ema-decay must lie between 0 and 1, got {self.ema_decay}.")
        for name in ("val_fraction", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{flag(name)} must be in [0, 1), got {getattr(self, name)}.")
        if not 0 < self.alpha_bar_min < self.alpha_bar_max < 1:
            raise UserError(
                "--alpha-bar-min and --alpha-bar-max must satisfy 0 < min < max < 1, got "
                f"{self.alpha_bar_min} and {self.alpha_bar_max}."
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
        if self.freeze_after is not None and self.embedding_type == "one-hot":
            raise UserError(
                "--freeze-after has no meaning with one-hot embeddings, which are always fixed: "
                "leave it out or choose --embedding-type learned or prototype."
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
            hashes: "data" and "test" of the data, which decide together with the options.
            form: of the name.
        """
        if self.is_placed:
            return self
        data = hashes.get("data", "") + hashes.get("test", "")
        name = f"{self.dataset_name}-{self.embedding_type}-{self.hash(data)}"
        return replace(self, name=form.format(name))

    def hash(self, data: str = "") -> str:
        """Six letters that differ between runs of different options or data."""
        kept = {k: v for k, v in self.to_dict().items() if k not in FREE_FIELDS}
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


def check_types(values: Mapping[str, Any], source: str = "") -> None:
    """Look at names and types: values of a YAML file or of Python code, which no parser has seen.

    Args:
        values: by field name.
        source: where they stand, for error messages.

    Raises:
        UserError: an unknown field, or a value of another type than its field's.
    """
    hints = get_type_hints(TrainConfig)
    where = f"{source}: " if source else ""
    for name, value in values.items():
        if name not in hints:
            near = difflib.get_close_matches(name, hints, n=1)
            known = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(hints))}."
            raise UserError(f"{where}the field '{name}' is unknown; {known}")
        hint = hints[name]
        choices = get_args(hint) if get_origin(hint) is Literal else ()
        if choices and value not in choices:
            raise UserError(
                f"{where}{flag(name)} must be one of {', '.join(map(str, choices))}, got {value!r}."
            )
        kinds = () if choices else get_args(hint) or (hint,)
        allowed = kinds + ((int,) if float in kinds else ())
        if kinds and type(value) not in allowed:
            right = " or ".join("left out" if k is type(None) else k.__name__ for k in kinds)
            is_text = source and str in kinds and not isinstance(value, (list, dict))
            mend = ": put quotes around it" if is_text else ""
            raise UserError(f"{where}{flag(name)} must be {right}, got {value!r}{mend}.")


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


HOME = "checkpoints_run"  # where runs are that name no other place
MAX_NAME = 200
MAX_IMAGE_SIZE = 4096
_NOT_EMPTY = (
    "dataset", "data_dir", "name", "checkpoint_dir", "checkpoint", "history", "resources",
)  # fmt: skip
_AT_LEAST = {
    "image_size": 4,
    "max_train_images": 1,
    "embedding_dim": 1,
    "num_blocks": 1,
    "epochs": 1,
    "batch_size": 2,  # batch norm needs two samples
    "lr_scheduler_patience": 1,
    "early_stopping_patience": 1,
    "save_every": 1,
    "keep_checkpoints": 1,
    "workers": 1,
    "cpus_per_worker": 1,
    "blocks_per_worker": 1,
    "spares": 0,
}
_AT_LEAST_ZERO = ("weight_decay", "warmup_epochs", "freeze_after", "seed", "gpus_per_worker")
_POSITIVE = ("lr", "eta", "grad_clip")

# Fields that change no weight: a run may be gone on with after changing them. Not where the data
# lies decides, but what it holds.
FREE_FIELDS = frozenset(
    {
        "dataset", "data_dir", "name", "checkpoint_dir", "checkpoint", "save_every",
        "keep_checkpoints", "history", "dry_run", "no_plots", "quiet", "executor", "workers",
        "gpus_per_worker", "blocks_per_worker", "resources", "spares", "device", "no_cuda",
        "tensorboard", "tracker",
    }
)  # fmt: skip


def flag(name: str) -> str:
    """The command-line spelling of a field."""
    return "--" + name.replace("_", "-")
