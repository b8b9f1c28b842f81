"""Where data comes from: one call, a name or a path in, a data set out."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from noprop_dist.data.account import Reading
from noprop_dist.data.dataset import Dataset, Found, for_training, stratified_rows
from noprop_dist.data.digits import load_digits
from noprop_dist.data.folders import load_folders
from noprop_dist.data.given import GIVEN
from noprop_dist.data.hub import HUB, load_hub
from noprop_dist.data.parquet import load_parquet
from noprop_dist.data.parquet_files import find_parquet
from noprop_dist.data.pictures import is_run_folder
from noprop_dist.data.torchvision_sets import TORCHVISION_SETS, load_torchvision
from noprop_dist.errors import UserError
from noprop_dist.text import shown

# Named data sets: how images are read and where sets are kept -> the rows. A new one is a row here.
SOURCES: dict[str, Callable[[Reading, str | None], Found]] = {
    "digits": load_digits,
    **{name: partial(load_torchvision, name) for name in TORCHVISION_SETS},
}


def load_dataset(
    name_or_path: str,
    *,
    data_dir: str | None = None,
    image_size: int | None = None,
    skip_bad_images: bool = False,
    max_train_images: int | None = None,
    seed: int = 0,
) -> Dataset:
    """Load and decode a data set to train on.

    Args:
        name_or_path: see ``find_rows``.
        data_dir: where torchvision sets are kept or downloaded to.
        image_size: resize images to this height and width; None: only images of several sizes.
        skip_bad_images: leave out images that do not decode, and count them.
        max_train_images: keep about this many training images, the same share of every class.
        seed: key of the choice that ``max_train_images`` makes.

    Raises:
        UserError: the source is unknown, missing or unfit; names the file or option.
    """
    reading = Reading(image_size, skip_bad=skip_bad_images)
    return limit(for_training(find_rows(name_or_path, reading, data_dir)), max_train_images, seed)


def limit(dataset: Dataset, max_train_images: int | None, seed: int) -> Dataset:
    """A data set with about so many training images; see ``load_dataset``."""
    if max_train_images is None or max_train_images >= len(dataset.train):
        return dataset
    share = max_train_images / len(dataset.train)
    rows = stratified_rows(dataset.train.labels, share, seed, "subset")
    return replace(dataset, train=dataset.train.select(rows))


def find_rows(name_or_path: str, reading: Reading, data_dir: str | None = None) -> Found:
    """Load and decode whatever rows a source holds.

    Args:
        name_or_path: one of SOURCES, a folder of class folders, a Parquet file or folder, or
            "hf:" and what ``load_hub`` takes.
        reading: how images are read.
        data_dir: where named sets are kept or downloaded to.

    Raises:
        UserError: the source is unknown, missing or unfit; names the file or option.
    """
    found = _found(name_or_path, reading, data_dir)
    # The one door of class names: from here on they can be printed, drawn and written.
    return replace(found, class_names=tuple(map(shown, found.class_names)))


def _found(name_or_path: str, reading: Reading, data_dir: str | None) -> Found:
    if name_or_path in SOURCES:
        return SOURCES[name_or_path](reading, data_dir)
    if name_or_path == GIVEN:
        raise UserError(
            f"--dataset {GIVEN} stands for rows that were given to train() in Python: call it with "
            "the same data=, or say with --dataset where they lie."
        )
    if name_or_path.startswith(HUB):
        return load_hub(name_or_path, reading, data_dir)
    path = Path(name_or_path).expanduser()
    if not path.exists():
        if "/" in name_or_path or path.suffix:
            raise UserError(f"--dataset {name_or_path}: there is no such file or folder.")
        known = ", ".join(SOURCES)
        raise UserError(
            f"--dataset {name_or_path} is unknown: give one of {known}, the path of a folder of "
            f"class folders or of Parquet files, or {HUB}OWNER/NAME; see docs/data.md."
        )
    if is_run_folder(path):
        raise UserError(f"--dataset {name_or_path} is a run's folder: give one that holds data.")
    try:
        files = find_parquet(path)
        return load_parquet(path, files, reading) if files else load_folders(path, reading)
    except PermissionError as error:
        raise UserError(
            f"{error.filename} cannot be read: permit it, or give other data."
        ) from error


def is_known(name: str) -> bool:
    """Whether it is the name of a data set, and no path."""
    return name in SOURCES or name == GIVEN or name.startswith(HUB)
