"""Labelled rows to try a run's network on: of its own data set, or of one that fits it."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from noprop_dist.config import TrainConfig
from noprop_dist.data import Dataset, Split, split_validation
from noprop_dist.data.sources import is_known
from noprop_dist.engine.job import load_data
from noprop_dist.errors import UserError
from noprop_dist.record.store import Store
from noprop_dist.use.opening import OpenRun, home_of


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
        data_dir: where named data sets are; None: where the run found them, see ``config_here``.
        image_size: resize the images of another data set.
        other_names: let class names differ.

    Raises:
        UserError: the data set is not there, or does not fit the network.
    """
    if dataset is None and run.config is None:
        raise UserError(f"{run.name} does not say what it was trained on: give --dataset.")
    if dataset is None and image_size is not None:
        raise UserError("--image-size is for another data set: give --dataset, or leave it out.")
    config = config_here(run)
    if dataset is not None:
        config = replace(config, dataset=dataset, image_size=image_size, max_train_images=None)
    if data_dir is not None:
        config = replace(config, data_dir=data_dir)
    loaded = load_own(config) if dataset is None else load_data(config)
    name = dataset or (run.config or config).dataset
    check_fit(run, loaded, name, other_names)
    if which == "test":
        split = loaded.test
    else:
        train, val = split_validation(loaded.train, config.val_fraction, config.seed)
        split = train if which == "train" else val
    if not len(split):
        raise UserError(f"{name} has no rows in its {which} split: give another --split.")
    return LabelledRows(name, split, loaded.num_skipped)


def config_here(run: OpenRun) -> TrainConfig:
    """The run's options, with the paths of its data as they are reached from here.

    Relative ones were meant from where training began. That is told by the run folder where its own
    path was relative too and it has not been moved; elsewhere they are left as they are.
    """
    config = run.config or TrainConfig()
    began = _where_it_began(run)
    if began is None:
        return config
    paths = {"data_dir": config.data_dir}
    if not is_known(config.dataset):
        paths["dataset"] = config.dataset
    found: dict[str, Any] = {
        k: str(began / v) for k, v in paths.items() if v and (began / v).exists()
    }
    return replace(config, **found)


def _where_it_began(run: OpenRun) -> Path | None:
    """The working directory of ``noprop train``, where that can be told."""
    home = Store(home_of(run.name)).local
    if run.config is None or home is None or "://" in run.config.folder:
        return None
    # Not Path.resolve: a link in the path is where the user went along, too.
    folder, asked = (Path(os.path.normpath(p)) for p in (Path.cwd() / home, run.config.folder))
    depth = len(asked.parts)
    if asked.is_absolute() or ".." in asked.parts or folder.parts[-depth:] != asked.parts:
        return None
    return folder.parents[depth - 1]


def load_own(config: TrainConfig) -> Dataset:
    """The data set that a run was trained on.

    Raises:
        UserError: it is no longer there, or not readable.
    """
    if not is_known(config.dataset) and not Path(config.dataset).expanduser().exists():
        raise UserError(
            f"the run's data set {config.dataset} is not there: say with --dataset where it is now."
        )
    return load_data(config)


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
            f"class {k} is '{theirs[k]}' in {name} and '{ours[k]}' for the network: give a "
            "--dataset of the same classes in the same order, or --other-names if they mean the "
            "same."
        )
