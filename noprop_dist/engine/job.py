"""What every unit of one run has in common, resolved from the options and the data."""

import math
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from noprop_dist.config import TrainConfig
from noprop_dist.config.fields import flag
from noprop_dist.config.run import parse_block_options
from noprop_dist.data import (
    Augmentation,
    Mixing,
    Normalisation,
    balanced_weights,
    fit_normalisation,
)
from noprop_dist.engine.splits import Splits, augmentation_of
from noprop_dist.errors import UserError
from noprop_dist.faults import Fault
from noprop_dist.maths.embedding_types import IS_TRAINED
from noprop_dist.maths.learning_rate import LR_SCHEDULES, LrSchedule, learning_rate
from noprop_dist.maths.optimizer import OPTIMIZERS
from noprop_dist.maths.rule import Rule, Settings
from noprop_dist.model.block import Block
from noprop_dist.model.block_names import is_own
from noprop_dist.model.device import resolve_precision
from noprop_dist.model.own_block import BlockCode
from noprop_dist.model.registry import (
    BLOCKS,
    block_class,
    blocks_for,
    default_block,
    takes,
    takes_depth,
)
from noprop_dist.model.spec import ModelSpec
from noprop_dist.record.own_parts import OWN


@dataclass(frozen=True)
class Job:
    """One run, resolved: small, immutable, the same on every worker.

    Attributes:
        config: the options.
        spec: the network's shape.
        normalisation: from the training split.
        steps_per_epoch: full batches in the training split.
        augmentation: what is done to training pictures.
        mixing: how training samples are mixed, and what they count.
        precision: "fp32" or "bf16".
        class_names: K names.
        fingerprint: what else fixes the bits and the numbers: "data" (hash of training and
            validation rows), "test" (of test rows), "precision", "device", "torch" (its
            version), "block" (of the source of a block of the user's own), and "features" (of the
            weights of a backbone).
        faults: on purpose, for tests.
    """

    config: TrainConfig
    spec: ModelSpec
    normalisation: Normalisation
    steps_per_epoch: int
    augmentation: Augmentation
    mixing: Mixing
    precision: str
    class_names: tuple[str, ...]
    fingerprint: dict[str, str]
    faults: tuple[Fault, ...] = ()

    @property
    def total_steps(self) -> int:
        """Steps of one block over the whole run."""
        return self.config.epochs * self.steps_per_epoch

    def learns_embedding(self, epoch: int) -> bool:
        """Whether W is trained in ``epoch`` (0-based)."""
        frozen = self.config.freeze_after
        return IS_TRAINED[self.config.embedding_type] and (frozen is None or epoch < frozen)

    def rule(self, name: str, dims: int) -> Rule:
        """How a parameter is updated: by its name in a snapshot and its number of dimensions."""
        return OPTIMIZERS[self.config.optimizer](dims, name.startswith("block."))

    @property
    def optimizer_settings(self) -> Settings:
        """What every update is told."""
        config = self.config
        return Settings(config.weight_decay, config.momentum, config.nesterov)

    @property
    def step_size(self) -> int:
        """Images of a step, in as many parts as the options say."""
        return self.config.batch_size * self.config.accumulate

    def steps_of_evaluation(self, num_images: int) -> float:
        """So many steps of a block take as long as all blocks' answers for these images.

        A forward pass is a third of a step, and the image's part of it serves all noise draws.
        """
        return self.spec.num_blocks * num_images / self.step_size / 3

    def lr(self, step: int, scale: float = 1.0) -> float:
        """Learning rate of ``step`` (0-based); ``scale`` is what feedback has made of it."""
        return learning_rate(
            self.lr_schedule,
            step,
            peak=self.config.lr,
            least=self.config.lr_min,
            scale=scale,
            warmup=self.config.warmup_epochs * self.steps_per_epoch,
            total=self.total_steps,
        )

    @property
    def lr_schedule(self) -> LrSchedule:
        """How the learning rate goes on after the warm-up."""
        return LR_SCHEDULES[self.config.lr_schedule]


def make_job(
    config: TrainConfig,
    splits: Splits,
    device: torch.device,
    precision: str | None = None,
    faults: tuple[Fault, ...] = (),
) -> Job:
    """What ``config`` means for this data, where units compute.

    Args:
        config: the options.
        splits: the data.
        device: of the units; its type counts.
        precision: "fp32" or "bf16"; None takes what the options come to on ``device``.
        faults: on purpose, for tests.

    Raises:
        UserError: the options do not fit the data.
    """
    precision = precision or resolve_precision(config.precision, device)
    there = {"precision": precision, "device": device.type, "torch": torch.__version__}
    spec = check_fit(config, splits)
    return Job(
        config=config,
        spec=spec,
        normalisation=fit_normalisation(splits.train),
        steps_per_epoch=len(splits.train) // (config.batch_size * config.accumulate),
        augmentation=augmentation_of(config, splits.photographs),
        mixing=_mixing(config, splits),
        precision=precision,
        class_names=splits.class_names,
        fingerprint=splits.hashes | spec.block_hash | there,
        faults=faults,
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
    if len(train) < config.batch_size * config.accumulate:
        times = f" times --accumulate {config.accumulate}" if config.accumulate > 1 else ""
        raise UserError(
            f"--batch-size {config.batch_size}{times} is larger than the training set of "
            f"{len(train)} images: give at most {len(train) // config.accumulate}."
        )
    for asked in config.asked_of_pixels if train.is_vector else ():
        raise UserError(f"{asked} needs images; this data set holds vectors.")
    for name, needed in (
        ("early_stopping_patience", config.early_stopping_patience is not None),
        ("lr_schedule", LR_SCHEDULES[config.lr_schedule].feedback is not None),
    ):
        if needed and not len(val):
            raise UserError(
                f"{flag(name)} {getattr(config, name)} needs validation images, and --val-fraction "
                f"{config.val_fraction} leaves none of {len(train)}: give more, or leave it out."
            )
    spec = make_spec(config, train.sample_shape, len(splits.class_names))
    return _with_own_parts(spec, splits)


def _with_own_parts(spec: ModelSpec, splits: Splits) -> ModelSpec:
    """The network with what was given in Python.

    Raises:
        UserError: that is missing, or does not fit the data.
    """
    own = splits.own
    for name, said, part in (
        ("noise_schedule", "--noise-schedule", own.alpha_bar if spec.schedule == OWN else ()),
        ("class_embed", "--embedding-type", own.class_embed if spec.embedding_type == OWN else ()),
    ):
        if part is None:
            raise UserError(
                f"{said} own is given in Python, as train(config, {name}=...), and kept in the run "
                "folder: give it there, that folder, or another value."
            )
    if own.class_embed is not None:
        rows, dim = own.class_embed.shape
        if rows != spec.num_classes:
            raise UserError(
                f"class_embed has {rows} rows and the data {spec.num_classes} classes: give a row "
                "for every class."
            )
        spec = replace(spec, embed_dim=dim)
    alpha_bar = None if own.alpha_bar is None else tuple(own.alpha_bar.tolist())
    backbone = None if own.backbone is None else own.backbone.spec
    return replace(spec, alpha_bar=alpha_bar, backbone=backbone)


def _mixing(config: TrainConfig, splits: Splits) -> Mixing:
    classes = len(splits.class_names)
    balanced = config.class_weights == "balanced"
    weights = balanced_weights(splits.train.labels, classes) if balanced else None
    return Mixing(classes, config.mixup, config.cutmix, config.label_smoothing, weights)


def make_spec(config: TrainConfig, shape: tuple[int, ...], num_classes: int) -> ModelSpec:
    """The network that ``config`` means for such samples.

    Raises:
        UserError: the options do not fit them.
    """
    known = blocks_for(shape, config.objective)
    name = default_block(shape, config.objective) if config.block == "auto" else config.block
    code = BlockCode.read(name) if name is not None and is_own(name) else None
    block = None if name is None else block_class(name, code)
    if block is None or not takes(block, shape, config.objective):
        kind = "vectors" if len(shape) == 1 else "images"
        if not known:
            raise UserError(
                f"--objective {config.objective} tells blocks their noise level, and none for "
                f"{kind} can be told: give --objective dt."
            )
        cannot = f"take {kind}"
        if block is not None and takes(block, shape):
            cannot = f"be told a noise level, as --objective {config.objective} does"
        right = " or ".join(filter(None, [", ".join(known[:-1]), known[-1]]))
        raise UserError(f"--block {config.block} cannot {cannot}: give --block {right}.")
    least = block.takes.least
    if len(shape) == 3 and min(shape[1:]) < least:
        raise UserError(
            f"images of {shape[1]}x{shape[2]} are too small: give --image-size of at least {least}."
        )
    # An option of the network has the same name in both, but for the noise schedule.
    options: dict[str, Any] = {f.name: getattr(config, f.name, None) for f in fields(ModelSpec)}
    found: dict[str, Any] = {"num_classes": num_classes, "sample_shape": shape, "block": name}
    block_options: dict[str, Any] = parse_block_options(config.block_options)
    if config.split_depth is not None:
        _check_has_depth(config, block, known)
        block_options["depth"] = config.split_depth // config.num_blocks
    found["block_options"] = tuple(sorted(block_options.items()))
    found["schedule"] = config.noise_schedule
    found |= {"block_code": code, "block_sha256": code.sha256 if code else ""}
    found["embed_dim"] = _embed_dim(config, math.prod(shape), num_classes)
    return ModelSpec(**(options | found))


def _check_has_depth(config: TrainConfig, block: type[Block], known: list[str]) -> None:
    """Refuse to cut a network that is not made of layers."""
    if takes_depth(block):
        return
    deep = [name for name in known if takes_depth(BLOCKS[name])]
    right = f"give --block {' or '.join(deep)}, or leave it out" if deep else "leave it out"
    raise UserError(
        f"--split-depth {config.split_depth} cuts a network of layers, and --block {config.block} "
        f"takes no depth: {right}."
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
