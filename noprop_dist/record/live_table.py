"""The live view of a run on a terminal, and which view fits.

T blocks, t = 1..T.
"""

import sys
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from noprop_dist.record.history import History
from noprop_dist.record.progress import (
    PlainProgress,
    Progress,
    Steps,
    UnitProgress,
    left_in_words,
    redraws,
    validated,
)
from noprop_dist.text import percent


class LiveProgress(PlainProgress):
    """A table that redraws itself: a row per block, the validation accuracy on top.

    Args:
        steps: of the run.
        console: a terminal.
    """

    def __init__(self, steps: Steps, console: Console) -> None:
        super().__init__(steps, console)
        self._places: dict[int, tuple[str, str]] = {}  # worker and node, where there are any
        self._lost: dict[int, int] = {}
        self._headline = Text("validation accuracy: after the first epoch", style="dim")
        self._closing = False
        self._live = Live(
            get_renderable=self._view,
            console=console,
            refresh_per_second=4,
            # rich would send a redirected standard output to the terminal
            redirect_stdout=sys.stdout.isatty(),
        )

    @override
    def unit_progress(self, progress: UnitProgress, worker: str = "", node: str = "") -> None:
        with self._lock:
            self._take(progress)
            if worker:
                self._places[progress.t] = worker, node
        self._warn_of_hours()

    @override
    def worker_lost(self, t: int) -> None:
        with self._lock:
            self._lost[t] = self._lost.get(t, 0) + 1

    @override
    def round_done(self, history: History) -> None:
        z_T, mean, best = validated(history)  # noqa: N806
        with self._lock:
            self._headline = Text.assemble(
                f"epoch {history.num_epochs}/{self._steps.epochs}  validation: z_T ",
                (z_T, "bold green"),
                "  mean softmax ",
                (mean, "bold green"),
                f"  best {best}  lr {history.lr_history[-1]:.2g}",
                no_wrap=True,
                overflow="ellipsis",
            )

    def _view(self) -> Group:
        """The table as it stands; blocks that do not fit on the screen share its last row."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        names = ["block", "epoch", "", "loss", "accuracy", "images/s"]
        # Only where workers are processes of their own.
        names += ["worker", "node", "restarts"] if self._places else []
        for name in names:
            table.add_column(name, justify="left" if name == "" else "right", no_wrap=name != "")
        with self._lock:
            blocks = list(self._rows)
            room = max(self._console.height - 6, 1)
            if self._closing or len(blocks) <= room:
                room = len(blocks)
            for t in blocks[:room]:
                cells = self._cells(self._rows[t], self._steps.first[t])
                if self._places:
                    cells += *self._places.get(t, ("-", "-")), str(self._lost.get(t, 0))
                table.add_row(str(t), *cells)
            if rest := blocks[room:]:
                first = sum(self._steps.first[t] for t in rest) // len(rest)
                table.add_row(f"{rest[0]}-{rest[-1]}", *self._cells(self._mean_row(rest), first))
            share, _, left_s = self._come()
            told = "evaluating" if share == 1 else f"{left_in_words(left_s)} left"
            come = Text(f"{share:.1%} trained, {told}", style="dim")
            return Group(self._headline, come, table)

    def _mean_row(self, blocks: list[int]) -> UnitProgress | None:
        known = [row for t in blocks if (row := self._rows[t]) is not None]
        if not known:
            return None
        waiting = sum(self._steps.first[t] for t in blocks if self._rows[t] is None)
        return UnitProgress(
            0,
            (sum(row.step for row in known) + waiting) // len(blocks),
            sum(row.loss for row in known) / len(known),
            sum(row.accuracy for row in known) / len(known),
            sum(row.images_per_s for row in known) / len(known),
        )

    def _cells(self, row: UnitProgress | None, first: int) -> tuple[str | ProgressBar, ...]:
        total = self._steps.of_a_block
        if row is None:
            return "-", ProgressBar(total, first, width=20), "-", "-", "-"
        epoch = min(-(-row.step // self._steps.an_epoch), self._steps.epochs)
        return (
            f"{epoch}/{self._steps.epochs}",
            ProgressBar(total, row.step, width=20),
            f"{row.loss:.3f}",
            percent(row.accuracy),
            f"{row.images_per_s:,.0f}",
        )

    @override
    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    @override
    def __exit__(self, *error: object) -> None:
        self._closing = True
        self._live.stop()


def make_progress(steps: Steps, *, quiet: bool) -> Progress:
    """The view that fits: none, a live table where it ``redraws``, or plain lines, on stderr."""
    if quiet:
        return Progress()
    console = Console(stderr=True)
    if redraws(console):
        return LiveProgress(steps, console)
    return PlainProgress(steps, console)
