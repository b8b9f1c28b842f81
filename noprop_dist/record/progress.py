"""The live view of a run: a table on a terminal, plain lines elsewhere, or nothing."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from threading import Event, Lock, Thread
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from noprop_dist.record.history import History
from noprop_dist.text import duration, percent, printable

WARN_AFTER_S, HOUR_S = 60.0, 3600.0  # once, of a run that takes hours
HEARTBEAT_S = 30.0  # between lines where there is no terminal


@dataclass(frozen=True)
class UnitProgress:
    """A look into a running unit of block t; loss and accuracy are means over the epoch so far.

    Attributes:
        t: the block.
        step: how many steps of the run it has taken.
        loss: in nats.
        accuracy: as a fraction.
        images_per_s: how fast the unit is.
    """

    t: int
    step: int
    loss: float
    accuracy: float
    images_per_s: float


class Progress:
    """What a run tells whoever watches, from several threads; this one shows nothing."""

    def unit_progress(self, progress: UnitProgress, worker: str = "", node: str = "") -> None:
        """How far a block has come, and on which worker where those are processes."""

    def worker_lost(self, t: int) -> None:
        """The worker of block t died; another goes on."""

    def round_done(self, history: History) -> None:
        """Every block has finished an epoch, the last of the history, and it has been evaluated."""

    def message(self, text: str) -> None:
        """Something worth a line."""

    def warn(self, text: str) -> None:
        """Something that a quiet run says too."""
        say(f"warning: {text}")

    def __enter__(self) -> Self:
        """Start showing."""
        return self

    def __exit__(self, *error: object) -> None:
        """Stop showing."""


class PlainProgress(Progress):
    """One line per epoch, for logs, and one now and then between them.

    Args:
        total_epochs: of the run.
        steps_per_epoch: of one block.
        first_step: by t, where a resumed run starts.
        console: where to print.
    """

    def __init__(
        self, total_epochs: int, steps_per_epoch: int, first_step: dict[int, int], console: Console
    ) -> None:
        self._epochs, self._console = total_epochs, console
        self._steps, self._first = steps_per_epoch, first_step
        self._rows: dict[int, UnitProgress | None] = dict.fromkeys(first_step)
        self._lock = Lock()
        self._start = self._told_at = time.monotonic()
        self._warned = False

    @override
    def unit_progress(self, progress: UnitProgress, worker: str = "", node: str = "") -> None:
        with self._lock:
            self._rows[progress.t] = progress
            self._warn_of_hours()
            now = time.monotonic()
            if now - self._told_at < HEARTBEAT_S:
                return
            self._told_at = now
            known = [row for row in self._rows.values() if row is not None]
            loss = sum(row.loss for row in known) / len(known)
            share, rate, left = self._come()
        _print(
            self._console,
            f"{share:.1%} trained  loss {loss:.4f}  {rate:,.1f} steps/s  {left} left",
        )

    def _warn_of_hours(self) -> None:
        """Once, early: what takes long is better known before the night."""
        now = time.monotonic()
        if self._warned or now - self._start < WARN_AFTER_S:
            return
        self._warned = True
        share, _, left = self._come()
        if (now - self._start) * (1 - share) > HOUR_S * max(share, 1e-9):
            self.message(
                f"this run takes {left} more: fewer --epochs, --num-blocks or --max-train-images, "
                "or --preset quick, take less"
            )

    def _come(self) -> tuple[float, float, str]:
        """How far all blocks have come, their steps a second, and the time left at that pace."""
        total = self._epochs * self._steps * len(self._first)
        here = [self._first[t] if row is None else row.step for t, row in self._rows.items()]
        done = sum(here) - sum(self._first.values())
        rate = done / max(1e-9, time.monotonic() - self._start)
        return sum(here) / total, rate, duration((total - sum(here)) / rate) if rate else "-"

    @override
    def round_done(self, history: History) -> None:
        z_T, mean, best = _validated(history)  # noqa: N806
        self.message(
            f"epoch {history.num_epochs}/{self._epochs}  loss {history.train_loss_history[-1]:.4f}"
            f"  val z_T {z_T}  mean softmax {mean}  best {best}  lr {history.lr_history[-1]:.2e}"
            f"  {time.monotonic() - self._start:.0f} s"
        )

    @override
    def message(self, text: str) -> None:
        self._told_at = time.monotonic()
        _print(self._console, text)

    @override
    def warn(self, text: str) -> None:
        self.message(f"warning: {text}")


def _validated(history: History) -> tuple[str, str, str]:
    """Of the last epoch: accuracy of z_T, of the mean softmax, and the best of z_T so far."""
    last = (history.val_accuracy_history[-1], history.val_accuracy_mean_softmax_history[-1])
    best = history.best
    z_T, mean = map(percent, last)  # noqa: N806
    return z_T, mean, percent(best[1] if best else None)


class LiveProgress(PlainProgress):
    """A table that redraws itself: a row per block, the validation accuracy on top.

    Args:
        total_epochs: of the run.
        steps_per_epoch: of one block.
        first_step: by t, where a resumed run starts.
        console: a terminal.
    """

    def __init__(
        self, total_epochs: int, steps_per_epoch: int, first_step: dict[int, int], console: Console
    ) -> None:
        super().__init__(total_epochs, steps_per_epoch, first_step, console)
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
            self._rows[progress.t] = progress
            self._warn_of_hours()
            if worker:
                self._places[progress.t] = worker, node

    @override
    def worker_lost(self, t: int) -> None:
        with self._lock:
            self._lost[t] = self._lost.get(t, 0) + 1

    @override
    def round_done(self, history: History) -> None:
        z_T, mean, best = _validated(history)  # noqa: N806
        with self._lock:
            self._headline = Text.assemble(
                f"epoch {history.num_epochs}/{self._epochs}  validation: z_T ",
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
                cells = self._cells(self._rows[t], self._first.get(t, 0))
                if self._places:
                    cells += *self._places.get(t, ("-", "-")), str(self._lost.get(t, 0))
                table.add_row(str(t), *cells)
            if rest := blocks[room:]:
                first = sum(self._first.get(t, 0) for t in rest) // len(rest)
                table.add_row(f"{rest[0]}-{rest[-1]}", *self._cells(self._mean_row(rest), first))
            share, _, left = self._come()
            come = Text(f"{share:.1%} trained, {left} left", style="dim")
            return Group(self._headline, come, table)

    def _mean_row(self, blocks: list[int]) -> UnitProgress | None:
        known = [row for t in blocks if (row := self._rows[t]) is not None]
        if not known:
            return None
        waiting = sum(self._first.get(t, 0) for t in blocks if self._rows[t] is None)
        return UnitProgress(
            0,
            (sum(row.step for row in known) + waiting) // len(blocks),
            sum(row.loss for row in known) / len(known),
            sum(row.accuracy for row in known) / len(known),
            sum(row.images_per_s for row in known) / len(known),
        )

    def _cells(self, row: UnitProgress | None, first: int) -> tuple[str | ProgressBar, ...]:
        total = self._epochs * self._steps
        if row is None:
            return "-", ProgressBar(total, first, width=20), "-", "-", "-"
        epoch = min(-(-row.step // self._steps), self._epochs)
        return (
            f"{epoch}/{self._epochs}",
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


def say(text: str) -> None:
    """A line on standard error."""
    _print(Console(stderr=True), text)


@contextmanager
def shown_work(what: str, count: int | None) -> Iterator[Callable[[int], object]]:
    """Show on standard error how far something has come: a bar, or a line every HEARTBEAT_S.

    Args:
        what: is done, such as "decoding images".
        count: of how many; None where that is not known, 0 where the line comes at once.

    Yields:
        Told how many more are done, by any thread.
    """
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Bar(*columns, console=console, transient=True, redirect_stdout=False) as bar:
            task = bar.add_task(what, total=count or None)
            yield lambda more: bar.advance(task, more)
        return
    if count == 0:
        _print(console, what)
    done, lock, over, start = 0, Lock(), Event(), time.monotonic()

    def add(more: int) -> None:
        nonlocal done
        with lock:
            done += more

    def tell() -> None:
        while not over.wait(HEARTBEAT_S):
            come = [f"{done:,} of {count:,}"] if count else [f"{done:,}"] * bool(done)
            told = ", ".join([*come, duration(time.monotonic() - start)])
            _print(console, f"{what}: {told}")

    Thread(target=tell, name="progress", daemon=True).start()
    try:
        yield add
    finally:
        over.set()


def _print(console: Console, text: str) -> None:
    console.print(printable(text), soft_wrap=True, highlight=False, markup=False)


def make_progress(
    *,
    quiet: bool,
    total_epochs: int,
    steps_per_epoch: int,
    first_step: dict[int, int],
) -> Progress:
    """The view that fits: none, a live table, or plain lines. Writes to stderr.

    A table redraws itself on a terminal, and in a notebook that has widgets.
    """
    if quiet:
        return Progress()
    console = Console(stderr=True)
    if find_spec("ipywidgets") is not None if console.is_jupyter else console.is_terminal:
        return LiveProgress(total_epochs, steps_per_epoch, first_step, console)
    return PlainProgress(total_epochs, steps_per_epoch, first_step, console)
