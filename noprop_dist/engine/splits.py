"""The data of a run: what units train on, choose by, and report on once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from noprop_dist.config import TrainConfig
from noprop_dist.config.fields import flag
from noprop_dist.data import Augmentation, Split, split_validation
from noprop_dist.data.account import Reading, Shown, not_shown
from noprop_dist.data.dataset import Dataset, Found, for_training
from noprop_dist.data.features import Computing, features_of, in_threads
from noprop_dist.data.given import GIVEN, Given, load_given
from noprop_dist.data.shards import count_common, sha256_of_rows
from noprop_dist.data.sources import find_rows, limit
from noprop_dist.errors import UserError
from noprop_dist.maths.learning_rate import LR_SCHEDULES, schedules_that
from noprop_dist.model.block_names import is_own
from noprop_dist.model.device import resolve_device, use_number_format
from noprop_dist.model.own_block import BlockCode
from noprop_dist.record.backbones import find_backbone
from noprop_dist.record.events import Samples
from noprop_dist.record.own_parts import OwnParts
from noprop_dist.record.progress import shown_work
from noprop_dist.text import describe_samples

UNBALANCED = 10  # times the rows of the smallest class, from which on it is said

STRONG_OPS, STRONG_ERASING, MAGNITUDE = 2, 0.25, 9


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
        own: what else the run begins with.
        row_hashes: of the pictures, where rows are features of them.
        pictures: of ``test``, where its rows are features.
    """

    train: Split
    val: Split
    test: Split
    class_names: tuple[str, ...]
    photographs: bool
    told: str = ""
    num_skipped: int = 0
    own: OwnParts = field(default_factory=OwnParts)
    row_hashes: dict[str, str] | None = None
    pictures: Split | None = None

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Of training and validation rows, "data", of test rows, "test", and of own parts."""
        rows = self.row_hashes
        if rows is None:
            data = sha256_of_rows(self.train, self.val)
            rows = {"data": data, "test": sha256_of_rows(self.test)}
        return rows | self.own.hashes

    @property
    def samples(self) -> Samples:
        """How many there are of which class, and of what shape."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        classes = len(self.class_names)
        counts = {s: np.bincount(rows.labels, minlength=classes) for s, rows in splits.items()}
        shape = (self.pictures or self.test).sample_shape
        told = {s: found.tolist() for s, found in counts.items()}
        return Samples(list(shape), list(self.class_names), told)

    @property
    def nbytes(self) -> int:
        """What of it is in memory, and in Ray's store; images on disk are read in place."""
        return sum(split.memory_bytes for split in (self.train, self.val, self.test))


def load_splits(
    config: TrainConfig, data: Given | None = None, computing: Computing | None = None
) -> Splits:
    """The data that the options name, or that is given, with its validation rows.

    Args:
        config: the options.
        data: instead of the data set that they name.
        computing: what makes features of pictures; None, this process.

    Raises:
        UserError: it is not there, or not readable.
    """
    _refuse_meaningless(config)
    code = BlockCode.read(config.block) if is_own(config.block) else None
    reading = reading_of(config)
    if data is not None:
        found = load_given(data, reading)
    else:
        found = find_rows(config.dataset, reading, config.data_dir)
    _refuse_of_other_rows(config, found)
    splits = splits_of(config, found)
    if config.features is not None:
        splits = _featured(config, found, splits, reading.shown, computing)
    return replace(splits, own=replace(splits.own, code=code))


def _refuse_meaningless(config: TrainConfig) -> None:
    """Refuse options that change nothing beside the others; a folder's are not asked for it."""
    schedule = LR_SCHEDULES[config.lr_schedule]
    if config.lr_patience != TrainConfig.lr_patience and schedule.feedback is None:
        waits = " or ".join(schedules_that(lambda other: other.feedback is not None))
        raise UserError(
            f"--lr-patience {config.lr_patience} is of --lr-schedule {waits}: leave it out, or "
            "give that."
        )
    if config.lr_min > 0 and not schedule.falls:
        falls = " or ".join(schedules_that(lambda other: other.falls))
        raise UserError(
            f"--lr-min {config.lr_min:g} has no meaning with --lr-schedule {config.lr_schedule}: "
            f"leave it out, or give --lr-schedule {falls}."
        )


def _refuse_of_other_rows(config: TrainConfig, found: Found) -> None:
    """Refuse options of how rows are read that mean nothing to these."""
    source = found.name if config.dataset == GIVEN else config.dataset
    for name in ("image_column", "label_column"):
        value = getattr(config, name)
        if value is not None and not found.account.of_columns:
            raise UserError(
                f"{flag(name)} {value} names a column of a table, and {source} is none: leave it "
                "out."
            )
    if config.image_size is not None and len(found.sample_shape) == 1:
        raise UserError(
            f"--image-size {config.image_size} has no meaning for {source}, which holds vectors: "
            "leave it out."
        )


def _featured(
    config: TrainConfig, found: Found, pictures: Splits, shown: Shown, computing: Computing | None
) -> Splits:
    """The same rows as features of their pictures; a run is still known by the pictures."""
    assert config.features is not None
    backbone = find_backbone(config.features, found.sample_shape, config.features_weights)
    if computing is None:
        device = resolve_device(config.device)
        use_number_format("fp32", device)
        backbone = backbone.to(device)
    rows = features_of(found.splits, backbone, shown, computing or in_threads)
    splits = splits_of(config, replace(found, splits=rows, photographs=False))
    spec = backbone.spec
    features = f"{math.prod(splits.train.sample_shape)} features of each by {spec.name}"
    return replace(
        splits,
        told=f"{pictures.told}; {features}, {spec.weights}",
        own=OwnParts(backbone=backbone),
        row_hashes=pictures.hashes,
        pictures=pictures.test,
    )


def of_given_data(config: TrainConfig) -> TrainConfig:
    """The options, which then say that their data was given in Python.

    Raises:
        UserError: they name another data set.
    """
    if config.dataset not in (TrainConfig().dataset, GIVEN):
        raise UserError(
            f"data is given to train(), and --dataset {config.dataset} names other data: leave one "
            "of them out."
        )
    return replace(config, dataset=GIVEN)


def reading_of(config: TrainConfig) -> Reading:
    """How the options want samples to be read."""
    return Reading(
        config.image_size,
        skip_bad=config.skip_bad_images,
        image_column=config.image_column,
        label_column=config.label_column,
        shown=not_shown if config.quiet else shown_work,
    )


def splits_of(config: TrainConfig, found: Found) -> Splits:
    """A source's rows as a run of these options takes them.

    Raises:
        UserError: there is nothing to train on.
    """
    dataset = limit(for_training(found), config.max_train_images, config.seed)
    return make_splits(config, dataset)


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
        "mirrored" if augmentation_of(config, dataset.photographs).flip else "not mirrored",
        *_of_balance(train, dataset.test, dataset.class_names),
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


def _of_balance(train: Split, test: Split, names: Sequence[str]) -> list[str]:
    """What to say of classes that have few rows or none, a part of a sentence each."""
    told = []
    for split, what in ((train, "training"), (test, "test")):
        counts: list[int] = np.bincount(split.labels, minlength=len(names)).tolist()
        missing = [name for name, count in zip(names, counts, strict=True) if not count]
        if missing:
            others = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
            told.append(f"no {what} rows of {', '.join(missing[:3])}{others}")
        some = [(count, name) for name, count in zip(names, counts, strict=True) if count]
        (fewest, rare), (most, common) = min(some), max(some)
        if split is train and most >= UNBALANCED * fewest:
            told.append(
                f"unbalanced: {fewest:,} ({rare}) to {most:,} ({common}) training rows of a class"
            )
    return told


def augmentation_of(config: TrainConfig, photographs: bool) -> Augmentation:
    """What the options do to training pictures."""
    standard, strong = config.augmentation != "none", config.augmentation == "strong"
    auto = {"crop": standard, "flip": standard and photographs}
    crop, flip = (
        auto[part] if asked == "auto" else asked == "yes"
        for part, asked in (("crop", config.crop), ("flip", config.flip))
    )
    ops, magnitude = config.randaugment, config.randaugment_magnitude
    erasing = config.random_erasing
    return Augmentation(
        crop=crop,
        flip=flip,
        randaugment=STRONG_OPS * strong if ops is None else ops,
        magnitude=MAGNITUDE if magnitude is None else magnitude,
        erasing=STRONG_ERASING * strong if erasing is None else erasing,
    )
