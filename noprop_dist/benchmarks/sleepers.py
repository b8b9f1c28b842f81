"""How busy the executor on Ray keeps many real workers, whose units sleep."""

from dataclasses import asdict
from typing import Any

from noprop_dist.benchmarks.benchmark_options import ScalingBenchmark
from noprop_dist.benchmarks.sleeper import Sleeper
from noprop_dist.benchmarks.utilisation import advanced, run_metered
from noprop_dist.config import TrainConfig
from noprop_dist.distributed.cluster import WorkerNeeds, connected, count_slots
from noprop_dist.distributed.ray_executor import RayExecutor
from noprop_dist.engine.evaluate import EvalResult
from noprop_dist.engine.runner import Work
from noprop_dist.engine.unit import Unit, UnitResult
from noprop_dist.errors import UserError

NEEDS = WorkerNeeds(cpus=0.01)  # asleep they share the cores


class SleeperCrew:
    """See ``WorkerClient``: nothing but times goes to and fro.

    Args:
        seconds: that every unit sleeps.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def start(self, needs: WorkerNeeds, spare_on: str | None) -> Any:
        """See ``WorkerClient``; there are no spares."""
        # After the room that sets what Ray reads when it is imported.
        import ray

        options = {"num_cpus": needs.cpus, "max_concurrency": 3}  # a unit, a look and a stop
        return ray.remote(Sleeper).options(**options).remote(self._seconds)

    def send(self, actor: Any, work: Work, *, held: bool) -> Any:
        """See ``WorkerClient``."""
        return actor.train.remote()

    def receive(self, work: Work, answer: Any) -> UnitResult | EvalResult:
        """See ``WorkerClient``."""
        assert isinstance(work, Unit)
        return advanced(work, *answer)

    def mend(self) -> None:
        """See ``WorkerClient``; nothing is in the store."""

    def close(self) -> None:
        """See ``WorkerClient``: nothing was changed."""


def measure_sleepers(options: ScalingBenchmark) -> dict[str, Any]:
    """Let the coordinator drive sleeping workers, a block for each.

    Returns:
        ``workers``, ``unit_seconds`` and what ``Busy`` holds; what the executor itself computes is
        not in ``coordinator_ms``.

    Raises:
        UserError: this machine does not hold so many workers.
    """
    workers, length = options.sleepers, options.sleep_seconds
    with connected(TrainConfig(device="cpu"), 0):
        if count_slots(NEEDS) < workers:
            raise UserError(f"--sleepers must be at most {count_slots(NEEDS)} here, got {workers}.")
        with RayExecutor(SleeperCrew(length), NEEDS, limit=workers, own=True) as executor:
            executor.wait_for_workers(workers)
            busy = run_metered(executor, workers, workers, options.seconds)
    return {"workers": workers, "unit_seconds": length, **asdict(busy)}


def render_sleepers(measured: dict[str, Any]) -> list[str]:
    """The result in a line."""
    return [
        f"{measured['workers']} sleeping workers on Ray, units of {measured['unit_seconds']:g} s: "
        f"{measured['share']:.1%} busy, {measured['units_per_s']:,.0f} units/s, coordinator "
        f"{measured['coordinator_ms']:.3f} ms per unit"
    ]
