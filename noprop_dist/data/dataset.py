"""A data set: named splits with their class names, and the checks every source shares."""

from dataclasses import dataclass

import numpy as np

from noprop_dist.data.shards import Rows, Split
from noprop_dist.errors import UserError
from noprop_dist.maths.keys import numpy_generator

TEST_FRACTION = 0.2  # held out where a source has no test split of its own
TEST_SEED = 0  # the same test rows whatever the run's seed


@dataclass(frozen=True)
class Dataset:
    """Samples and labels, decoded once.

    Attributes:
        name: what the user called it.
        class_names: K names, by label.
        train: rows to train and validate on.
        test: rows touched once, at the end.
        photographs: colour images, which may be mirrored.
        num_skipped: bad images left out.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    test: Split
    photographs: bool
    num_skipped: int = 0


def split_validation(train: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """Training and validation rows: ``fraction`` of every class held out, keyed by the seed."""
    if fraction == 0:
        return train, train.select(np.zeros(0, dtype=np.int64))
    held = stratified_rows(train.labels, fraction, seed, "validation", leave=1)
    rest = np.setdiff1d(np.arange(len(train)), held)
    return train.select(rest), train.select(held)


def stratified_rows(y: Rows, fraction: float, seed: int, purpose: str, leave: int = 0) -> Rows:
    """Sorted rows that hold ``fraction`` of every class, drawn from the key (seed, purpose).

    At least one row of every class, but ``leave`` of its rows are left in any case.
    """
    draw = numpy_generator(seed, purpose)
    chosen = []
    for k in np.unique(y):
        rows = np.flatnonzero(y == k)
        count = min(max(1, round(fraction * len(rows))), len(rows) - leave)
        chosen.append(draw.permutation(rows)[:count])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, dtype=np.int64)


def hold_out_test(rows: Split) -> tuple[Split, Split]:
    """Train and test splits of a source that has none: 20 % of every class, always the same."""
    held = stratified_rows(rows.labels, TEST_FRACTION, TEST_SEED, "test", leave=1)
    rest = np.setdiff1d(np.arange(len(rows)), held)
    return rows.select(rest), rows.select(held)


def check_labels(y: Rows, num_classes: int, where: str) -> None:
    """Refuse labels that do not fit the classes.

    Raises:
        UserError: no rows, a label outside 0..K-1, or one class only.
    """
    if len(y) == 0:
        raise UserError(
            f"{where} holds no samples; where there is no test split, training needs at least two "
            "of each class."
        )
    outside = np.flatnonzero((y < 0) | (y >= num_classes))
    if len(outside):
        row = outside[0]
        raise UserError(
            f"{where} has the label {y[row]} in row {row}; labels must be 0 to {num_classes - 1}."
        )
    if len(np.unique(y)) < 2:
        raise UserError(f"{where} has one class only; a classifier needs at least two.")
