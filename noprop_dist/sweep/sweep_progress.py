"""The trials of a sweep as they run: a table on a terminal, plain lines elsewhere, or nothing."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from noprop_dist.sweep.search import Search
from noprop_dist.sweep.space import most_epochs
from noprop_dist.sweep.sweep_folder import RUNNING
from noprop_dist.sweep.trial_table import Row, cells_of, heading, ranked, reached_by

STATUS_EVERY_S = 60.0  # between plain lines on what is running


class SweepProgress:
    """What a sweep tells whoever watches; this one shows nothing.

    Args:
        count: trials in all.
        epochs: the most that a trial has.
        searched: names of the settings that vary.

    Attributes:
        rows: what is known of trials, by number.
    """

    def __init__(self, count: int, epochs: int, searched: Sequence[str]) -> None:
        self.rows: dict[int, Row] = {}
        self._count, self._epochs, self._searched = count, epochs, searched

    def update(self, row: Row) -> None:
        """A trial has ended, or come an epoch further."""
        self.rows[row["trial"]] = row

    def message(self, text: str) -> None:
        """Something worth a line."""

    def __enter__(self) -> Self:
        """Start showing."""
        return self

    def __exit__(self, *error: object) -> None:
        """Stop showing."""


class PlainProgress(SweepProgress):
    """A line for every trial that ends, and one now and then for those that run.

    Args:
        count: trials in all.
        epochs: the most that a trial has.
        searched: names of the settings that vary.
        console: where to print.
    """

    def __init__(self, count: int, epochs: int, searched: Sequence[str], console: Console) -> None:
        super().__init__(count, epochs, searched)
        self._console, self._told_at = console, time.monotonic()

    def update(self, row: Row) -> None:
        """See ``SweepProgress``."""
        super().update(row)
        if row["status"] != RUNNING:
            cells = cells_of(row, self._searched)
            told = [f"{name} {cells[name]}" for name in ("block", *self._searched) if name in cells]
            told += [f"({row['reason']})"] if row["reason"] else []
            settings = "  ".join(told)
            self.message(
                f"trial {row['trial']:>3}  {row['status']:<8}  {reached_by(row):>8}  {settings}"
            )
        elif time.monotonic() - self._told_at > STATUS_EVERY_S:
            self._told_at = time.monotonic()
            running = [row for row in self.rows.values() if row["status"] == RUNNING]
            told = [
                f"trial {row['trial']} at epoch {row['epochs_trained']}, best {reached_by(row)}"
                for row in running
            ]
            ended = len(self.rows) - len(running)
            self.message(f"{ended} of {self._count} trials ended: {'; '.join(told)}")

    def message(self, text: str) -> None:
        """See ``SweepProgress``."""
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)


class LiveProgress(SweepProgress):
    """A table that redraws itself: running trials first, then the best of those that ended.

    Args:
        count: trials in all.
        epochs: the most that a trial has.
        searched: names of the settings that vary.
        console: a terminal.
    """

    def __init__(self, count: int, epochs: int, searched: Sequence[str], console: Console) -> None:
        super().__init__(count, epochs, searched)
        self._console, self._began = console, time.monotonic()
        self._live = Live(
            get_renderable=self._table, console=console, refresh_per_second=2, transient=True
        )

    def message(self, text: str) -> None:
        """See ``SweepProgress``."""
        self._live.console.print(text, soft_wrap=True, highlight=False, markup=False)

    def _table(self) -> Group:
        rows = ranked(list(self.rows.values()))
        counts = Counter(row["status"] for row in rows)
        counted = ", ".join(f"{count} {status}" for status, count in counts.items())
        seconds = time.monotonic() - self._began
        head = (
            f"{self._count} trials of at most {self._epochs} epochs: {counted or 'starting'}; "
            f"{seconds:.0f} s"
        )
        table = Table(box=None, pad_edge=False, header_style="dim")
        rows.sort(key=lambda row: row["status"] != RUNNING)
        for i, row in enumerate(rows[: self._console.height - 5]):
            cells = cells_of(row, self._searched)
            for name in cells if i == 0 else ():
                # A narrow terminal cuts settings, never what was reached.
                width = None if name in self._searched else max(len(cells[name]), 5)
                table.add_column("\n".join(heading(name)), no_wrap=True, min_width=width)
            table.add_row(*cells.values(), style="" if row["status"] == RUNNING else "dim")
        return Group(Text(head, style="bold"), table)

    def __enter__(self) -> Self:
        """See ``SweepProgress``."""
        self._live.start(refresh=True)
        return self

    def __exit__(self, *error: object) -> None:
        """See ``SweepProgress``."""
        self._live.stop()


def make_progress(search: Search) -> SweepProgress:
    """The one that fits: none, a live table on a terminal, or plain lines. Writes to stderr."""
    about = search.count, most_epochs(search.space, search.config), list(search.space)
    if search.config.quiet:
        return SweepProgress(*about)
    console = Console(stderr=True)
    return (LiveProgress if console.is_terminal else PlainProgress)(*about, console)
