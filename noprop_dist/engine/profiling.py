"""A look inside some steps of a unit: what is computed when, as a chrome trace."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import torch
from torch.profiler import ProfilerActivity, profile

FIRST = 5  # steps before: the first ones make what is made once, or record a graph
STEPS = 5


def open_profiler() -> None:
    """Start the profiler's library, silently: it writes to standard error, across the live view.

    From another thread than the one that imported PyTorch it would say a line all the same.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with profile(activities=[ProfilerActivity.CPU]):
        pass


class StepProfiler:
    """Profiles steps FIRST to FIRST + STEPS of a unit, or the last ones of a shorter one.

    Attributes:
        trace: the trace as JSON, once the steps are over; a unit that is stopped before has none.
    """

    def __init__(self, num_steps: int, device: torch.device) -> None:
        self.trace: bytes | None = None
        self._begin = min(FIRST, max(0, num_steps - STEPS))
        self._end = min(self._begin + STEPS, num_steps)
        kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
        self._profile = profile(activities=kinds)
        self._running = False

    def __enter__(self) -> Self:
        self.stepped(0)
        return self

    def __exit__(self, *error: object) -> None:
        if self._running:
            self._profile.stop()

    def stepped(self, number: int) -> None:
        """So many steps of the unit are done."""
        if number == self._begin:
            self._profile.start()
            self._running = True
        if number == self._end:
            self._profile.stop()
            self._running = False
            with TemporaryDirectory() as folder:
                file = Path(folder) / "trace.json"
                self._profile.export_chrome_trace(str(file))
                self.trace = file.read_bytes()
