"""Labelled rows to try a run's network on: of its own data set, or of one that fits it."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from noprop_dist.config import TrainConfig
from noprop_dist.data import Split
from noprop_dist.data.account import Reading
from noprop_dist.data.dataset import Found, order_of
from noprop_dist.data.sources import find_rows, is_known
from noprop_dist.data.split_names import ALL
from noprop_dist.engine.splits import reading_of, splits_of
from noprop_dist.errors import UserError
from noprop_dist.record.folder import home_of
from noprop_dist.record.progress import shown_work
from noprop_dist.record.store import Store
from noprop_dist.use.opening import OpenRun


@dataclass(frozen=True)
class LabelledRows:
    """A split that fits a network.

    Attributes:
        dataset: what the user called the data set.
        split: the rows, at least one.
        which: "test", "train", "val" or "all".
        num_skipped: bad images that were left out of the data set.
        notes: what the user should know of them, a sentence each.
    """

    dataset: str
    split: Split
    which: str
    num_skipped: int
    notes: tuple[str, ...] = ()


def rows_for(
    run: OpenRun,
    which: str | None = None,
    *,
    dataset: str | None = None,
    data_dir: str | None = None,
    image_size: int | None = None,
    skip_bad: bool = False,
    other_names: bool = False,
) -> LabelledRows:
    """Rows for the network of ``run``.

    Of the run's own data, wherever it lies now, a split holds the rows that the run used as such;
    of other data, those that it has under that name. Images come in the network's number of
    channels, as pictures do in prediction.

    Args:
        run: whose network it is.
        which: "test", "train", "val" or "all"; None: the test split, of other data without one all.
        dataset: another data set than the run's own, or where its own is now.
        data_dir: where named data sets are; None: where the run found them, see ``config_here``.
        image_size: resize the images of another data set; None: as the run did its own.
        skip_bad: leave out images that do not decode, as the run did where it was told to.
        other_names: take labels for the network's although the class names differ.

    Raises:
        UserError: the data set is not there, or does not fit the network.
    """
    config = _options_of(run, dataset, image_size)
    reading = _reading(run, config, skip_bad)
    found = fitted(
        run, find_rows(config.dataset, reading, data_dir or config.data_dir), other_names
    )
    name = dataset or (run.config or config).dataset
    trained_on = run.trained.data_sha256
    own = None
    trainable = found.splits.keys() & {"train", ALL}
    if trainable and (dataset is None or trained_on):
        try:
            own = splits_of(config, found)
        except UserError:
            if dataset is None:
                raise
            # What nothing could be trained on is not what the run was trained on.
    same = own is not None and own.hashes["data"] == trained_on
    notes: list[str] = []
    if dataset is None and trained_on and not same:
        notes.append(
            f"{name} is no longer what the run was trained on: some of these rows may be ones that "
            "it was trained on"
        )
    if which == ALL or own is None or not (same or dataset is None):
        which, split = _of_source(found, which, name)
    else:
        which = which or "test"
        split = {"train": own.train, "val": own.val, "test": own.test}[which]
    if not len(split):
        raise UserError(f"{name} has no rows in its {which} split: give another --split.")
    return LabelledRows(name, split, which, found.account.num_skipped, tuple(notes))


def _reading(run: OpenRun, config: TrainConfig, skip_bad: bool) -> Reading:
    """How images are read for the network of ``run``; those of several sizes come in its own."""
    of_images = len(run.shape) == 3
    return replace(
        reading_of(config),
        channels=run.shape[0] if of_images else None,
        skip_bad=skip_bad or config.skip_bad_images,
        several=run.shape[1] if of_images and run.shape[1] == run.shape[2] else None,
        shown=shown_work,
    )


def _options_of(run: OpenRun, dataset: str | None, image_size: int | None) -> TrainConfig:
    """The run's options, as far as they tell what rows to read and how."""
    if dataset is None and run.config is None:
        raise UserError(f"{run.name} does not say what it was trained on: give --dataset.")
    if dataset is None and image_size is not None:
        raise UserError("--image-size is for another data set: give --dataset, or leave it out.")
    config = config_here(run)
    if dataset is not None:
        return replace(config, dataset=dataset, image_size=image_size or config.image_size)
    if not is_known(config.dataset) and not Path(config.dataset).expanduser().exists():
        raise UserError(
            f"the run's data set {config.dataset} is not there: say with --dataset where it is now."
        )
    return config


def _of_source(found: Found, which: str | None, name: str) -> tuple[str, Split]:
    which = which or ("test" if "test" in found.splits else ALL)
    if which == ALL:
        return which, Split.join(list(found.splits.values()))
    if which not in found.splits:
        there = " and ".join(s for s in found.splits if s != ALL) or "no splits at all"
        raise UserError(f"{name} has {there} and no {which} split: give --split all.")
    return which, found.splits[which]


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
    if run.config is None or not run.config.is_placed or home is None:
        return None
    if "://" in run.config.folder:
        return None
    # Not Path.resolve: a link in the path is where the user went along, too.
    folder, asked = (Path(os.path.normpath(p)) for p in (Path.cwd() / home, run.config.folder))
    depth = len(asked.parts)
    if asked.is_absolute() or ".." in asked.parts or folder.parts[-depth:] != asked.parts:
        return None
    return folder.parents[depth - 1]


def fitted(run: OpenRun, found: Found, other_names: bool = False) -> Found:
    """Rows with the labels that the network has for their classes, which are told by name.

    Args:
        run: whose network it is.
        found: rows of any source.
        other_names: take the labels for the network's although the class names differ.

    Raises:
        UserError: samples of another shape or labels of other classes; says what both are.
    """
    name, there, here = found.name, found.sample_shape, run.shape
    if there != here:
        a, b = ("x".join(map(str, shape)) for shape in (there, here))
        resize = len(there) == len(here) == 3 and here[1] == here[2]
        advice = f"give --image-size {here[1]}" if resize else "give another --dataset"
        raise UserError(f"the samples of {name} are {a}, and the network takes {b}: {advice}.")
    theirs, ours = found.class_names, run.trained.class_names
    if len(theirs) > len(ours) or (found.named and len(theirs) < len(ours)):
        raise UserError(
            f"{name} has {len(theirs)} classes and the network knows {len(ours)}: give a --dataset "
            "of the same classes."
        )
    if not found.named:  # their numbers, as far as they occur
        theirs = tuple(map(str, range(len(ours))))
    if theirs == ours or other_names:
        return replace(found, class_names=ours)
    if set(theirs) != set(ours):
        k = next(k for k in range(len(ours)) if theirs[k] not in ours)
        raise UserError(
            f"class {k} is '{theirs[k]}' in {name}, which the network does not know; it knows "
            f"{', '.join(ours[:10])}{', ...' if len(ours) > 10 else ''}: give a --dataset of the "
            "same classes, or --other-names if the labels mean the same."
        )
    order = order_of(theirs, ours, name, "the network")
    splits = {which: split.relabelled(order) for which, split in found.splits.items()}
    return replace(found, class_names=ours, splits=splits)
