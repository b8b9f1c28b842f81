"""What an executor on Ray tells of its workers."""

from noprop_dist.distributed.worker_status import Place, WorkerStatus
from noprop_dist.record.progress import UnitProgress


class WorkerListener:
    """Told of every worker and block; this one does nothing."""

    def progress(self, progress: UnitProgress, worker: str, host: str) -> None:
        """A block has got on."""

    def unit_done(self, t: int) -> None:
        """A training unit of block t has ended and its snapshot is here."""

    def worker_started(self, worker: str, place: Place, *, spare: bool) -> None:
        """A worker is ready."""

    def status(self, worker: str, status: WorkerStatus) -> None:
        """A worker has said what it is doing, as it does about once a second."""

    def ended(self) -> None:
        """The executor ends, and its workers with it."""

    def worker_lost(self, worker: str, blocks: list[int], reason: str, seconds: float) -> None:
        """A worker died or got stuck; its blocks go to others.

        Args:
            worker: its name.
            blocks: whose units it was training.
            reason: why it is taken for dead.
            seconds: how long it had been at those units: what is to be done again.
        """

    def no_worker(self, seconds: float) -> None:
        """For so long no worker has been ready; told again and again."""
