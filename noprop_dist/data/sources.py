"""Where data comes from: one call, a name or a path in, a data set out."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from noprop_dist.data.dataset import Dataset, check_labels, hold_out_test, stratified_rows
from noprop_dist.data.folders import load_folders
from noprop_dist.data.parquet import find_parquet, load_parquet
from noprop_dist.data.shards import Split
from noprop_dist.data.torchvision_sets import TORCHVISION_SETS, load_torchvision
from noprop_dist.errors import UserError, shown


def load_dataset(
    name_or_path: str,
    *,
    data_dir: str | None = None,
    image_size: int | None = None,
    skip_bad_images: bool = False,
    max_train_images: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Load and decode a data set.

    Args:
        name_or_path: "digits", a torchvision set ("mnist", "fashion-mnist", "kmnist", "cifar10",
            "cifar100", "svhn"), a folder of class folders, or a Parquet file or folder.
        data_dir: where torchvision sets are kept or downloaded to.
        image_size: resize images to this height and width.
        skip_bad_images: leave out images that do not decode, and count them.
        max_train_images: keep about this many training images, the same share of every class.
        seed: key of the choice that ``max_train_images`` makes.

    Raises:
        UserError: the source is unknown, missing or unfit; names the file or option.
    """
    dataset = _source(name_or_path, data_dir)(image_size, skip_bad_images)
    dataset = replace(dataset, class_names=tuple(map(shown, dataset.class_names)))
    for split, which in ((dataset.train, "training"), (dataset.test, "test")):
        check_labels(split.labels, len(dataset.class_names), f"the {which} split of {name_or_path}")
    if max_train_images is not None and max_train_images < len(dataset.train):
        share = max_train_images / len(dataset.train)
        rows = stratified_rows(dataset.train.labels, share, seed, "subset")
        dataset = replace(dataset, train=dataset.train.select(rows))
    return dataset


def is_known(name: str) -> bool:
    """Whether it is the name of a data set, and no path."""
    return name == "digits" or name in TORCHVISION_SETS


def _source(name: str, data_dir: str | None) -> Callable[[int | None, bool], Dataset]:
    if name == "digits":
        return lambda size, skip: load_digits(size)
    if name in TORCHVISION_SETS:
        return lambda size, skip: load_torchvision(name, data_dir, size)
    path = Path(name).expanduser()
    if not path.exists():
        if "/" in name or path.suffix:
            raise UserError(f"--dataset {name}: there is no such file or folder.")
        known = ", ".join(["digits", *TORCHVISION_SETS])
        raise UserError(
            f"--dataset {name} is unknown: give one of {known}, or the path of a folder of class "
            "folders or of Parquet files."
        )
    files = find_parquet(path)
    if files is not None:
        return lambda size, skip: load_parquet(path, files, size, skip)
    return lambda size, skip: load_folders(path, size, skip)


def load_digits(image_size: int | None = None) -> Dataset:
    """scikit-learn's embedded digits: 1,797 grey 8x8 images, 20 % of them a fixed test split."""
    from sklearn.datasets import load_digits as load  # slow import, for this source alone

    from noprop_dist.data.images import resize_batch

    bunch = load()
    x = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    if image_size is not None:
        x = resize_batch(x, image_size)
    train, test = hold_out_test(Split.from_arrays(x, bunch.target.astype(np.int64)))
    return Dataset("digits", tuple("0123456789"), train, test, photographs=False)
