"""The Ray cluster of a run: connecting to one or starting a private one, and what it has."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray

from noprop_dist.config import TrainConfig
from noprop_dist.errors import UserError


@dataclass(frozen=True)
class WorkerNeeds:
    """What one worker asks of the cluster.

    Attributes:
        cpus: CPU threads, which are also the threads of its units.
        gpus: GPUs, a fraction where several workers share one.
        resources: custom resources, for labelled nodes.
    """

    cpus: float = 1
    gpus: float = 0
    resources: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """For messages."""
        parts = [f"{self.cpus:g} CPU"] + ([f"{self.gpus:g} GPU"] if self.gpus else [])
        return " and ".join(parts + [f"{v:g} {k}" for k, v in self.resources.items()])


def count_slots(needs: WorkerNeeds) -> int:
    """How many workers the nodes that are alive can hold."""
    return sum(slots_of(resources, needs) for resources in live_nodes())


def live_nodes() -> list[dict[str, float]]:
    """The resources of every node that is alive."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node["Resources"] for node in nodes if node["Alive"]]


def slots_of(resources: dict[str, float], needs: WorkerNeeds) -> int:
    """How many workers one node's resources hold."""
    wanted = {"CPU": needs.cpus, "GPU": needs.gpus, **needs.resources}
    return min(int(resources.get(k, 0) / v + 1e-9) for k, v in wanted.items() if v)


@contextmanager
def connected(config: TrainConfig, needs: WorkerNeeds, data_bytes: int) -> Iterator[None]:
    """Be connected to the cluster that ``RAY_ADDRESS`` names, else to a private one.

    A private one is on this machine alone, without a dashboard, and gone in the end.

    Raises:
        UserError: the cluster cannot be reached or lacks what the run needs.
    """
    address = os.environ.get("RAY_ADDRESS")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(
            address=address or "local",
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        if address is None:
            raise
        raise UserError(
            f"no Ray cluster can be reached at RAY_ADDRESS={address} ({error}): start one, or "
            "leave RAY_ADDRESS out."
        ) from error
    try:
        check_cluster(config, needs, data_bytes)
        yield
    finally:
        ray.shutdown()


def check_cluster(config: TrainConfig, needs: WorkerNeeds, data_bytes: int) -> None:
    """Compare what the run needs with what the cluster has.

    Raises:
        UserError: says in one sentence what is missing.
    """
    nodes = live_nodes()
    slots = sum(slots_of(node, needs) for node in nodes)
    if slots < (config.workers or 1):
        cpus, gpus = (sum(node.get(k, 0) for node in nodes) for k in ("CPU", "GPU"))
        raise UserError(
            f"{config.workers or 1} workers of {needs} each do not fit the cluster, whose "
            f"{len(nodes)} nodes have {cpus:g} CPU and {gpus:g} GPU and hold {slots}: ask for less "
            "with --workers, --cpus-per-worker or --gpus-per-worker, or add nodes."
        )
    smallest = min(node.get("object_store_memory", 0) for node in nodes)
    if smallest < data_bytes:
        raise UserError(
            f"the data takes {data_bytes / 2**20:,.0f} MiB and the smallest object store of the "
            f"cluster holds {smallest / 2**20:,.0f} MiB: start Ray with --object-store-memory "
            f"{2 * data_bytes}."
        )
