"""Rows that a caller gives in Python: arrays, and data sets of PyTorch and of Hugging Face."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import index
from typing import Any, NoReturn

import numpy as np
import torch
from PIL import Image

from noprop_dist.data.account import Account, Reading
from noprop_dist.data.columns import LABELS, SAMPLES, Wanted, no_column, usual_column
from noprop_dist.data.dataset import Found
from noprop_dist.data.decoding import decode_splits
from noprop_dist.data.images import Encoded, fit_batch
from noprop_dist.data.labels import Labels, match_classes
from noprop_dist.data.shards import Array, Split
from noprop_dist.data.split_names import SPLITS, by_split
from noprop_dist.errors import UserError
from noprop_dist.text import shown

GIVEN = "python"  # what the options of a run on given rows say of its data set
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")
EXPECTED = (
    "expected are arrays of samples and of labels, (x, y), or a data set with a length whose rows "
    "are (image or vector, label) or have columns of both"
)

Given = Sequence[Any] | Mapping[str, Any]


def load_given(data: Given, reading: Reading) -> Found:
    """Load rows as they are given.

    Args:
        data: (train, test), (train, val, test), or sets by names that ``split_of`` knows. A set is
            a tuple of samples and labels, NumPy arrays or tensors, (N, ...) and (N,); or a
            map-style data set whose rows are (sample, label), or mappings of columns as those of a
            Hugging Face ``Dataset`` are. Samples are vectors of numbers, Pillow's images, or
            images of one or three channels, which come first or last: uint8, or floats in 0..1.
            Labels are class numbers or class names.
        reading: how images are read, and from which columns.

    Raises:
        UserError: a set, a sample or a label is none of these; shapes or classes that differ.
    """
    given = _sets(data)
    account = Account("rows given in Python")
    sets = {which: _GivenSet(part, f"the {which} set", reading) for which, part in given.items()}
    splits = _samples(sets, reading, account)
    _check_alike({sets[which].where: split.sample_shape for which, split in splits.items()})
    columns = sets[next(iter(sets))].columns
    account.of_columns = columns is not None
    if columns:
        account.source += f", columns {' and '.join(map(shown, columns))}"
    labels = {s.where: Labels(splits[w].labels, s.names, bool(s.text)) for w, s in sets.items()}
    # A set without names beside one with them, as arrays are, has the other's.
    named = next((found.names for found in labels.values() if found.names), None)
    labels = {
        w: found if found.names else replace(found, names=named) for w, found in labels.items()
    }
    train = [sets["train"].where] if "train" in sets else list(labels)
    classes = match_classes(labels, train)
    shape = next(iter(splits.values())).sample_shape
    return Found(
        name="the given rows",
        class_names=tuple(map(shown, classes.names)),
        named=classes.named,
        splits={w: split.relabelled(classes.order[sets[w].where]) for w, split in splits.items()},
        photographs=len(shape) == 3 and shape[0] == 3,
        account=account,
    )


def _sets(data: Given) -> dict[str, Any]:
    """The sets by split."""
    if isinstance(data, Mapping):
        found = by_split(map(str, data), "data")
        if twice := [names for names in found.values() if len(names) > 1]:
            raise UserError(f"data holds {' and '.join(twice[0][:2])}, which are one split.")
        return {which: data[names[0]] for which, names in found.items()}
    if isinstance(data, tuple | list) and len(data) in (2, 3) and not _is_array(data[0]):
        return dict(zip(SPLITS if len(data) == 3 else ("train", "test"), data, strict=True))
    raise UserError(
        "data must be (train, test) or (train, val, test), or sets by the names of splits; "
        f"{EXPECTED}."
    )


@dataclass
class _GivenSet:
    """One set, and what is found out while its rows are read.

    Attributes:
        rows: as they were given.
        where: they stand, for messages.
        reading: names columns.
        columns: of samples and labels, where rows have columns.
        text: labels that are text, by the order in which they came.
    """

    rows: Any
    where: str
    reading: Reading
    columns: tuple[str, str] | None = None
    text: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check what can be seen without a row."""
        kind = type(self.rows)
        has_rows = hasattr(kind, "__len__") and hasattr(kind, "__getitem__")
        if _is_array(self.rows) or not has_rows or isinstance(self.rows, str | Mapping):
            self._refuse("is of no use", f"it is a {kind.__name__}; {EXPECTED}")
        if not len(self.rows):
            self._refuse("holds no samples", "give some, or leave it out")

    def _refuse(self, what: str, right: str) -> NoReturn:
        raise UserError(f"{self.where} {what}: {right}.")

    @property
    def is_arrays(self) -> bool:
        """Whether samples and labels come as one array each."""
        return (
            isinstance(self.rows, tuple | list) and len(self.rows) == 2 and _is_array(self.rows[0])
        )

    @property
    def names(self) -> tuple[str, ...] | None:
        """Class names, where the set tells them; after its rows have been read."""
        if self.text:
            return tuple(self.text)
        rows = self.rows
        while not hasattr(rows, "classes") and hasattr(rows, "dataset"):  # torch's Subset
            rows = rows.dataset
        found = getattr(rows, "classes", None)
        features = getattr(rows, "features", None)
        if self.columns and isinstance(features, Mapping):
            found = getattr(features.get(self.columns[1]), "names", None)
        return tuple(map(str, found)) if isinstance(found, tuple | list) and found else None

    def arrays(self) -> Split:
        """All rows of a set that ``is_arrays``."""
        x, labels = _checked(_array(self.rows[0]), self.where), _array(self.rows[1])
        if labels.shape != x.shape[:1]:
            self._refuse(
                f"has samples of shape {x.shape} and labels of shape {labels.shape}",
                "give one label a sample",
            )
        y = np.array([self._label(label, i) for i, label in enumerate(labels.tolist())], np.int64)
        return Split.from_arrays(x if x.ndim == 2 else fit_batch(x, self.reading), y)

    def items(self) -> Iterator[tuple[Any, int]]:
        """Sample and label of every row, one after the other."""
        for i in range(len(self.rows)):
            sample, label = self.pair(i)
            yield sample, self._label(label, i)

    def pair(self, i: int) -> tuple[Any, Any]:
        """Row i as it is given."""
        row = self.rows[i]
        if isinstance(row, Mapping):
            if self.columns is None:
                asked = self.reading.image_column, self.reading.label_column
                self.columns = (
                    self._column(SAMPLES, asked[0], row),
                    self._column(LABELS, asked[1], row),
                )
            sample, label = self.columns
            return row[sample], row[label]
        if not isinstance(row, tuple | list) or len(row) != 2:
            self._refuse(f"has a {type(row).__name__} as row {i}", EXPECTED)
        return row[0], row[1]

    def _column(self, wanted: Wanted, asked: str | None, row: Mapping[str, Any]) -> str:
        name = usual_column(wanted, asked, row.keys())
        if name is None:
            told = ", ".join(f"{k} ({type(v).__name__})" for k, v in row.items())
            raise no_column(wanted, asked, self.where, told)
        return name

    def _label(self, label: Any, i: int) -> int:
        if isinstance(label, str):
            return self.text.setdefault(label, len(self.text))
        try:
            number = index(label)
        except TypeError:
            number = None
        if number is None or self.text:
            self._refuse(
                f"has the label {label!r} in row {i}", "labels are class numbers or all class names"
            )
        return number

    def encoded(self) -> Iterator[Encoded]:
        """The images of ``items`` as files, so that they are read by the one way for images."""
        for i, (sample, label) in enumerate(self.items()):
            name = f"row {i} of {self.where}"
            yield name, _png(sample, name), label

    def vectors(self) -> Split:
        """The vectors of ``items``."""
        found: list[Array] = []
        y = []
        for i, (sample, label) in enumerate(self.items()):
            x = _array(sample)[None]
            if x.ndim != 2 or (found and x.shape != found[0].shape):
                self._refuse(f"differs in shape in row {i}", "give vectors of one width")
            found.append(_checked(x, self.where))
            y.append(label)
        return Split.from_arrays(np.concatenate(found), np.array(y, np.int64))


def _samples(sets: Mapping[str, _GivenSet], reading: Reading, account: Account) -> dict[str, Split]:
    """The rows of every set, with labels in its own numbering."""
    splits, pictures = {}, []
    for which, given in sets.items():
        if given.is_arrays:
            splits[which] = given.arrays()
            continue
        first = given.pair(0)[0]
        if not isinstance(first, Image.Image) and _array(first).ndim == 1:
            splits[which] = given.vectors()
        else:
            pictures.append(which)
    count = sum(len(sets[which].rows) for which in pictures)
    decoded = decode_splits([sets[w].encoded for w in pictures], reading, account, count, None)
    splits |= dict(zip(pictures, decoded, strict=True))
    return {which: splits[which] for which in sets}


def _check_alike(shapes: Mapping[str, tuple[int, ...]]) -> None:
    first, shape = next(iter(shapes.items()))
    for other, there in shapes.items():
        if there != shape:
            a, b = ("x".join(map(str, size)) for size in (shape, there))
            raise UserError(
                f"the samples of {first} are {a}, those of {other} {b}: make them alike."
            )


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray | torch.Tensor)


def _array(value: Any) -> Array:
    """An array, a tensor on whatever device, or lists of numbers, as an array."""
    return np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value)


def _checked(x: Array, where: str) -> Array:
    """Samples (N, ...) as float32 (N, F), where they are vectors, else uint8 (N, C, H, W)."""
    if x.dtype.kind not in "fiub" or x.ndim not in (2, 3, 4):
        raise UserError(
            f"the samples of {where} are {x.dtype} of shape {x.shape}; {EXPECTED}: numbers, "
            "(N, F), (N, H, W), (N, C, H, W) or (N, H, W, C)."
        )
    if x.ndim == 2:
        x = x.astype(np.float32, copy=False)
        if not np.isfinite(x).all():
            raise UserError(f"{where} has non-finite values: fill them, or drop these rows.")
        return x
    if x.ndim == 3:
        x = x[:, None]
    elif x.shape[1] not in (1, 3) and x.shape[3] in (1, 3):
        x = x.transpose(0, 3, 1, 2)
    if x.shape[1] not in (1, 3):
        raise UserError(f"the images of {where} have shape {x.shape[1:]}: give 1 or 3 channels.")
    most = 1 if x.dtype.kind in "fb" else 255
    if x.dtype != np.uint8:
        # A comparison with NaN is false, so that it is refused, too.
        if not ((x >= 0) & (x <= most)).all():
            raise UserError(
                f"the images of {where} have values outside 0..{most}: give uint8, or floats in "
                "0..1; training normalises them itself."
            )
        x = np.round(x * (255 / most)).astype(np.uint8)
    return np.ascontiguousarray(x)


def _png(sample: Any, name: str) -> Callable[[], bytes]:
    """An image as a file: a way to read it."""
    if isinstance(sample, Image.Image) and sample.mode != "F":
        image = sample if sample.mode in PNG_MODES else sample.convert("RGB")
    else:
        pixels = _checked(_array(sample)[None], name)
        if pixels.ndim != 4:
            raise UserError(f"{name} is a vector among images: give one or the other.")
        image = Image.fromarray(
            pixels[0, 0] if pixels.shape[1] == 1 else pixels[0].transpose(1, 2, 0)
        )
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=0)
    return out.getvalue
