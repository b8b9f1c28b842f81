"""A trial of a whole network: a run of the coordinator that is chosen by and not yet tested.

It knows no Ray: whoever runs it says where its units run and listens to its epochs.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch
from typing_extensions import override

from noprop_dist.config import TrainConfig
from noprop_dist.engine.coordinator import Coordinator
from noprop_dist.engine.executor import Backend
from noprop_dist.engine.job import Job, make_job
from noprop_dist.engine.resume import start_or_resume
from noprop_dist.engine.splits import Splits
from noprop_dist.errors import UserError
from noprop_dist.model.block_names import is_own
from noprop_dist.record.events import EventLog
from noprop_dist.record.history import History
from noprop_dist.record.lock import InUseError
from noprop_dist.record.progress import Progress
from noprop_dist.record.run_record import Record
from noprop_dist.record.store import Store, inside
from noprop_dist.training import begin
from noprop_dist.tune.reports import AGAIN, Report, report_of, reports_of
from noprop_dist.tune.space import BLOCK, Settings

GONE_S = 60.0

Tell = Callable[[Report], None]


class CannotTrainError(UserError):
    """These settings cannot be trained; other settings can, and nothing else is wrong."""


class _Listener(Progress):
    """Passes a run's epochs on."""

    def __init__(self, tell: Callable[[History], None]) -> None:
        self._tell = tell

    @override
    def round_done(self, history: History) -> None:
        self._tell(history)

    @override
    def warn(self, text: str) -> None:
        """What ends a trial is its outcome, the rest is in its log."""


def trial_config(base: TrainConfig, settings: Settings, folder: str, path: str) -> TrainConfig:
    """The options of a trial with its own run folder, ``path`` inside the sweep's.

    Raises:
        UserError: the settings contradict each other.
    """
    quiet = {"plots": False, "quiet": True, "history": None, "name": None, "spares": 0}
    chosen = {k: v for k, v in settings.items() if k != BLOCK}
    block = chosen.get("block", base.block)
    if block != base.block and is_own(block):
        raise UserError(f"a search space names no code: give --block {block} instead.")
    return replace(base, **{**quiet, **chosen}, run_dir=inside(folder, path))


def train_trial(config: TrainConfig, splits: Splits, backend: Backend, tell: Tell) -> None:
    """Train, or go on, and tell of every epoch; the test split is not looked at.

    Args:
        config: the options.
        splits: the data.
        backend: where units run.
        tell: called after every epoch, also those of an earlier call, marked by ``AGAIN``; it may
            raise SystemExit to end the trial.

    Raises:
        CannotTrainError: the settings do not fit the data, or a block failed.
        UserError: something else is wrong, such as a full disk.
        SystemExit: ``tell`` ended it.
    """
    store = Store(config.folder)
    job = job_of(config, splits, backend.device, backend.precision)
    with locked(store):
        rounds, start = start_or_resume(job, splits, store)
        before = rounds.train_seconds - time.monotonic()

        def tell_now(report: Report) -> None:
            for t, reason in rounds.set_aside.items():
                raise CannotTrainError(f"block {t} failed: {reason}.")
            tell(report | {"seconds": before + time.monotonic()})

        events = EventLog(store)
        listener = _Listener(lambda history: tell_now(report_of(history, history.num_epochs)))
        record = Record(store, events, listener)
        begin(start, rounds, record, splits)
        for report in reports_of(rounds.history, rounds.round):
            tell_now(report | {AGAIN: True})
        with backend.executor(job, splits, listener, events.write) as executor:
            coordinator = Coordinator(rounds, executor, record, num_val=len(splits.val))
            try:
                coordinator.run()
            except UserError as error:
                if rounds.set_aside:  # every block, or one, and not the disk
                    raise CannotTrainError(str(error)) from error
                raise


def job_of(config: TrainConfig, splits: Splits, device: torch.device, precision: str) -> Job:
    """What the settings mean for this data, where units compute.

    Raises:
        CannotTrainError: they do not fit it.
    """
    try:
        return make_job(config, splits, device, precision)
    except UserError as error:
        raise CannotTrainError(str(error)) from error


@contextmanager
def locked(store: Store) -> Iterator[None]:
    """Hold the lock of a trial's folder; who had it and was killed may take a moment to be gone."""
    deadline = time.monotonic() + GONE_S
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(store.lock())
                break
            except InUseError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        yield
