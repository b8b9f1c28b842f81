"""The live view of a sweep: a table on a terminal, plain lines elsewhere, or nothing."""

import time
from collections import Counter
from dataclasses import dataclass
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from noprop_dist.record.progress import percent
from noprop_dist.sweep.block_trial import BLOCK_METRIC
from noprop_dist.sweep.network_trial import METRIC, Report
from noprop_dist.sweep.space import Settings
from noprop_dist.sweep.sweep_folder import Outcome, Trial
from noprop_dist.sweep.sweep_summary import heading, show

STATUS_EVERY_S = 60.0  # between plain lines on what is running
RUNNING = "running"


@dataclass
class Seen:
    """What is known of a trial.

    Attributes:
        settings: without those that mean nothing.
        status: "running" or its outcome's.
        last: its last report.
        best: its best one.
        reason: why it failed.
    """

    settings: Settings
    status: str = RUNNING
    last: Report | None = None
    best: Report | None = None
    reason: str = ""

    @property
    def reached(self) -> str:
        """What trials are compared by, at its best, for people."""
        return measured(self.best)


class SweepView:
    """What a sweep tells whoever watches; this one shows nothing.

    Args:
        count: trials in all.
        epochs: the most that a trial has.
    """

    def __init__(self, count: int, epochs: int) -> None:
        self._count, self._epochs = count, epochs
        self._seen: dict[int, Seen] = {}

    def told(self, number: int, settings: Settings, last: Report, best: Report) -> None:
        """A trial has told of an epoch."""
        seen = self._seen.setdefault(number, Seen(settings))
        seen.settings, seen.last, seen.best, seen.status = settings, last, best, RUNNING
        self.changed(number)

    def ended(self, number: int, settings: Settings, outcome: Outcome) -> None:
        """A trial has ended."""
        seen = self._seen.setdefault(number, Seen(settings))
        seen.settings, seen.status, seen.reason = settings, outcome.status, outcome.reason
        seen.best = outcome.best or None
        self.changed(number)

    def known(self, trial: Trial, settings: Settings) -> None:
        """A trial has ended in an earlier call."""
        assert trial.outcome is not None
        best = trial.outcome.best or None
        self._seen[trial.number] = Seen(settings, trial.outcome.status, None, best)

    def changed(self, number: int) -> None:
        """Something is new of a trial."""

    def message(self, text: str) -> None:
        """Something worth a line."""

    def __enter__(self) -> Self:
        """Start showing."""
        return self

    def __exit__(self, *error: object) -> None:
        """Stop showing."""


class PlainView(SweepView):
    """A line for every trial that ends, and one now and then for those that run.

    Args:
        count: trials in all.
        epochs: the most that a trial has.
        console: where to print.
    """

    def __init__(self, count: int, epochs: int, console: Console) -> None:
        super().__init__(count, epochs)
        self._console = console
        self._told_at = time.monotonic()

    def changed(self, number: int) -> None:
        """See ``SweepView``."""
        seen = self._seen[number]
        if seen.status != RUNNING:
            shown = "  ".join(f"{k} {show(v)}" for k, v in seen.settings.items())
            why = f"  ({seen.reason})" if seen.reason else ""
            self.message(f"trial {number:>3}  {seen.status:<8}  {seen.reached:>8}  {shown}{why}")
        elif time.monotonic() - self._told_at > STATUS_EVERY_S:
            self._told_at = time.monotonic()
            running = {n: s for n, s in self._seen.items() if s.status == RUNNING and s.last}
            told = ", ".join(
                f"trial {n} at epoch {s.last['epoch']:g} {measured(s.last)}"
                for n, s in running.items()
                if s.last
            )
            self.message(f"{self._counts()}: {told}")

    def _counts(self) -> str:
        ended = sum(seen.status != RUNNING for seen in self._seen.values())
        return f"{ended} of {self._count} trials ended"

    def message(self, text: str) -> None:
        """See ``SweepView``."""
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)


class LiveView(SweepView):
    """A table that redraws itself: running trials first, then the best of those that ended.

    Args:
        count: trials in all.
        epochs: the most that a trial has.
        console: a terminal.
    """

    def __init__(self, count: int, epochs: int, console: Console) -> None:
        super().__init__(count, epochs)
        self._console, self._began = console, time.monotonic()
        self._live = Live(
            get_renderable=self._table, console=console, refresh_per_second=2, transient=True
        )

    def message(self, text: str) -> None:
        """See ``SweepView``."""
        self._live.console.print(text, soft_wrap=True, highlight=False, markup=False)

    def _table(self) -> Group:
        seen = dict(self._seen)
        counts = Counter(trial.status for trial in seen.values())
        counted = ", ".join(f"{count} {status}" for status, count in counts.items())
        seconds = time.monotonic() - self._began
        head = Text(f"{self._count} trials: {counted or 'starting'}; {seconds:.0f} s", style="bold")
        table = Table(box=None, pad_edge=False, header_style="dim")
        names = list(dict.fromkeys(name for trial in seen.values() for name in trial.settings))
        for name, width in (("trial", 5), ("epoch", 5), ("best", 8), ("status", 8)):
            table.add_column(f"\n{name}", no_wrap=True, min_width=width)
        for name in names:  # a narrow terminal cuts these
            title = heading(name)
            title = title if "\n" in title else f"\n{title}"
            table.add_column(title, no_wrap=True, overflow="ellipsis")
        for number, trial in sorted(seen.items(), key=self._order)[: self._console.height - 5]:
            running = trial.status == RUNNING
            epoch = "-" if trial.last is None else f"{trial.last['epoch']:g}/{self._epochs}"
            cells = [str(number), epoch, trial.reached, trial.status]
            cells += [show(trial.settings.get(name)) for name in names]
            table.add_row(*cells, style="" if running else "dim")
        return Group(head, table)

    @staticmethod
    def _order(item: tuple[int, Seen]) -> tuple[bool, float, int]:
        number, seen = item
        if not seen.best:
            return seen.status != RUNNING, float("inf"), number
        value = -seen.best[METRIC] if METRIC in seen.best else seen.best[BLOCK_METRIC]
        return seen.status != RUNNING, value, number

    def __enter__(self) -> Self:
        """See ``SweepView``."""
        self._live.start(refresh=True)
        return self

    def __exit__(self, *error: object) -> None:
        """See ``SweepView``."""
        self._live.stop()


def measured(report: Report | None) -> str:
    """What trials are compared by, for people."""
    if not report:
        return "-"
    if METRIC in report:
        return percent(report[METRIC])
    return f"{report[BLOCK_METRIC]:.4g}"


def make_view(*, quiet: bool, count: int, epochs: int) -> SweepView:
    """The view that fits: none, a live table on a terminal, or plain lines. Writes to stderr."""
    if quiet:
        return SweepView(count, epochs)
    console = Console(stderr=True)
    if console.is_terminal:
        return LiveView(count, epochs, console)
    return PlainView(count, epochs, console)
