"""One row a method, from its measurements, and what all methods of a comparison share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from noprop_dist.compare.measurements import Measured
from noprop_dist.maths.chance import stderr

MIB = 2**20


@dataclass(frozen=True)
class Row:
    """One method; times and rates are means over its seeds.

    Attributes:
        method: of ``METHODS``.
        seeds: how many times it was trained.
        devices: that trained at once.
        test_accuracy: fraction, mean over seeds of the mean over noise draws.
        stderr: standard error of that mean over seeds, None with one seed.
        by_seed: the mean over noise draws by seed.
        mean_accuracy: as ``test_accuracy``, of the mean of the blocks' softmaxes; None in results
            of older versions.
        operations: floating-point operations of training, None in results of older versions.
        seconds: of training, validation included.
        seconds_per_epoch: validation included.
        seconds_to_target: until the validation accuracy first reached the target, None where it did
            not with every seed.
        epochs_to_target: the same in epochs.
        images_per_s: trained on per second of an epoch, and device.
        peak_bytes: the most memory of any worker, None where none was seen.
        own_bytes: the most of any worker without what it maps of the object store.
        sent_bytes: between processes in an epoch, None where it cannot be counted.
        reduced_bytes: gradients that each worker gave to the all-reduce in an epoch, or None.
        efficiency: images/s against devices times the images/s of one device, None where not
            measured.
        mean_by_seed: as ``by_seed``, of the mean of the blocks' softmaxes; empty in results of
            older versions.
    """

    method: str
    seeds: int
    devices: int
    test_accuracy: float
    stderr: float | None
    by_seed: dict[int, float]
    mean_accuracy: float | None
    operations: int | None
    seconds: float
    seconds_per_epoch: float
    seconds_to_target: float | None
    epochs_to_target: float | None
    images_per_s: float
    peak_bytes: int | None
    own_bytes: int | None
    sent_bytes: float | None
    reduced_bytes: float | None
    efficiency: float | None
    mean_by_seed: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """What all methods of a comparison had in common.

    Attributes:
        dataset: its name.
        train_images: to train on.
        val_images: to validate on.
        test_images: to test on.
        num_blocks: T.
        objective: what blocks learn, of ``OBJECTIVES``.
        embedding: "one-hot", "learned" or "prototype".
        epochs: of every method.
        steps_per_epoch: of each block, and of the twin.
        batch_size: images of a step, over all devices.
        workers: devices of a parallel method.
        device: "cpu" or "cuda".
        precision: "fp32" or "bf16".
        target_accuracy: fraction of validation images.
        efficiency_epochs: of the runs on one device; 0: none.
    """

    dataset: str
    train_images: int
    val_images: int
    test_images: int
    num_blocks: int
    objective: str
    embedding: str
    epochs: int
    steps_per_epoch: int
    batch_size: int
    workers: int
    device: str
    precision: str
    target_accuracy: float
    efficiency_epochs: int


def make_row(runs: Sequence[Measured], alone: Measured | None, target: float) -> Row:
    """A method's row.

    Args:
        runs: one a seed, at least one.
        alone: the method on one device, or None.
        target: the validation accuracy to reach.
    """
    accuracies = [run.mean_test_accuracy for run in runs]
    epochs = [epoch for run in runs if (epoch := run.epoch_of(target)) is not None]
    means = {run.seed: fmean(run.mean_accuracy) for run in runs if run.mean_accuracy is not None}
    reached = len(epochs) == len(runs)
    rate = fmean([run.images_per_s for run in runs]) / runs[0].devices
    sent = [run.sent_bytes for run in runs if run.sent_bytes is not None]
    reduced = [run.reduced_bytes for run in runs if run.reduced_bytes is not None]
    return Row(
        method=runs[0].method,
        seeds=len(runs),
        devices=runs[0].devices,
        test_accuracy=fmean(accuracies),
        stderr=stderr(accuracies),
        by_seed={run.seed: run.mean_test_accuracy for run in runs},
        mean_accuracy=fmean(means.values()) if len(means) == len(runs) else None,
        mean_by_seed=means if len(means) == len(runs) else {},
        operations=runs[0].operations,
        seconds=fmean([run.seconds[-1] for run in runs]),
        seconds_per_epoch=fmean([run.seconds_per_epoch for run in runs]),
        seconds_to_target=fmean(
            [run.seconds[epoch - 1] for run, epoch in zip(runs, epochs, strict=True)]
        )
        if reached
        else None,
        epochs_to_target=fmean(epochs) if reached else None,
        images_per_s=rate,
        peak_bytes=max((peak for run in runs for peak in run.peak_bytes), default=None),
        own_bytes=max((own for run in runs for own in run.own_bytes), default=None),
        sent_bytes=fmean(sent) if sent else None,
        reduced_bytes=fmean(reduced) if reduced else None,
        efficiency=rate / alone.images_per_s if alone is not None else None,
    )
