"""Labelled rows to try a run's network on: of its own data set, or of one that fits it."""

from dataclasses import dataclass, replace

from noprop_dist.config import TrainConfig
from noprop_dist.data import Dataset, Split, split_validation
from noprop_dist.engine.job import load_data
from noprop_dist.errors import UserError
from noprop_dist.use.opening import OpenRun


@dataclass(frozen=True)
class LabelledRows:
    """A split that fits a network.

    Attributes:
        dataset: what the user called the data set.
        split: the rows, at least one.
        num_skipped: bad images that were left out of the data set.
    """

    dataset: str
    split: Split
    num_skipped: int


def rows_for(
    run: OpenRun,
    which: str = "test",
    *,
    dataset: str | None = None,
    data_dir: str | None = None,
    image_size: int | None = None,
    other_names: bool = False,
) -> LabelledRows:
    """Rows for the network of ``run``.

    Args:
        run: whose network it is.
        which: "test", "train" or "val": with the run's own options the rows that it used as such.
        dataset: another data set than the run's own, loaded whole.
        data_dir: where named data sets are; None: where the run found them.
        image_size: resize the images of another data set.
        other_names: let class names differ.

    Raises:
        UserError: the data set is not there, or does not fit the network.
    """
    if dataset is None and run.config is None:
        raise UserError(f"{run.name} does not say what it was trained on: give --dataset.")
    if dataset is None and image_size is not None:
        raise UserError("--image-size is for another data set: give --dataset, or leave it out.")
    config = run.config or TrainConfig()
    if dataset is not None:
        config = replace(config, dataset=dataset, image_size=image_size, max_train_images=None)
    if data_dir is not None:
        config = replace(config, data_dir=data_dir)
    loaded = load_data(config)
    check_fit(run, loaded, config.dataset, other_names)
    if which == "test":
        split = loaded.test
    else:
        train, val = split_validation(loaded.train, config.val_fraction, config.seed)
        split = train if which == "train" else val
    if not len(split):
        raise UserError(f"{config.dataset} has no rows in its {which} split: give another --split.")
    return LabelledRows(config.dataset, split, loaded.num_skipped)


def check_fit(run: OpenRun, dataset: Dataset, name: str, other_names: bool) -> None:
    """Refuse samples of another shape and labels of other classes.

    Raises:
        UserError: says what both are.
    """
    there, here = dataset.test.sample_shape, run.shape
    if there != here:
        a, b = ("x".join(map(str, shape)) for shape in (there, here))
        resize = len(there) == len(here) == 3 and there[0] == here[0] and here[1] == here[2]
        advice = f"give --image-size {here[1]}" if resize else "give another --dataset"
        raise UserError(f"the samples of {name} are {a}, and the network takes {b}: {advice}.")
    theirs, ours = dataset.class_names, run.trained.class_names
    if len(theirs) != len(ours):
        raise UserError(
            f"{name} has {len(theirs)} classes and the network knows {len(ours)}: give a --dataset "
            "of the same classes."
        )
    if theirs != ours and not other_names:
        k = next(k for k in range(len(ours)) if theirs[k] != ours[k])
        raise UserError(
            f"class {k} is {theirs[k]!r} in {name} and {ours[k]!r} for the network: give a "
            "--dataset of the same classes in the same order, or --other-names if they mean the "
            "same."
        )
