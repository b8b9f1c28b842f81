"""Where a run's units run: this process, or a Ray cluster."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch

from noprop_dist.config import TrainConfig
from noprop_dist.engine.cost import check_memory
from noprop_dist.engine.executor import Executor, LocalExecutor
from noprop_dist.engine.job import Job, Splits
from noprop_dist.engine.unit import UnitProgress
from noprop_dist.errors import UserError
from noprop_dist.host import count_cores, free_bytes
from noprop_dist.model.device import resolve_device, resolve_precision
from noprop_dist.record.progress import Progress


class Site(Protocol):
    """Where a run's units may run: what is known of it before there is a job.

    Attributes:
        device: that units compute on.
        precision: "fp32" or "bf16".
    """

    @property
    def device(self) -> torch.device:
        """See above."""

    @property
    def precision(self) -> str:
        """See above."""

    def executor(
        self, job: Job, splits: Splits, progress: Progress, on_event: Callable[..., None]
    ) -> AbstractContextManager[Executor]:
        """What runs the units; ``on_event`` is told of workers, for ``events.jsonl``."""

    def slots(self, config: TrainConfig) -> int:
        """How many units will run at once."""

    def memory(self, job: Job, data_bytes: int) -> tuple[int, int]:
        """What the run will take on the machine where memory is shortest, and what is free there.

        Raises:
            UserError: it is not enough; names what would be.
        """


@dataclass(frozen=True)
class LocalSite:
    """This process. See ``Site``."""

    device: torch.device
    precision: str

    def executor(
        self, job: Job, splits: Splits, progress: Progress, on_event: Callable[..., None]
    ) -> LocalExecutor:
        """See ``Site``."""

        def on_progress(p: UnitProgress) -> None:
            progress.unit_progress(p.t, p.step, p.loss, p.accuracy, p.images_per_s)

        return LocalExecutor(
            job,
            splits,
            self.device,
            slots=self.slots(job.config),
            threads=job.config.cpus_per_worker,
            on_progress=on_progress,
        )

    def slots(self, config: TrainConfig) -> int:
        """See ``Site``."""
        on_gpu = self.device.type == "cuda"
        default = 1 if on_gpu else max(1, count_cores() // config.cpus_per_worker)
        return min(config.workers or default, config.num_blocks)

    def memory(self, job: Job, data_bytes: int) -> tuple[int, int]:
        """See ``Site``; the data is here already."""
        slots, free = self.slots(job.config), free_bytes()
        check = partial(check_memory, job.config, job.spec)
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            return check(free, slots, lambda cost, slots: slots * cost.unit), free
        return check(free, slots, lambda cost, slots: cost.here(slots)), free


def open_site(config: TrainConfig, data_bytes: int) -> AbstractContextManager[Site]:
    """Where units run.

    Raises:
        UserError: there are no such devices, or Ray is not installed.
    """
    if config.executor == "ray":
        try:
            from noprop_dist.distributed.ray_site import ray_site
        except ModuleNotFoundError as error:
            if error.name != "ray":
                raise
            raise UserError(
                "Ray is not installed: install ray[default], or give --executor local to train "
                "in this process."
            ) from error
        return ray_site(config, data_bytes)
    device = resolve_device("cpu" if config.no_cuda else config.device)
    return nullcontext(LocalSite(device, resolve_precision(config.precision, device)))
