"""The data of a run: what units train on, choose by, and report on once."""

from dataclasses import dataclass, field
from functools import cached_property

from noprop_dist.config import TrainConfig
from noprop_dist.data import Split, load_dataset, split_validation
from noprop_dist.data.dataset import Dataset
from noprop_dist.data.shards import count_common, sha256_of_rows
from noprop_dist.record.own_parts import OwnParts


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
    """

    train: Split
    val: Split
    test: Split
    class_names: tuple[str, ...]
    photographs: bool
    told: str = ""
    num_skipped: int = 0
    own: OwnParts = field(default_factory=OwnParts)

    @cached_property
    def hashes(self) -> dict[str, str]:
        """Of training and validation rows, "data", of test rows, "test", and of own parts."""
        data = sha256_of_rows(self.train, self.val)
        return {"data": data, "test": sha256_of_rows(self.test)} | self.own.hashes

    @property
    def nbytes(self) -> int:
        """The memory of all of it."""
        return self.train.nbytes + self.val.nbytes + self.test.nbytes


def load_splits(config: TrainConfig) -> Splits:
    """The data that the options name, with its validation rows.

    Raises:
        UserError: it is not there, or not readable.
    """
    dataset = load_dataset(
        config.dataset,
        data_dir=config.data_dir,
        image_size=config.image_size,
        skip_bad_images=config.skip_bad_images,
        max_train_images=config.max_train_images,
        seed=config.seed,
    )
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
        "mirrored" if flips(config, dataset.photographs) else "not mirrored",
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


def flips(config: TrainConfig, photographs: bool) -> bool:
    """Whether training images are mirrored."""
    wanted = photographs if config.flip == "auto" else config.flip == "yes"
    return wanted and config.augmentation != "none"


def describe_samples(shape: tuple[int, ...]) -> str:
    """What samples are: "8x8 grey" or "vectors of 64"."""
    if len(shape) == 1:
        return f"vectors of {shape[0]}"
    return f"{shape[1]}x{shape[2]} {'grey' if shape[0] == 1 else 'colour'}"
