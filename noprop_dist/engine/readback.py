"""Numbers of a device that the host looks at without waiting for the work that is under way."""

import torch
from torch import Tensor


class Readback:
    """A few numbers on their way from a device.

    On a CPU they are there at once. On a GPU they are copied behind the work that has been handed
    to it, and looked at when the next ones are sent: the host then waits for work that lies that
    far back, and so is never further ahead of the device than that.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_cpu = device.type == "cpu"
        self._sent: tuple[Tensor, torch.cuda.Event] | None = None

    def swap(self, numbers: Tensor) -> list[float] | None:
        """Send numbers (n,) from the device; what was sent before, None where nothing was."""
        if self._on_cpu:
            return [float(number) for number in numbers.tolist()]
        before = self._sent
        host = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
        host.copy_(numbers, non_blocking=True)
        self._sent = host, torch.cuda.current_stream().record_event()
        if before is None:
            return None
        before[1].synchronize()
        return [float(number) for number in before[0].tolist()]
