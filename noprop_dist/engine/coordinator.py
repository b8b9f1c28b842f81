"""The coordinator: decides which unit comes next and keeps the snapshots.

It does not know where units run. Nothing that timing decides ever changes a weight.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from noprop_dist.engine.evaluate import EvalResult, EvalUnit
from noprop_dist.engine.executor import Done, Executor
from noprop_dist.engine.rounds import Rounds
from noprop_dist.engine.snapshot import Snapshot
from noprop_dist.engine.unit import NonFiniteLossError, Unit, UnitResult
from noprop_dist.errors import UserError
from noprop_dist.record.checkpoint import save_checkpoint
from noprop_dist.record.events import EventLog
from noprop_dist.record.progress import Progress
from noprop_dist.record.store import Store

WAIT_S = 0.5  # also how soon a signal is noticed
SAVE_EVERY_S = 300.0  # a long epoch is not lost for want of a checkpoint
TEST_DRAWS = 5


@dataclass(frozen=True)
class Record:
    """Where a run is recorded."""

    store: Store
    events: EventLog
    progress: Progress


class Coordinator:
    """Runs the rounds of one job on an executor.

    Args:
        rounds: the state to start from, fresh or restored.
        executor: runs units.
        record: where to write checkpoints, history and events.
        has_validation: whether there is a validation split to evaluate.
        order: in which order ready blocks are offered; no order changes a weight.
    """

    def __init__(
        self,
        rounds: Rounds,
        executor: Executor,
        record: Record,
        *,
        has_validation: bool,
        order: Callable[[Iterable[Snapshot]], list[Snapshot]] = lambda s: sorted(
            s, key=lambda snapshot: (snapshot.step, snapshot.t)
        ),
    ) -> None:
        self.rounds, self.executor, self.record = rounds, executor, record
        self.has_validation = has_validation
        self.order = order
        self.stopping: bool = False
        self._busy: set[int] = set()
        self._running = 0
        self._to_evaluate: list[int] = []
        self._evaluated: dict[int, EvalResult | None] = {}
        self._closed_since_save = 0
        self._saved_at = time.monotonic()
        self._since = time.monotonic()

    def request_stop(self) -> None:
        """End the run at the next steps; safe to call from a signal handler."""
        self.stopping = True
        self.executor.stop()

    def run(self) -> bool:
        """Train to the end; False where a stop was requested first.

        Raises:
            UserError: a block's loss became NaN or infinite, or the disk is full.
        """
        self._since = time.monotonic()
        rounds = self.rounds
        first_open = rounds.ends.get(rounds.round, {})
        if len(first_open) == len(rounds.blocks):
            self._round_ended(rounds.round)
        while True:
            self._submit_ready()
            if not self._running:
                break
            for done in self.executor.wait(WAIT_S):
                self._take(done)
            if not self.stopping and time.monotonic() - self._saved_at > SAVE_EVERY_S:
                self.save()
        self.save()
        return not self.stopping or self._is_finished()

    def _is_finished(self) -> bool:
        rounds = self.rounds
        return rounds.round >= rounds.job.config.epochs or rounds.out_of_patience

    def _submit_ready(self) -> None:
        if self.stopping or self._is_finished():
            return
        while self._to_evaluate and self._running < self.executor.capacity:
            epoch = self._to_evaluate.pop(0)
            self._submit(
                EvalUnit(epoch, "val", self.rounds.weights(epoch), self.rounds.average(epoch), 0)
            )
        idle = [s for t, s in self.rounds.latest.items() if t not in self._busy]
        for snapshot in self.order(idle):
            if self._running >= self.executor.capacity:
                return
            unit = self.rounds.next_unit(snapshot.t)
            if unit is not None:
                self._busy.add(snapshot.t)
                self.record.events.write(
                    "unit_started", block=snapshot.t, step=snapshot.step, num_steps=unit.num_steps
                )
                self._submit(unit)

    def _submit(self, work: Unit | EvalUnit) -> None:
        self._running += 1
        self.executor.submit(work)

    def _take(self, done: Done) -> None:
        self._running -= 1
        if done.error is not None:
            self._fail(done.error)
        if isinstance(done.result, EvalResult):
            self._evaluated[done.result.tag] = done.result
            self._close_rounds()
        elif isinstance(done.result, UnitResult):
            self._take_unit(done.result)

    def _take_unit(self, result: UnitResult) -> None:
        snapshot = result.snapshot
        self._busy.discard(snapshot.t)
        images_per_s = result.num_images / result.seconds
        self.record.events.write(
            "unit_ended",
            block=snapshot.t,
            step=snapshot.step,
            seconds=round(result.seconds, 4),
            images_per_s=round(images_per_s, 1),
        )
        ended = self.rounds.take(snapshot, images_per_s)
        if ended is not None:
            self._round_ended(ended)

    def _round_ended(self, epoch: int) -> None:
        if self.has_validation:
            self._to_evaluate.append(epoch)
        else:
            self._evaluated[epoch] = None
            self._close_rounds()

    def _close_rounds(self) -> None:
        """Close rounds in order, whatever order their evaluations came in."""
        rounds = self.rounds
        while rounds.round in self._evaluated and not self._is_finished():
            epoch = rounds.round
            result = self._evaluated.pop(epoch)
            rounds.close(result)
            history = rounds.history
            self.record.events.write(
                "round_closed",
                epoch=epoch + 1,
                val_accuracy=history.val_accuracy_history[-1],
                train_loss=history.train_loss_history[-1],
            )
            self.record.progress.round_done(
                epoch + 1,
                history.val_accuracy_history[-1],
                history.val_accuracy_mean_softmax_history[-1],
                rounds.best.accuracy if rounds.best else None,
                history.train_loss_history[-1],
                history.lr_history[-1],
            )
            self._closed_since_save += 1
            if self._is_finished():
                self.executor.stop()
            elif self._closed_since_save >= rounds.job.config.save_every:
                self.save()

    def save(self) -> None:
        """Write a checkpoint of where every block stands."""
        now = time.monotonic()
        self.rounds.train_seconds += now - self._since
        self._since = self._saved_at = now
        self._closed_since_save = 0
        parts, state = self.rounds.save()
        name = f"step-{sum(state['steps'].values()):010d}"
        keep = self.rounds.job.config.keep_checkpoints
        save_checkpoint(self.record.store, name, parts, state, keep=keep)
        self.record.events.write("checkpoint", name=name)

    def _fail(self, error: BaseException) -> None:
        if not isinstance(error, NonFiniteLossError):
            raise error
        raise UserError(
            f"the loss of block {error.t} became NaN or infinite at step {error.step}, most likely "
            f"because the learning rate is too high: lower --lr or give --grad-clip 1; the "
            f"checkpoints in {self.record.store.root} are from before."
        ) from error


def evaluate_test(rounds: Rounds, executor: Executor) -> list[EvalResult]:
    """The one look at the test split: one result per noise draw, in the order of the draws."""
    weights, shared = rounds.final()
    for draw in range(TEST_DRAWS):
        executor.submit(EvalUnit(draw, "test", weights, shared, draw))
    results: list[EvalResult] = []
    while len(results) < TEST_DRAWS:
        for done in executor.wait(WAIT_S):
            if done.error is not None:
                raise done.error
            if isinstance(done.result, EvalResult):
                results.append(done.result)
    return sorted(results, key=lambda r: r.tag)
