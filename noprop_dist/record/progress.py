"""The live view of a run: a table on a terminal, plain lines elsewhere, or nothing."""

import time
from dataclasses import dataclass
from threading import Lock
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text


class Progress(Protocol):
    """What a run tells whoever watches. Called from several threads."""

    def unit_progress(
        self, t: int, step: int, loss: float, accuracy: float, images_per_s: float
    ) -> None:
        """Block t has taken ``step`` steps of the run; loss and accuracy are the epoch's so far."""

    def round_done(
        self,
        epoch: int,
        val_accuracy: float | None,
        val_mean_softmax: float | None,
        best: float | None,
        train_loss: float,
        lr: float,
    ) -> None:
        """Every block has finished ``epoch`` (from 1) and it has been evaluated."""

    def message(self, text: str) -> None:
        """Something worth a line."""

    def __enter__(self) -> Self:
        """Start showing."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop showing."""


class QuietProgress:
    """Shows nothing."""

    def unit_progress(
        self, t: int, step: int, loss: float, accuracy: float, images_per_s: float
    ) -> None:
        """See ``Progress``."""

    def round_done(
        self,
        epoch: int,
        val_accuracy: float | None,
        val_mean_softmax: float | None,
        best: float | None,
        train_loss: float,
        lr: float,
    ) -> None:
        """See ``Progress``."""

    def message(self, text: str) -> None:
        """See ``Progress``."""

    def __enter__(self) -> Self:
        """See ``Progress``."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """See ``Progress``."""


class PlainProgress(QuietProgress):
    """One line per epoch, for logs.

    Args:
        total_epochs: of the run.
        console: where to print.
    """

    def __init__(self, total_epochs: int, console: Console) -> None:
        self._total = total_epochs
        self._console = console
        self._start = time.monotonic()

    def round_done(
        self,
        epoch: int,
        val_accuracy: float | None,
        val_mean_softmax: float | None,
        best: float | None,
        train_loss: float,
        lr: float,
    ) -> None:
        """See ``Progress``."""
        self._console.print(
            f"epoch {epoch}/{self._total}  loss {train_loss:.4f}  val z_T {percent(val_accuracy)}  "
            f"mean softmax {percent(val_mean_softmax)}  best {percent(best)}  lr {lr:.2e}  "
            f"{time.monotonic() - self._start:.0f} s",
            soft_wrap=True,
            highlight=False,
        )

    def message(self, text: str) -> None:
        """See ``Progress``."""
        self._console.print(text, soft_wrap=True, highlight=False)


@dataclass
class _Row:
    step: int
    loss: float
    accuracy: float
    images_per_s: float


class LiveProgress(QuietProgress):
    """A table that redraws itself: a row per block, the validation accuracy on top.

    Args:
        num_blocks: T.
        total_epochs: of the run.
        steps_per_epoch: of one block.
        first_step: by t, where a resumed run starts.
        console: a terminal.
    """

    def __init__(
        self,
        num_blocks: int,
        total_epochs: int,
        steps_per_epoch: int,
        first_step: dict[int, int],
        console: Console,
    ) -> None:
        self._epochs, self._steps = total_epochs, steps_per_epoch
        self._rows: dict[int, _Row | None] = dict.fromkeys(range(1, num_blocks + 1))
        self._first = first_step
        self._start = time.monotonic()
        self._headline = Text("validation accuracy: after the first epoch", style="dim")
        self._lock = Lock()
        self._live = Live(self, console=console, refresh_per_second=4)

    def unit_progress(
        self, t: int, step: int, loss: float, accuracy: float, images_per_s: float
    ) -> None:
        """See ``Progress``."""
        with self._lock:
            self._rows[t] = _Row(step, loss, accuracy, images_per_s)

    def round_done(
        self,
        epoch: int,
        val_accuracy: float | None,
        val_mean_softmax: float | None,
        best: float | None,
        train_loss: float,
        lr: float,
    ) -> None:
        """See ``Progress``."""
        with self._lock:
            self._headline = Text.assemble(
                f"epoch {epoch}/{self._epochs}   validation accuracy: z_T ",
                (percent(val_accuracy), "bold green"),
                "   mean softmax ",
                (percent(val_mean_softmax), "bold green"),
                f"   best z_T {percent(best)}   lr {lr:.1e}",
            )

    def message(self, text: str) -> None:
        """See ``Progress``."""
        self._live.console.print(text, soft_wrap=True, highlight=False)

    def __rich__(self) -> Group:
        """The table as it stands."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("block", "epoch", "", "loss", "accuracy", "images/s", "ETA"):
            table.add_column(name, justify="left" if name == "" else "right")
        with self._lock:
            for t, row in self._rows.items():
                table.add_row(str(t), *self._cells(t, row))
            return Group(self._headline, table)

    def _cells(self, t: int, row: _Row | None) -> tuple[str | ProgressBar, ...]:
        total = self._epochs * self._steps
        if row is None:
            return "-", ProgressBar(total, self._first.get(t, 0), width=20), "-", "-", "-", "-"
        epoch = min(-(-row.step // self._steps), self._epochs)
        return (
            f"{epoch}/{self._epochs}",
            ProgressBar(total, row.step, width=20),
            f"{row.loss:.3f}",
            percent(row.accuracy),
            f"{row.images_per_s:,.0f}",
            self._eta(t, row.step, total),
        )

    def _eta(self, t: int, step: int, total: int) -> str:
        """Remaining time at this block's pace so far, its waits for a slot included."""
        done = step - self._first.get(t, 0)
        if step >= total or not done:
            return "done" if step >= total else "-"
        seconds = round((time.monotonic() - self._start) * (total - step) / done)
        hours, rest = divmod(seconds, 3600)
        return (
            f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
            if hours
            else f"{rest // 60}:{rest % 60:02d}"
        )

    def __enter__(self) -> Self:
        """See ``Progress``."""
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """See ``Progress``."""
        self._live.__exit__(kind, error, trace)


def percent(fraction: float | None) -> str:
    """A fraction as a percentage with two decimals, or a dash."""
    return "-" if fraction is None else f"{100 * fraction:.2f} %"


def make_progress(
    *,
    quiet: bool,
    num_blocks: int,
    total_epochs: int,
    steps_per_epoch: int,
    first_step: dict[int, int],
) -> Progress:
    """The view that fits: none, a live table on a terminal, or plain lines. Writes to stderr."""
    if quiet:
        return QuietProgress()
    console = Console(stderr=True)
    if console.is_terminal:
        return LiveProgress(num_blocks, total_epochs, steps_per_epoch, first_step, console)
    return PlainProgress(total_epochs, console)
