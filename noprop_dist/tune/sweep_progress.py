"""The trials of a sweep as they run: a table on a terminal, plain lines elsewhere, or nothing."""

import time
from collections.abc import Sequence
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from noprop_dist.record.progress import Heartbeat, redraws
from noprop_dist.text import how_many
from noprop_dist.tune.search import Search
from noprop_dist.tune.space import most_epochs
from noprop_dist.tune.sweep_folder import RUNNING
from noprop_dist.tune.trial_table import Row, cells_of, counted, heading, ranked, reached_by


class SweepProgress:
    """What a sweep tells whoever watches.

    On a terminal a table that redraws itself; elsewhere a line for every trial that ends, and one
    for those that run where there has been none for long.

    Args:
        count: trials in all.
        epochs: the most that a trial has.
        searched: names of the settings that vary.
        console: where to print; None: nowhere.

    Attributes:
        rows: what is known of trials, by number.
    """

    def __init__(
        self, count: int, epochs: int, searched: Sequence[str], console: Console | None = None
    ) -> None:
        self.rows: dict[int, Row] = {}
        self._count, self._epochs, self._searched = count, epochs, searched
        self._console, self._since = console, time.monotonic()
        self._live = None
        if console is not None and redraws(console):
            self._live = Live(
                get_renderable=lambda: self.table(console.height),
                console=console,
                refresh_per_second=2,
                transient=True,
            )
        self._heart = Heartbeat(self._tell_of_running)

    def update(self, row: Row) -> None:
        """A trial has ended, or come an epoch further."""
        self.rows[row["trial"]] = row
        if self._live is not None:
            return
        if row["status"] != RUNNING:
            cells = cells_of(row, self._searched)
            told = [f"{name} {cells[name]}" for name in ("block", *self._searched) if name in cells]
            told += [f"({row['reason']})"] if row["reason"] else []
            settings = "  ".join(told)
            self.message(
                f"trial {row['trial']:>3}  {row['status']:<8}  {reached_by(row):>8}  {settings}"
            )

    def _tell_of_running(self) -> None:
        told = [
            f"trial {row['trial']} at epoch {row['epochs_trained']}, best {reached_by(row)}"
            for row in list(self.rows.values())
            if row["status"] == RUNNING
        ]
        ended = len(self.rows) - len(told)
        running = "; ".join(told) or "no other has ended an epoch yet"
        self.message(f"{ended} of {self._count} trials ended: {running}")

    def message(self, text: str) -> None:
        """Something worth a line."""
        self._heart.spoken()
        if self._console is not None:
            self._console.print(text, soft_wrap=True, highlight=False, markup=False)

    def table(self, height: int) -> Group:
        """Running trials first, then the best of those that ended, in so many lines."""
        rows = ranked(list(self.rows.values()))
        seconds = time.monotonic() - self._since
        head = (
            f"{self._count} trials of at most {how_many(self._epochs, 'epoch')}: "
            f"{counted(rows) or 'starting'}; {seconds:.0f} s"
        )
        table = Table(box=None, pad_edge=False, header_style="dim")
        rows.sort(key=lambda row: row["status"] != RUNNING)
        rows = rows[: height - 5]
        cells = [cells_of(row, self._searched) for row in rows]
        for name in cells[0] if cells else ():
            # A narrow terminal cuts settings, never what was reached.
            width = None if name in self._searched else max(len(line[name]) for line in cells)
            table.add_column("\n".join(heading(name)), no_wrap=True, min_width=width)
        for row, line in zip(rows, cells, strict=True):
            table.add_row(*line.values(), style="" if row["status"] == RUNNING else "dim")
        return Group(Text(head, style="bold"), table)

    def __enter__(self) -> Self:
        """Start showing."""
        if self._live is None:
            self._heart.__enter__()
        else:
            self._live.start(refresh=True)
        return self

    def __exit__(self, *error: object) -> None:
        """Stop showing."""
        self._heart.__exit__()
        if self._live is not None:
            self._live.stop()


def make_progress(search: Search) -> SweepProgress:
    """The progress of a search, on standard error unless it is quiet."""
    console = None if search.config.quiet else Console(stderr=True)
    epochs = most_epochs(search.space, search.config)
    return SweepProgress(search.count, epochs, list(search.space), console)
