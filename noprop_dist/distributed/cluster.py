"""The Ray cluster of a run: connecting to one or starting a private one, and what it has."""

import logging
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayError

from noprop_dist.config import TrainConfig
from noprop_dist.config.run import parse_resources
from noprop_dist.distributed.preflight import check_reachable, plain_command_line
from noprop_dist.distributed.start import own_folder, starting
from noprop_dist.errors import UserError
from noprop_dist.model.device import free_on, resolve_device, resolve_precision

FREE_S = 8.0  # that devices may take to become free: another run may just be leaving
PROBE_S = 60.0  # for a first worker process to say what it computes in


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

    @property
    def amounts(self) -> dict[str, float]:
        """By Ray's name of the resource, what is asked for."""
        wanted = {"CPU": self.cpus, "GPU": self.gpus, **self.resources}
        return {k: v for k, v in wanted.items() if v}

    def __str__(self) -> str:
        """For messages."""
        return " and ".join(f"{v:g} {k}" for k, v in self.amounts.items())


def count_slots(needs: WorkerNeeds) -> int:
    """How many workers the nodes that are alive can hold."""
    return sum(slots_of(node["Resources"], needs) for node in live_nodes())


def live_nodes() -> list[dict[str, Any]]:
    """What Ray says of every node that is alive and stays so."""
    try:
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    except RayError as error:
        raise UserError(
            f"the head of the Ray cluster does not answer any more ({error}): once it does, the "
            "same command goes on from the last checkpoint."
        ) from error
    draining = draining_nodes()
    return [node for node in nodes if node["Alive"] and node["NodeID"] not in draining]


def draining_nodes() -> frozenset[str]:
    """Ids of nodes that are told to end soon: Ray starts nothing more there."""
    # Nothing public tells it without a dashboard.
    from ray._private.state import state

    return frozenset(state.get_draining_nodes())


def slots_of(resources: dict[str, float], needs: WorkerNeeds) -> int:
    """How many workers such resources hold."""
    return min(int(resources.get(k, 0) / v + 1e-9) for k, v in needs.amounts.items())


def is_private() -> bool:
    """Whether a run that connects now starts a cluster of its own."""
    return not ray.is_initialized() and os.environ.get("RAY_ADDRESS") in (None, "", "local")


@contextmanager
def connected(config: TrainConfig, data_bytes: int) -> Iterator[WorkerNeeds]:
    """Be connected to the cluster that ``RAY_ADDRESS`` names, else to a private one.

    A private one is on this machine alone, without a dashboard, and gone in the end. Workers run
    this process's version of the package. A process that is connected already stays so, with the
    code that its workers have.

    Yields:
        What a worker of this run asks of that cluster.

    Raises:
        UserError: the cluster cannot be reached or lacks what the run needs.
    """
    if ray.is_initialized():
        yield check_cluster(config, data_bytes)
        return
    address = None if is_private() else os.environ["RAY_ADDRESS"]
    if address is not None:
        check_reachable(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with own_folder() if address is None else nullcontext():
        try:
            with plain_command_line(), starting(address):
                ray.init(
                    address=address or "local",
                    include_dashboard=None if address else False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    runtime_env={"py_modules": [str(Path(__file__).parents[1])]},
                )
            yield check_cluster(config, data_bytes)
        finally:
            ray.shutdown()


def check_cluster(config: TrainConfig, data_bytes: int) -> WorkerNeeds:
    """Compare what the run needs with what the cluster has.

    Returns:
        What a worker of this run asks for.

    Raises:
        UserError: says in one sentence what is missing.
    """
    nodes = [node["Resources"] for node in live_nodes()]
    gpus = config.gpus_per_worker
    if gpus is None:
        given = config.device.startswith("cuda") or any(node.get("GPU", 0) >= 1 for node in nodes)
        gpus = 1.0 if given and config.device != "cpu" else 0.0
    needs = WorkerNeeds(config.cpus_per_worker, gpus, parse_resources(config.resources))
    if needs.gpus and config.spares:
        raise UserError(
            f"--spares {config.spares} has no meaning with GPUs, which a spare cannot share with "
            "a dead worker's replacement: leave it out."
        )
    slots = sum(slots_of(node, needs) for node in nodes)
    if slots < (config.workers or 1):
        raise _does_not_fit(config, needs, nodes, slots)
    smallest = min(node.get("object_store_memory", 0) for node in nodes)
    if smallest < data_bytes:
        raise UserError(
            f"the data takes {data_bytes / 2**20:,.0f} MiB and the smallest object store of the "
            f"cluster holds {smallest / 2**20:,.0f} MiB: give --executor local, or start a cluster "
            f"with ray start --head --object-store-memory {2 * data_bytes} and set "
            "RAY_ADDRESS=auto."
        )
    _check_free(needs)
    return needs


def _does_not_fit(
    config: TrainConfig, needs: WorkerNeeds, nodes: list[dict[str, float]], slots: int
) -> UserError:
    one = len(nodes) == 1
    count = f"{len(nodes)} node{'' if one else 's'}"
    have_gpus = any(node.get("GPU", 0) > 0 for node in nodes)
    if config.device.startswith("cuda") and not have_gpus:
        return UserError(
            f"--device {config.device} needs a GPU, and Ray finds none on its {count}: give "
            "--device cpu or auto."
        )
    wanted = config.workers or 1
    have = (f"{sum(node.get(k, 0) for node in nodes):g} {k}" for k in needs.amounts)
    return UserError(
        f"{wanted} {'worker' if wanted == 1 else 'workers'} of {needs} each do not fit the "
        f"cluster, whose {count} {'has' if one else 'have'} {' and '.join(have)} and "
        f"{'holds' if one else 'hold'} {slots}: ask for less with --workers, "
        "--cpus-per-worker, --gpus-per-worker or --resources, or add nodes."
    )


def _check_free(needs: WorkerNeeds) -> None:
    if ray.util.get_current_placement_group() is not None:  # what this run has is reserved for it
        return
    deadline = time.monotonic() + FREE_S
    while slots_of(ray.available_resources(), needs) < 1:  # type: ignore[no-untyped-call]
        if time.monotonic() > deadline:
            raise UserError(
                f"all that the cluster has of {needs} is taken by other jobs: wait for them, or "
                "add nodes."
            )
        time.sleep(0.2)


@dataclass(frozen=True)
class Found:
    """What a worker finds.

    Attributes:
        device: of its units.
        precision: number format of its units.
        gpu_bytes: free memory of its GPU or of its share of one; 0 on a CPU.
    """

    device: torch.device
    precision: str
    gpu_bytes: int = 0


def probe(config: TrainConfig, needs: WorkerNeeds) -> Found:
    """What workers compute on, asked of one where this process cannot know.

    Raises:
        UserError: no worker process starts.
    """
    device = torch.device("cuda" if needs.gpus else "cpu")
    hosts = {node["NodeManagerHostname"] for node in live_nodes()}
    known = config.precision != "auto" or hosts == {platform.node()}
    if device.type == "cpu" and known:
        return Found(device, resolve_precision(config.precision, device))
    ask = ray.remote(_found_here).options(
        num_cpus=needs.cpus, num_gpus=needs.gpus, resources=needs.resources
    )
    try:
        found: Found = ray.get(
            ask.remote(device.type, config.precision, min(1.0, needs.gpus)), timeout=PROBE_S
        )
    except RayError as error:
        raise UserError(
            f"no worker of {needs} can be started on the cluster ({error}): see Ray's logs there."
        ) from error
    return found


def _found_here(kind: str, precision: str, share: float) -> Found:
    device = resolve_device(kind)
    free = int(share * free_on(device)) if device.type == "cuda" else 0
    return Found(device, resolve_precision(precision, device), free)
