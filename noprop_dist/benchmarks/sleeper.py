"""A worker on Ray whose units sleep; without PyTorch, so that many fit on a small machine."""

import os
import platform
import time

from noprop_dist.distributed.worker_status import Place, WorkerStatus


class Sleeper:
    """Answers as a worker that trains blocks does; ``train`` sleeps.

    Args:
        seconds: that every unit sleeps.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._steps = 0

    def place(self) -> Place:
        """Where this is."""
        import ray

        return Place(ray.get_runtime_context().get_node_id(), platform.node(), os.getpid())

    def status(self) -> WorkerStatus:
        """What it has done."""
        return WorkerStatus(self._steps, {})

    def stop(self) -> None:
        """A unit is a single step to a sleeper, and ends when it ends."""

    def train(self) -> tuple[float, float]:
        """When the unit began, in seconds since 1970, and how long it took."""
        started, start = time.time(), time.perf_counter()
        time.sleep(self._seconds)
        self._steps += 1
        return started, time.perf_counter() - start
