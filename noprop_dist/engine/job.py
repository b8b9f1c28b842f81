"""What every unit of one run has in common, resolved from the options and the data."""

import math
from dataclasses import dataclass, replace

import torch

from noprop_dist.config import TrainConfig
from noprop_dist.config.fields import flag
from noprop_dist.data import (
    Dataset,
    Normalisation,
    Split,
    fit_normalisation,
    load_dataset,
    split_validation,
)
from noprop_dist.data.shards import count_common, sha256_of_rows
from noprop_dist.errors import UserError
from noprop_dist.faults import Fault
from noprop_dist.maths.learning_rate import LR_SCHEDULES, LrSchedule, learning_rate
from noprop_dist.model.device import resolve_precision
from noprop_dist.model.registry import BLOCKS, blocks_for, default_block
from noprop_dist.model.spec import ModelSpec


@dataclass(frozen=True)
class Job:
    """One run, resolved: small, immutable, the same on every worker.

    Attributes:
        config: the options.
        spec: the network's shape.
        normalisation: from the training split.
        steps_per_epoch: full batches in the training split.
        flip: whether the standard augmentation mirrors.
        precision: "fp32" or "bf16".
        class_names: K names.
        fingerprint: what else fixes the bits and the numbers: "data" (hash of training and
            validation rows), "test" (of test rows), "precision", "device" and "torch" (its
            version).
        faults: on purpose, for tests.
    """

    config: TrainConfig
    spec: ModelSpec
    normalisation: Normalisation
    steps_per_epoch: int
    flip: bool
    precision: str
    class_names: tuple[str, ...]
    fingerprint: dict[str, str]
    faults: tuple[Fault, ...] = ()

    def on(self, device: torch.device, precision: str) -> "Job":
        """This job as units compute it on devices of such a type, in "fp32" or "bf16"."""
        there = {"precision": precision, "device": device.type}
        return replace(self, precision=precision, fingerprint=self.fingerprint | there)

    @property
    def total_steps(self) -> int:
        """Steps of one block over the whole run."""
        return self.config.epochs * self.steps_per_epoch

    def learns_embedding(self, epoch: int) -> bool:
        """Whether W is trained in ``epoch`` (0-based)."""
        frozen = self.config.freeze_after
        return self.config.embedding_type != "one-hot" and (frozen is None or epoch < frozen)

    def lr(self, step: int) -> float:
        """Learning rate of ``step`` (0-based) before any feedback."""
        return learning_rate(
            self.lr_schedule,
            step,
            peak=self.config.lr,
            warmup=self.config.warmup_epochs * self.steps_per_epoch,
            total=self.total_steps,
        )

    @property
    def lr_schedule(self) -> LrSchedule:
        """How the learning rate goes on after the warm-up."""
        return LR_SCHEDULES[self.config.lr_schedule]


@dataclass(frozen=True)
class Splits:
    """The data of a run: what units train on, choose by, and report on once.

    Attributes:
        train: rows to train on.
        val: rows to choose by; may be empty.
        test: rows to report on.
        class_names: K names.
        photographs: colour images, which the standard augmentation mirrors unless told otherwise.
        told: what they are and where they came from, as one line.
        num_skipped: bad images that were left out.
    """

    train: Split
    val: Split
    test: Split
    class_names: tuple[str, ...]
    photographs: bool
    told: str = ""
    num_skipped: int = 0

    def hashes(self) -> dict[str, str]:
        """Of training and validation rows, "data", and of test rows, "test"."""
        data = sha256_of_rows(self.train, self.val)
        return {"data": data, "test": sha256_of_rows(self.test)}

    @property
    def nbytes(self) -> int:
        """The memory of all of it."""
        return self.train.nbytes + self.val.nbytes + self.test.nbytes


def load_data(config: TrainConfig) -> Dataset:
    """The data set that the options name.

    Raises:
        UserError: it is not there, or not readable.
    """
    return load_dataset(
        config.dataset,
        data_dir=config.data_dir,
        image_size=config.image_size,
        skip_bad_images=config.skip_bad_images,
        max_train_images=config.max_train_images,
        seed=config.seed,
    )


def make_splits(config: TrainConfig, dataset: Dataset) -> Splits:
    """The data set with its validation rows, or those that ``config`` asks for."""
    train, val, held_out = dataset.train, dataset.val, dataset.held_out
    if val is None:
        train, val = split_validation(train, config.val_fraction, config.seed)
        held_out = ("val", *held_out)
    counts = {"train": len(train), "val": len(val), "test": len(dataset.test)}
    told = [
        dataset.account.sentence(counts, held_out, dataset.class_names),
        describe_samples(train.sample_shape),
        "mirrored" if _flips(config, dataset.photographs) else "not mirrored",
    ]
    if common := count_common(dataset.test, train):
        told.append(f"{common:,} test rows are training rows too")
    return Splits(
        train,
        val,
        dataset.test,
        dataset.class_names,
        dataset.photographs,
        "; ".join(told),
        dataset.num_skipped,
    )


def _flips(config: TrainConfig, photographs: bool) -> bool:
    """Whether training images are mirrored."""
    wanted = photographs if config.flip == "auto" else config.flip == "yes"
    return wanted and config.augmentation != "none"


def describe_samples(shape: tuple[int, ...]) -> str:
    """What samples are: "8x8 grey" or "vectors of 64"."""
    if len(shape) == 1:
        return f"vectors of {shape[0]}"
    return f"{shape[1]}x{shape[2]} {'grey' if shape[0] == 1 else 'colour'}"


def make_job(config: TrainConfig, dataset: Dataset, device: torch.device) -> tuple[Job, Splits]:
    """Split the data set and resolve ``config`` against it; see ``resolve_job``."""
    splits = make_splits(config, dataset)
    return resolve_job(config, splits, device), splits


def resolve_job(config: TrainConfig, splits: Splits, device: torch.device) -> Job:
    """What ``config`` means for this data.

    Raises:
        UserError: the options do not fit the data.
    """
    train = splits.train
    spec = check_fit(config, splits)
    precision = resolve_precision(config.precision, device)
    return Job(
        config=config,
        spec=spec,
        normalisation=fit_normalisation(train),
        steps_per_epoch=len(train) // config.batch_size,
        flip=_flips(config, splits.photographs),
        precision=precision,
        class_names=splits.class_names,
        fingerprint=splits.hashes()
        | {
            "precision": precision,
            "device": device.type,
            "torch": torch.__version__,
        },
    )


def check_fit(config: TrainConfig, splits: Splits) -> ModelSpec:
    """The network that ``config`` means for this data; looks at no sample.

    Raises:
        UserError: the options do not fit the data.
    """
    train, val = splits.train, splits.val
    if len(train) < 2:
        raise UserError(
            f"{len(train)} training images are left after --max-train-images and --val-fraction: "
            "training needs at least 2."
        )
    if len(train) < config.batch_size:
        raise UserError(
            f"--batch-size {config.batch_size} is larger than the training set of {len(train)} "
            f"images: give at most {len(train)}."
        )
    if config.augmentation != "none" and train.is_vector:
        raise UserError("--augmentation standard needs images; this data set holds vectors.")
    for name, needed in (
        ("early_stopping_patience", config.early_stopping_patience is not None),
        ("lr_schedule", LR_SCHEDULES[config.lr_schedule].feedback is not None),
    ):
        if needed and not len(val):
            raise UserError(
                f"{flag(name)} {getattr(config, name)} needs validation images, and --val-fraction "
                f"{config.val_fraction} leaves none of {len(train)}: give more, or leave it out."
            )
    return make_spec(config, train.sample_shape, len(splits.class_names))


def make_spec(config: TrainConfig, shape: tuple[int, ...], num_classes: int) -> ModelSpec:
    """The network that ``config`` means for such samples.

    Raises:
        UserError: the options do not fit them.
    """
    known = blocks_for(shape)
    block: str = default_block(shape) if config.block == "auto" else config.block
    if block not in known:
        kind = "vectors" if len(shape) == 1 else "images"
        right = " or ".join(filter(None, [", ".join(known[:-1]), known[-1]]))
        raise UserError(f"--block {block} cannot take {kind}: give --block {right}.")
    least = BLOCKS[block].takes.least
    if len(shape) == 3 and min(shape[1:]) < least:
        raise UserError(
            f"images of {shape[1]}x{shape[2]} are too small: give --image-size of at least {least}."
        )
    return ModelSpec(
        block=block,
        num_blocks=config.num_blocks,
        num_classes=num_classes,
        embed_dim=_embed_dim(config, math.prod(shape), num_classes),
        sample_shape=shape,
        embedding_type=config.embedding_type,
        schedule=config.schedule,
        alpha_bar_min=config.alpha_bar_min,
        alpha_bar_max=config.alpha_bar_max,
        readout=config.readout,
        dropout=config.dropout,
        objective=config.objective,
    )


def _embed_dim(config: TrainConfig, sample_size: int, num_classes: int) -> int:
    given = config.embedding_dim
    fixed = {"one-hot": num_classes, "prototype": sample_size}.get(config.embedding_type)
    if fixed is None:
        return given or 64
    if given not in (None, fixed):
        what = "the number of classes" if config.embedding_type == "one-hot" else "the image size"
        raise UserError(
            f"--embedding-dim {given} does not fit --embedding-type {config.embedding_type}, "
            f"which needs {what}, {fixed}: leave it out or give {fixed}."
        )
    return fixed
