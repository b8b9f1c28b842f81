"""What was asked of a source and what became of it, to be told in one line."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from noprop_dist.text import SPLITS

PassedOver = Counter[str]  # by reason, how many files or folders
# What takes its time and of how many -> while that lasts, told how many more are done.
Shown = Callable[[str, int | None], AbstractContextManager[Callable[[int], object]]]
MOST_NAMES = 10


def not_shown(what: str, count: int | None) -> AbstractContextManager[Callable[[int], object]]:
    """See ``Shown``."""
    return nullcontext(lambda done: None)


@dataclass(frozen=True)
class Reading:
    """How images are read.

    Attributes:
        image_size: height and width to resize to; None: only images of several sizes are resized.
        channels: 1 or 3, or None where it is up to the images.
        skip_bad: leave out images that do not decode.
        image_column: of tables, the column of samples; None: one of a usual name.
        label_column: of tables, the column of labels; None: one of a usual name.
        several: height and width of images of several sizes, or None where it is up to them.
        shown: shows how far decoding has come.
    """

    image_size: int | None = None
    channels: int | None = None
    skip_bad: bool = False
    image_column: str | None = None
    label_column: str | None = None
    several: int | None = None
    shown: Shown = not_shown


@dataclass
class Account:
    """Where rows came from and what did not become one.

    Attributes:
        source: what it is, in words.
        places: by split, the files or folders that hold it.
        passed_over: see ``PassedOver``.
        remarks: by what was done to images that changes their meaning, to how many.
        num_skipped: bad images that were left out.
        of_columns: whether rows came from columns of a table.
        kept: where the decoded images are kept, or "" where that is memory.
    """

    source: str
    places: dict[str, str] = field(default_factory=dict)
    passed_over: PassedOver = field(default_factory=Counter)
    remarks: Counter[str] = field(default_factory=Counter)
    num_skipped: int = 0
    of_columns: bool = False
    kept: str = ""

    def add(self, of_images: "Account") -> None:
        """Count what became of some images, and say where they are kept."""
        self.num_skipped += of_images.num_skipped
        self.passed_over.update(of_images.passed_over)
        self.remarks.update(of_images.remarks)
        self.kept = of_images.kept

    def sentence(
        self, counts: Mapping[str, int], held_out: Sequence[str], class_names: Sequence[str]
    ) -> str:
        """What was read from where, as which split, of which classes, and what was passed over.

        Args:
            counts: by split, its rows.
            held_out: the splits that were taken from another one's rows.
            class_names: K names.
        """
        splits = []
        for split, count in counts.items():
            place = self.places.get(split)
            where = " held out" if split in held_out else f" from {place}" if place else ""
            splits.append(f"{count:,} {SPLITS[split]}{where}")
        parts = [f"{self.source}: {', '.join(splits)}", _classes(class_names)]
        if self.remarks:
            parts.append(in_words(self.remarks))
        passed = dict(self.passed_over)
        if self.num_skipped:
            passed["bad"] = self.num_skipped
        if passed:
            parts.append(f"passed over: {in_words(passed)}")
        if self.kept:
            parts.append(f"decoded in {self.kept}")
        return "; ".join(parts)


def in_words(counts: Mapping[str, int]) -> str:
    """What was counted, such as "hidden (3), .heic (1)"."""
    return ", ".join(f"{what} ({count:,})" for what, count in sorted(counts.items()))


def _classes(names: Sequence[str]) -> str:
    shown = list(names)
    if len(names) > MOST_NAMES:
        shown = [*names[: MOST_NAMES - 2], "...", names[-1]]
    return f"{len(names)} classes: {', '.join(shown)}"
