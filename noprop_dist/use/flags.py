"""The options of ``noprop evaluate``, ``predict`` and ``export``; nothing here imports PyTorch."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from noprop_dist.config.fields import Bounds, Checked, Trait, argument, at_least, option
from noprop_dist.config.groups import MAX_IMAGE_SIZE
from noprop_dist.errors import UserError

SUFFIXES = {"safetensors": ".safetensors", "torch-export": ".pt2", "onnx": ".onnx"}
TARGETS = tuple(SUFFIXES)
MIB = 2**20

RUN = "run folder or its URI; model/ or a checkpoint inside; or an exported safetensors file"
DEVICE = "auto, cpu, cuda or cuda:N"
PRECISION = "run: what the run was asked for; auto: bf16 where the device computes in it"
OTHER_DATA = (
    "another data set, named as for noprop train, or where the run's own is now; default: where "
    "the run found it"
)
SKIP_BAD = "go on past images that do not decode, and count them"
BLOCK = (
    "of a run whose block is a class of one's own: that class, or its copy in the run's folder, "
    "RUN/block.py:Class; its code is run"
)
DATA_DIR = "where named data sets are kept or downloaded to"


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(Checked):
    """What to evaluate, and on what.

    Raises:
        UserError: a value is out of range.
    """

    run: str = argument("RUN", RUN)
    dataset: str | None = option(None, "data", OTHER_DATA)
    data_dir: str | None = option(None, "data", DATA_DIR)
    image_size: int | None = option(
        None,
        "data",
        "another data set: resize its images to this height and width",
        Bounds(least=4, most=MAX_IMAGE_SIZE),
    )
    split: Literal["test", "train", "val", "all"] | None = option(
        None,
        "data",
        "which rows; default: the test split, and of other data without one all",
    )
    skip_bad_images: bool = option(False, "data", SKIP_BAD)
    other_names: bool = option(
        False, "data", "take the labels for the run's although the class names differ"
    )
    draws: int = option(
        5, "evaluation", "noise draws, the same ones as after training", at_least(1)
    )
    batch_size: int = option(
        2048,
        "evaluation",
        "rows of one piece of work; changes no number",
        at_least(1),
        formerly="batch",
    )
    block: str | None = option(None, "machine", BLOCK)
    device: str = option("auto", "machine", DEVICE)
    precision: Literal["run", "auto", "fp32", "bf16"] = option("run", "machine", PRECISION)
    output: str | None = option(
        None, "output", "folder of evaluation.json and plots/evaluation.png; default: the run's"
    )
    json: bool = option(False, "output", "print the result as one JSON object on the last line")


@dataclass(frozen=True, kw_only=True)
class PredictOptions(Checked):
    """What to classify, and how to say it.

    Raises:
        UserError: a value is out of range, or options contradict each other.
    """

    run: str = argument("RUN", RUN)
    images: tuple[str, ...] = argument(
        "IMAGE_OR_FOLDER", "pictures, and folders of pictures; or Parquet files of vectors"
    )
    top_k: int = option(3, "prediction", "the likeliest K classes", at_least(1))
    readout: Literal["auto", "z_T", "mean_softmax", "last_block", "weighted", "best_block"] = (
        option(
            "auto",
            "prediction",
            "auto: what the validation split chose; z_T: the paper's; mean_softmax: the mean "
            "of what the T blocks say; weighted: one with weights fitted there",
        )
    )
    draws: int = option(
        1, "prediction", "noise draws to average the probabilities over", at_least(1)
    )
    seed: int = option(
        0, "prediction", "of the noise; one seed, one answer", Bounds(least=0, below=2**63)
    )
    image_column: str | None = option(
        None, "prediction", "of Parquet files, the column of vectors; default: as in training"
    )
    max_bytes: int = option(64 * MIB, "limits", "leave out larger files, unread", at_least(1))
    max_pixels: int = option(
        64 * MIB, "limits", "leave out larger pictures, undecoded", at_least(1)
    )
    batch_size: int | None = option(
        None,
        "machine",
        "pictures computed at once; default: 256, on a GPU 2048",
        at_least(1),
        formerly="batch",
    )
    block: str | None = option(None, "machine", BLOCK)
    device: str = option("auto", "machine", DEVICE)
    precision: Literal["run", "auto", "fp32", "bf16"] = option("run", "machine", PRECISION)
    ray: bool = option(
        False, "machine", "use every core of the Ray cluster of RAY_ADDRESS, else of this machine"
    )
    format: Literal["table", "jsonl", "parquet"] = option(
        "table", "output", "one line, or Parquet row, per picture"
    )
    output: str | None = option(
        None, "output", "file to write; default: standard output", traits=Trait.LOCAL
    )

    def __post_init__(self) -> None:
        """Check every value."""
        super().__post_init__()
        if not self.images:
            raise UserError("give at least one picture, or a folder of pictures, after the run.")
        if self.format == "parquet" and self.output is None:
            raise UserError("--format parquet needs a file to write: give --output FILE.parquet.")


@dataclass(frozen=True, kw_only=True)
class ExportOptions(Checked):
    """What to export, to what, and on which images to check it.

    Raises:
        UserError: an unknown target, or a value out of range.
    """

    run: str = argument("RUN", RUN)
    format: str = option(
        "safetensors", "export", f"what to write: {', '.join(TARGETS)}", formerly="to"
    )
    draws: int = option(
        1,
        "export",
        "noise draws to average over, fixed in the file; not for safetensors",
        at_least(1),
    )
    output: str | None = option(
        None,
        "export",
        "the file; default: network.safetensors, .pt2 or .onnx in this folder",
        traits=Trait.LOCAL,
    )
    dataset: str | None = option(None, "check", OTHER_DATA)
    data_dir: str | None = option(None, "check", DATA_DIR)
    block: str | None = option(None, "export", BLOCK)
    device: str = option("auto", "check", DEVICE + ": where the file is checked")
    json: bool = option(False, "output", "print the result as one JSON object on the last line")

    def __post_init__(self) -> None:
        """Check every value."""
        super().__post_init__()
        if self.format not in TARGETS:
            near = difflib.get_close_matches(self.format.lower(), TARGETS, n=1, cutoff=0.7)
            hint = f"did you mean {near[0]}? " if near else ""
            raise UserError(
                f"--format {self.format} is unknown; {hint}known are {', '.join(TARGETS)}."
            )
        suffix = "" if self.output is None else Path(self.output).suffix
        if suffix in (*SUFFIXES.values(), *(f".{name}" for name in TARGETS)) and (
            suffix != SUFFIXES[self.format]
        ):
            raise UserError(
                f"--output {self.output} ends like another format than --format {self.format}, "
                f"whose files end in {SUFFIXES[self.format]}: change one of the two."
            )
        if self.format == "safetensors" and self.draws > 1:
            raise UserError(
                "--draws has no meaning for safetensors, which holds weights alone: leave it out."
            )
