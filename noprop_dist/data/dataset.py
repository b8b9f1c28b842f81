"""A data set: named splits with their class names, and the checks every source shares."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from noprop_dist.data.account import Account
from noprop_dist.data.shards import Rows, Split
from noprop_dist.data.split_names import ALL
from noprop_dist.errors import UserError
from noprop_dist.maths.keys import numpy_generator
from noprop_dist.text import shown

TEST_FRACTION = 0.2  # held out where a source has no test split of its own
TEST_SEED = 0  # the same test rows whatever the run's seed


@dataclass(frozen=True)
class Found:
    """What a source holds, decoded, split by split as it is there.

    Attributes:
        name: what the source is called.
        class_names: K names, by label.
        named: whether the source names its classes; else they are called by their numbers.
        splits: "train", "val" and "test" as far as it has them, or "all" where it has none.
        photographs: colour images, which the standard augmentation mirrors unless told otherwise.
        account: where it came from.
    """

    name: str
    class_names: tuple[str, ...]
    named: bool
    splits: dict[str, Split]
    photographs: bool
    account: Account

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """(C, H, W) of an image or (F,) of a vector."""
        return next(iter(self.splits.values())).sample_shape


@dataclass(frozen=True)
class Dataset:
    """Samples and labels to train on, decoded once.

    Attributes:
        name: what the source is called.
        class_names: K names, by label.
        train: rows to train and, without a validation split, validate on.
        test: rows touched once, at the end.
        photographs: colour images, which the standard augmentation mirrors unless told otherwise.
        account: where it came from.
        val: the source's own validation split, or None.
        held_out: the splits that the source did not have and that were made of its training rows.
    """

    name: str
    class_names: tuple[str, ...]
    train: Split
    test: Split
    photographs: bool
    account: Account = field(default_factory=lambda: Account("rows"))
    val: Split | None = None
    held_out: tuple[str, ...] = ()

    @property
    def num_skipped(self) -> int:
        """Bad images that were left out."""
        return self.account.num_skipped


def for_training(found: Found) -> Dataset:
    """A source's rows as training takes them: where there is no test split, one is held out.

    Raises:
        UserError: there are no rows to train on, or a split has one class only.
    """
    train = found.splits.get("train", found.splits.get(ALL))
    if train is None:
        there = " and ".join(found.splits)
        raise UserError(
            f"{found.name} has no training rows, only {there} by its name: give data with a "
            f"training split, or rename it."
        )
    test = found.splits.get("test")
    held_out: tuple[str, ...] = ()
    if test is None:
        train, test = hold_out_test(train)
        held_out = ("test",)
    val = found.splits.get("val")
    for split, which in ((train, "training"), (val, "validation"), (test, "test")):
        if split is not None:
            _check_use(split, f"the {which} split of {found.name}")
    return Dataset(
        found.name,
        found.class_names,
        train,
        test,
        found.photographs,
        found.account,
        val,
        held_out,
    )


def _check_use(split: Split, where: str) -> None:
    if not len(split):
        raise UserError(
            f"{where} holds no samples; where there is no test split, training needs at least two "
            "of each class."
        )
    if len(np.unique(split.labels)) < 2:
        raise UserError(
            f"{where} has one class only, and a classifier needs two: give a folder whose folders "
            "are classes, or more data."
        )


def split_validation(train: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """Training and validation rows: ``fraction`` of every class held out, keyed by the seed."""
    if fraction == 0:
        return train, train.select(np.zeros(0, dtype=np.int64))
    return _hold_out(train, fraction, seed, "validation")


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
    return _hold_out(rows, TEST_FRACTION, TEST_SEED, "test")


def _hold_out(rows: Split, fraction: float, seed: int, purpose: str) -> tuple[Split, Split]:
    held = stratified_rows(rows.labels, fraction, seed, purpose, leave=1)
    rest = np.setdiff1d(np.arange(len(rows)), held)
    return rows.select(rest), rows.select(held)


def check_labels(y: Rows, num_classes: int, where: str) -> None:
    """Refuse labels that do not fit the classes.

    Raises:
        UserError: a label outside 0..K-1.
    """
    outside = np.flatnonzero((y < 0) | (y >= num_classes))
    if len(outside):
        row = outside[0]
        raise UserError(
            f"{where} has the label {y[row]} in row {row}; labels must be 0 to {num_classes - 1}."
        )


def order_of(names: Sequence[str], known: Sequence[str], here: str, there: str) -> Rows:
    """By label here, the label there of the class of the same name; int64 (K,).

    Args:
        names: of the classes here, by label.
        known: of the classes there, by label.
        here: where these labels stand, for messages.
        there: where those do.

    Raises:
        UserError: a name stands twice, or is not in both.
    """
    for listed, where in ((names, here), (known, there)):
        if twice := [name for name, count in Counter(listed).items() if count > 1]:
            raise UserError(f"{where} has two classes called {shown(twice[0])}: rename one.")
    differing = sorted(set(names) ^ set(known))
    if differing:
        told = ", ".join(map(shown, differing[:5]))
        raise UserError(
            f"{here} and {there} differ in their classes ({told}): both need the same names."
        )
    at = {name: k for k, name in enumerate(known)}
    return np.array([at[name] for name in names], dtype=np.int64)
