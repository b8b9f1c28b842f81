"""At which unit length the coordinator becomes the limit, found with workers that are timers."""

import heapq
import time
from dataclasses import asdict
from typing import Any, Self

from noprop_dist.benchmarks.benchmark_options import ScalingBenchmark
from noprop_dist.benchmarks.utilisation import advanced, run_metered
from noprop_dist.engine.executor import Done
from noprop_dist.engine.runner import Work
from noprop_dist.engine.unit import Unit


class TimerExecutor:
    """See ``Executor``: a unit ends by itself some seconds after it was submitted.

    Args:
        workers: units at once.
        seconds: that every unit takes.
    """

    def __init__(self, workers: int, seconds: float) -> None:
        self.capacity, self.unit_s = workers, seconds
        self._seconds = seconds
        self._running: list[tuple[float, int, float, Unit]] = []  # by end, then by number
        self._num_submitted = 0

    def submit(self, work: Work) -> None:
        """See ``Executor``; never more units than workers."""
        assert isinstance(work, Unit)
        assert len(self._running) < self.capacity
        end = time.monotonic() + self._seconds
        self._num_submitted += 1
        heapq.heappush(self._running, (end, self._num_submitted, time.time(), work))

    def wait(self, timeout_s: float) -> list[Done]:
        """See ``Executor``."""
        if not self._running:
            return []
        time.sleep(max(0.0, min(timeout_s, self._running[0][0] - time.monotonic())))
        now = time.monotonic()
        done = []
        while self._running and self._running[0][0] <= now:
            _, _, started, unit = heapq.heappop(self._running)
            done.append(Done(unit, advanced(unit, started, self._seconds), worker="timer"))
        return done

    def stop(self) -> None:
        """See ``Executor``; a unit is a single step to a timer, and ends when it ends."""

    def __enter__(self) -> Self:
        """See ``Executor``."""
        return self

    def __exit__(self, *error: object) -> None:
        """See ``Executor``."""


def measure_simulated(options: ScalingBenchmark) -> dict[str, Any]:
    """Let the coordinator drive timers, for each unit length.

    Returns:
        ``workers``, ``blocks`` and ``by_unit_seconds``: by unit length, what ``Busy`` holds.
    """
    workers, blocks = options.simulated_workers, options.simulated_blocks
    return {
        "workers": workers,
        "blocks": blocks,
        "by_unit_seconds": {
            f"{length:g}": asdict(
                run_metered(TimerExecutor(workers, length), workers, blocks, options.seconds)
            )
            for length in options.unit_seconds
        },
    }


def render_simulated(measured: dict[str, Any]) -> list[str]:
    """The result as a table."""
    lines = [
        f"{measured['workers']:,} simulated workers, {measured['blocks']:,} blocks:",
        "unit, s     busy   units/s  coordinator, ms per unit (of it computing)",
    ]
    lines += [
        f"{length:>7}{row['share']:>9.1%}{row['units_per_s']:>10,.0f}"
        f"{row['coordinator_ms']:>10.3f} ({row['coordinator_cpu_ms']:.3f})"
        for length, row in measured["by_unit_seconds"].items()
    ]
    return lines
