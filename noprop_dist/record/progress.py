"""What a run tells whoever watches: lines, or nothing; a table is in ``live_table``."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from threading import Event, Lock, Thread
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.text import Text
from typing_extensions import override

from noprop_dist.record.history import History
from noprop_dist.text import duration, percent, printable

WARN_AFTER_S, HOUR_S = 60.0, 3600.0  # once, of a run that takes hours
SHORTER = "fewer --epochs, --num-blocks or --max-train-images, or --preset quick, take less"
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


class Heartbeat:
    """A line where there has been none for HEARTBEAT_S, looked for by a thread.

    Args:
        line: says it.
    """

    def __init__(self, line: Callable[[], object]) -> None:
        self._line, self._lock = line, Lock()
        self._over, self._told_at = Event(), time.monotonic()
        self._thread = Thread(target=self._look_on, name="heartbeat", daemon=True)

    def spoken(self) -> None:
        """There has been a line now."""
        self._told_at = time.monotonic()

    def look(self) -> None:
        """Say a line if it is time for one."""
        with self._lock:
            if self._over.is_set() or time.monotonic() - self._told_at < HEARTBEAT_S:
                return
            self.spoken()
        self._line()

    def __enter__(self) -> Self:
        """Begin to look."""
        self._thread.start()
        return self

    def _look_on(self) -> None:
        while not self._over.wait(min(1.0, HEARTBEAT_S)):
            self.look()

    def __exit__(self, *error: object) -> None:
        """Look no more; a line that is being said is said to its end."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()


@dataclass(frozen=True)
class Steps:
    """What a run has to do.

    Attributes:
        epochs: of the run.
        an_epoch: training steps of one block.
        first: by t, the step where a block begins; not 0 in a resumed run.
        after: what comes after training takes as long as so many steps, of whatever block.
    """

    epochs: int
    an_epoch: int
    first: dict[int, int]
    after: float = 0.0

    @property
    def of_a_block(self) -> int:
        """From the start of training to its end."""
        return self.epochs * self.an_epoch


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
        steps: of the run.
        console: where to print.
    """

    def __init__(self, steps: Steps, console: Console) -> None:
        self._steps, self._console = steps, console
        self._begun: tuple[float, int] | None = None  # when a block was first heard of, at what
        self._rows: dict[int, UnitProgress | None] = dict.fromkeys(steps.first)
        self._lock = Lock()
        self._start = time.monotonic()
        self._warned = False
        self._heart = Heartbeat(self._beat)

    @override
    def unit_progress(self, progress: UnitProgress, worker: str = "", node: str = "") -> None:
        with self._lock:
            self._take(progress)
        self._warn_of_hours()
        self._heart.look()

    def _take(self, progress: UnitProgress) -> None:
        """With the lock."""
        self._rows[progress.t] = progress
        if self._begun is None:
            self._begun = time.monotonic(), sum(self._steps_of_blocks())

    def _beat(self) -> None:
        """Whatever the run is at."""
        with self._lock:
            line = self._line()
        _print(self._console, line)

    def _line(self) -> str:
        known = [row for row in self._rows.values() if row is not None]
        share, rate, left_s = self._come()
        if share == 1 or not known:
            what = "evaluating" if known else "no step yet"
            return f"{share:.1%} trained  {what}  {duration(time.monotonic() - self._start)} so far"
        loss = sum(row.loss for row in known) / len(known)
        steps = sorted(self._steps_of_blocks())
        return (
            f"{share:.1%} trained  blocks at steps {steps[0]:,} to {steps[-1]:,} of "
            f"{self._steps.of_a_block:,}  loss {loss:.4f}  {rate:,.1f} steps/s  "
            f"{left_in_words(left_s)} left"
        )

    def _warn_of_hours(self) -> None:
        """Once, early: what takes long is better known before the night."""
        with self._lock:
            if self._warned or time.monotonic() - self._start < WARN_AFTER_S:
                return
            _, _, left_s = self._come()
            self._warned = left_s is not None
        # Without the lock, which a terminal's view takes while it has the terminal's own.
        if left_s is not None and left_s > HOUR_S:
            self.message(f"this run takes {duration(left_s)} more: {SHORTER}")

    def _steps_of_blocks(self) -> list[int]:
        return [self._steps.first[t] if row is None else row.step for t, row in self._rows.items()]

    def _come(self) -> tuple[float, float, float | None]:
        """How far all blocks have come, their steps a second, and the seconds left at that pace.

        What it took to start is no part of the pace, once there are steps to tell it by.
        """
        total = self._steps.of_a_block * len(self._steps.first)
        here = sum(self._steps_of_blocks())
        since, first = self._begun or (self._start, here)
        if here <= first:  # a block may have gone back with its worker
            since, first = self._start, sum(self._steps.first.values())
        rate = (here - first) / max(1e-9, time.monotonic() - since)
        left = total - here + self._steps.after
        return here / total, rate, left / rate if rate else None

    @override
    def round_done(self, history: History) -> None:
        z_T, mean, best = validated(history)  # noqa: N806
        loss, lr = history.train_loss_history[-1], history.lr_history[-1]
        seconds = time.monotonic() - self._start
        self.message(
            f"epoch {history.num_epochs}/{self._steps.epochs}  loss {loss:.4f}  val z_T {z_T}"
            f"  mean softmax {mean}  best {best}  lr {lr:.2e}  {seconds:.0f} s"
        )

    @override
    def message(self, text: str) -> None:
        self._heart.spoken()
        _print(self._console, text)

    @override
    def warn(self, text: str) -> None:
        self.message(f"warning: {text}")

    @override
    def __enter__(self) -> Self:
        self._heart.__enter__()
        return self

    @override
    def __exit__(self, *error: object) -> None:
        self._heart.__exit__()


def left_in_words(seconds: float | None) -> str:
    """The time left, "-" where no step tells it yet."""
    return "-" if seconds is None else duration(seconds)


def validated(history: History) -> tuple[str, str, str]:
    """Of the last epoch: accuracy of z_T, of the mean softmax, and the best of z_T so far."""
    last = (history.val_accuracy_history[-1], history.val_accuracy_mean_softmax_history[-1])
    best = history.best
    z_T, mean = map(percent, last)  # noqa: N806
    return z_T, mean, percent(best[1] if best else None)


def say(text: str) -> None:
    """A line on standard error."""
    _print(Console(stderr=True), text)


def redraws(console: Console) -> bool:
    """Whether what is shown can be drawn anew: on a terminal, and in a notebook with widgets."""
    return find_spec("ipywidgets") is not None if console.is_jupyter else console.is_terminal


class _DoneColumn(ProgressColumn):
    """How many are done, once there are any, of what has no known end."""

    @override
    def render(self, task: Task) -> Text:
        return Text(f"{task.completed:,.0f}" if task.completed else "")


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
    if count == 0:
        _print(console, what)
    elif redraws(console):
        of_all = (MofNCompleteColumn(), TimeRemainingColumn())
        known = of_all if count else (_DoneColumn(), TimeElapsedColumn())
        columns = (TextColumn(what), BarColumn(), *known)
        with Bar(*columns, console=console, transient=True, redirect_stdout=False) as bar:
            task = bar.add_task(what, total=count)
            yield lambda more: bar.advance(task, more)
        return
    done, lock, start = 0, Lock(), time.monotonic()

    def add(more: int) -> None:
        nonlocal done
        with lock:
            done += more

    def tell() -> None:
        come = [f"{done:,} of {count:,}"] if count else [f"{done:,}"] * bool(done)
        told = ", ".join([*come, duration(time.monotonic() - start)])
        _print(console, f"{what}: {told}")

    with Heartbeat(tell):
        yield add


def _print(console: Console, text: str) -> None:
    console.print(printable(text), soft_wrap=True, highlight=False, markup=False)
