"""The coordinator: decides which unit comes next and keeps the snapshots.

It does not know where units run. Nothing that timing decides ever changes a weight.
"""

import heapq
import math
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace

from noprop_dist.engine.evaluate import EvalResult, EvalUnit, eval_units, merge
from noprop_dist.engine.executor import WAIT_S, Done, Executor
from noprop_dist.engine.rounds import Rounds
from noprop_dist.engine.runner import Work, WorkFailedError
from noprop_dist.engine.snapshot import Snapshot
from noprop_dist.engine.unit import Unit, UnitResult
from noprop_dist.engine.watching import Watching
from noprop_dist.errors import UserError
from noprop_dist.record.checkpoint import CheckpointWriter
from noprop_dist.record.run_record import Record
from noprop_dist.run_files import PROFILE

SAVE_EVERY_S = 300.0  # a long epoch is not lost for want of a checkpoint
FIRST_STEPS = 50  # of a unit before any speed is known
# Units that have ended are taken before others are handed out, so that each block finds its worker
# free; but where hundreds end at once, no worker waits for all of them.
TOGETHER = 16
KEPT = 2  # checkpoints: the newest may turn out to be damaged
STOP_S = 1.5  # Ray kills a stopped job after 3


Order = Callable[[Iterable[Snapshot]], list[Snapshot]]
Age = tuple[int, bool]  # epoch, and whether it has yet to begin


class Coordinator:
    """Runs the rounds of one job on an executor.

    Args:
        rounds: the state to start from, fresh or restored.
        executor: runs units.
        record: where to write checkpoints, history and events.
        num_val: rows of the validation split; 0 evaluates nothing.
        order: in which order idle blocks are offered; no order changes a weight. The default
            begins with the least trained, and finishes an epoch that is under way before it begins
            one: its worker has the block.
        watching: told of epochs and checkpoints.
    """

    def __init__(
        self,
        rounds: Rounds,
        executor: Executor,
        record: Record,
        *,
        num_val: int,
        order: Order | None = None,
        watching: Watching | None = None,
    ) -> None:
        self.rounds, self.executor, self.record = rounds, executor, record
        self.num_val = num_val
        self.order, self.watching = order, watching or Watching()
        self.stopping: bool = False
        self._idle: list[tuple[Age, int]] = []  # a heap of blocks that no unit trains
        for t in rounds.active:
            self._put_back(t)
        self._steps_per_s: dict[int, float] = {}
        self._running = self._training = 0  # units of any kind, and of training
        self._to_evaluate: list[EvalUnit] = []
        self._parts: dict[int, list[EvalResult]] = {}
        self._evaluated: dict[int, EvalResult | None] = {}
        self._writer = CheckpointWriter(record.store, rounds.job.config.keep_checkpoints or KEPT)
        self._closed_since_save = 0
        self._saved: tuple[int, list[int]] | None = None
        self._saved_at = time.monotonic()
        self._since = time.monotonic()
        self._to_profile = rounds.job.config.profile

    def request_stop(self) -> None:
        """End the run at the next steps. Safe in a signal handler: the rest happens in ``run``."""
        self.stopping = True

    def run(self) -> bool:
        """Train to the end; False where a stop was requested first.

        Raises:
            UserError: every block was set aside, an evaluation cannot be done, or the disk is
                full.
        """
        self._since = time.monotonic()
        try:
            self._run()
            self._save_now()
        except UserError:
            if self.rounds.active:
                with suppress(UserError):  # the disk may be what is wrong
                    self._save_now()
            raise
        finally:
            self._writer.close()
        return self._is_finished()

    def _run(self) -> None:
        for epoch in range(self.rounds.round, self.rounds.num_complete):
            self._round_ended(epoch)
        while not self.stopping:
            self._submit_ready()
            if not self._running:
                if not self._is_finished():
                    raise RuntimeError("no block may train, and they have not finished")
                return
            self._take_all(self.executor.wait(WAIT_S))
            self._log_checkpoint()
            if self._is_save_due():
                self._save()
        self._stop()

    def _take_all(self, ended: list[Done]) -> None:
        for count, done in enumerate(ended, 1):
            self._take(done)
            if count % TOGETHER == 0:
                self._submit_ready()

    def _stop(self) -> None:
        """Let every block come to its next step; evaluations are not waited for.

        Where that takes long, what is here is saved first: whoever asked may not wait either.
        """
        self.record.progress.message("stopping at the next steps; again to leave at once")
        self.executor.stop()
        patience = time.monotonic() + STOP_S
        while self._training:
            self._take_all(self.executor.wait(WAIT_S))
            if time.monotonic() > patience:
                patience = math.inf
                self._save_now()

    def _save_now(self) -> None:
        self._log_checkpoint(wait=True)
        self._save()
        self._log_checkpoint(wait=True)

    def _is_finished(self) -> bool:
        rounds = self.rounds
        over = rounds.ended or rounds.out_of_patience
        return over or rounds.round >= rounds.job.config.epochs

    def _submit_ready(self) -> None:
        if self.stopping or self._is_finished():
            return
        while self._running < self.executor.capacity:
            work = self._to_evaluate.pop(0) if self._to_evaluate else self._next_unit()
            if work is None:
                return
            self._submit(work)

    def _next_unit(self) -> Unit | None:
        """A unit of the first idle block in the order that may train, no longer idle then."""
        if self.order is not None:
            idle = self.order(self.rounds.latest[t] for _, t in self._idle)
            for snapshot in idle:
                unit = self.rounds.next_unit(snapshot.t, self._max_steps(snapshot.t))
                if unit is not None:
                    self._idle = [entry for entry in self._idle if entry[1] != snapshot.t]
                    return unit
            return None
        # What may train depends on the epoch alone and is never withdrawn. So where the least
        # trained has to wait, nobody has begun its epoch, and all have to.
        if not self._idle:
            return None
        t = self._idle[0][1]
        unit = self.rounds.next_unit(t, self._max_steps(t))
        if unit is not None:
            heapq.heappop(self._idle)
        return unit

    def _put_back(self, t: int) -> None:
        epoch, offset = divmod(self.rounds.latest[t].step, self.rounds.job.steps_per_epoch)
        heapq.heappush(self._idle, ((epoch, offset == 0), t))

    def _max_steps(self, t: int) -> int:
        """Steps of a unit of the length that the executor asks for, by the last unit's speed."""
        rate = self._steps_per_s.get(t) or max(self._steps_per_s.values(), default=None)
        return FIRST_STEPS if rate is None else math.ceil(rate * self.executor.unit_s)

    def _submit(self, work: Unit | EvalUnit) -> None:
        self._running += 1
        self._training += isinstance(work, Unit)
        if isinstance(work, Unit) and self._to_profile:
            work, self._to_profile = replace(work, profile=True), False
        self.executor.submit(work)

    def _take(self, done: Done) -> None:
        self._running -= 1
        self._training -= isinstance(done.work, Unit)
        if done.error is not None:
            self._fail(done.work, done.error)
        elif isinstance(done.result, EvalResult):
            self._take_evaluation(done.result, done.worker)
        elif isinstance(done.result, UnitResult) and isinstance(done.work, Unit):
            self._take_unit(done.work, done.result, done.worker)

    def _take_unit(self, unit: Unit, result: UnitResult, worker: str) -> None:
        snapshot = result.snapshot
        num_steps = snapshot.step - unit.snapshot.step
        self._steps_per_s[snapshot.t] = num_steps / result.seconds
        images_per_s = result.num_images / result.seconds
        self.record.events.write(
            "unit",
            block=snapshot.t,
            step=unit.snapshot.step,
            num_steps=num_steps,
            started=round(result.started, 4),
            seconds=round(result.seconds, 4),
            worker=worker,
        )
        if result.trace is not None:
            self.record.store.write(PROFILE, result.trace)
        ended = self.rounds.take(snapshot, images_per_s)
        self._put_back(snapshot.t)
        if ended is not None:
            self._round_ended(ended)

    def _take_evaluation(self, result: EvalResult, worker: str) -> None:
        self.record.events.write(
            "evaluation",
            epoch=result.tag + 1,
            rows=result.num_rows,
            started=round(result.began, 4),
            seconds=round(result.seconds, 4),
            worker=worker,
        )
        parts = self._parts.setdefault(result.tag, [])
        parts.append(result)
        if sum(part.num_rows for part in parts) == self.num_val:
            self._evaluated[result.tag] = merge(self._parts.pop(result.tag))
            self._close_rounds()

    def _round_ended(self, epoch: int) -> None:
        if self.num_val:
            weights, shared = self.rounds.weights(epoch), self.rounds.average(epoch)
            self._to_evaluate += eval_units(epoch, "val", self.num_val, weights, shared, 1)
        else:
            self._evaluated[epoch] = None
            self._close_rounds()

    def _close_rounds(self) -> None:
        """Close rounds in order, whatever order their evaluations came in."""
        rounds = self.rounds
        while rounds.round in self._evaluated and not self._is_finished():
            epoch = rounds.round
            result = self._evaluated.pop(epoch)
            rounds.close(result, self.watching.validated(result))
            history = rounds.history
            self.record.events.write(
                "round_closed",
                epoch=epoch + 1,
                val_accuracy=history.val_accuracy_history[-1],
                train_loss=history.train_loss_history[-1],
            )
            self.record.write_history(history)
            self.record.progress.round_done(history)
            self.watching.epoch_ended()
            self._closed_since_save += 1
            if self._is_finished():
                self.executor.stop()

    def _is_save_due(self) -> bool:
        """Never while a checkpoint is being written: a slow disk gets fewer, not a queue."""
        due = (
            self._closed_since_save >= self.rounds.job.config.save_every
            or time.monotonic() - self._saved_at > SAVE_EVERY_S
        )
        return due and not self._writer.busy

    def _save(self) -> None:
        """Begin to write a checkpoint of where every block stands."""
        where = (self.rounds.round, [s.step for s in self.rounds.latest.values()])
        now = time.monotonic()
        self.rounds.train_seconds += now - self._since
        self._since = self._saved_at = now
        self._closed_since_save = 0
        if where == self._saved:
            return
        self._saved = where
        parts, state = self.rounds.save()
        self._writer.start(f"step-{sum(state['steps'].values()):010d}", parts, state)

    def _log_checkpoint(self, wait: bool = False) -> None:
        name = self._writer.take(wait)
        if name is not None:
            self.record.events.write("checkpoint", name=name)
            self.watching.checkpoint_written(name)

    def _fail(self, work: Work, error: WorkFailedError) -> None:
        """Go on without the block, as long as there are others."""
        if not isinstance(work, Unit):
            raise cannot_evaluate(error) from error
        t = work.snapshot.t
        self.record.events.write("set_aside", block=t, step=work.snapshot.step, reason=str(error))
        completed = self.rounds.give_up(t, str(error))
        if not self.rounds.active:
            raise UserError(
                f"every block failed, the last of them block {t}: {error}. What was trained "
                f"before is in {self.record.store.root}; other options need another --name."
            )
        self.record.progress.warn(f"block {t} is set aside, the others go on: {error}")
        for epoch in completed:
            self._round_ended(epoch)


def cannot_evaluate(error: WorkFailedError) -> UserError:
    """The sentence for an evaluation that cannot be done."""
    return UserError(
        f"the network cannot be evaluated: {error}. What was trained is in the last checkpoint."
    )
