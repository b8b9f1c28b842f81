"""Workers on a node that says it has GPUs and has none: they compute on the CPU."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import ray
import torch
from ray.cluster_utils import Cluster

from noprop_dist.distributed.cluster import WorkerNeeds, connected
from noprop_dist.distributed.ray_backend import RayBackend
from noprop_dist.distributed.ray_executor import RayExecutor
from noprop_dist.distributed.worker_client import BlockClient
from noprop_dist.distributed.worker_listener import WorkerListener
from noprop_dist.distributed.worker_status import Place
from noprop_dist.engine.executor import run_all
from noprop_dist.engine.job import Job
from noprop_dist.engine.splits import Splits
from noprop_dist.engine.unit import Unit, UnitResult, run_unit
from noprop_dist.record.checkpoint import sha256_of_tensors
from runs import prepared, wait_until

pytestmark = pytest.mark.ray
CPU = torch.device("cpu")
BLOCKS, GPUS = 5, 2


class Started(WorkerListener):
    def __init__(self) -> None:
        self.pids: list[int] = []

    def worker_started(self, worker: str, place: Place, *, spare: bool) -> None:
        self.pids.append(place.pid)


@pytest.fixture
def gpus(cluster: Cluster) -> Iterator[None]:
    node = cluster.add_node(num_cpus=4, num_gpus=GPUS)
    yield
    cluster.remove_node(node)


@contextmanager
def executor(
    made: Job, splits: Splits, needs: WorkerNeeds, workers: int, listener: Started
) -> Iterator[RayExecutor]:
    with (
        connected(made.config, 0),
        RayExecutor(
            BlockClient(made, splits, device="cpu"), needs, limit=workers, listener=listener
        ) as made_executor,
    ):
        made_executor.wait_for_workers(workers)
        yield made_executor


def free_gpus() -> float:
    return float(ray.available_resources().get("GPU", 0))


@pytest.mark.parametrize(("share", "workers"), [(1.0, 2), (0.5, 4)])
def test_a_worker_holds_its_gpu_or_share_and_gives_it_back_when_it_dies(
    gpus: None, share: float, workers: int
) -> None:
    made, splits, rounds = prepared(num_blocks=BLOCKS)
    units = [Unit(rounds.latest[t], 4) for t in rounds.blocks]
    expected = {u.snapshot.t: run_unit(u, made, splits.train, CPU).snapshot for u in units}
    started = Started()
    needs = WorkerNeeds(cpus=0.5, gpus=share)
    with executor(made, splits, needs, workers, started) as there:
        wait_until(lambda: free_gpus() == 0)
        os.kill(started.pids[0], signal.SIGKILL)
        results = run_all(there, units)  # a queue of five on what there is
        there.wait_for_workers(workers)
        assert len(started.pids) == workers + 1
        wait_until(lambda: free_gpus() == 0)
    assert len(results) == BLOCKS
    for result in results:
        assert isinstance(result, UnitResult)
        whole = expected[result.snapshot.t]
        found = sha256_of_tensors(result.snapshot.tensors)
        assert found == sha256_of_tensors(whole.tensors)


@pytest.mark.parametrize(
    ("gib", "slots", "at_once", "in_all"),
    [(80, 1, 10, 10), (80, 4, 3, 10), (80, 20, 1, 10), (80, 2, 5, 10)],
)
def test_a_worker_trains_as_many_blocks_at_once_as_are_needed_and_fit(
    monkeypatch: pytest.MonkeyPatch, gib: float, slots: int, at_once: int, in_all: int
) -> None:
    made, _, _ = prepared(num_blocks=10)
    monkeypatch.setattr("noprop_dist.distributed.ray_backend.count_slots", lambda _: slots)
    free = int(gib * 2**30)
    backend = RayBackend(WorkerNeeds(gpus=1), torch.device("cuda"), "fp32", True, gpu_bytes=free)
    assert backend.units_at_once(made.config, made.spec) == at_once
    assert backend.slots(made.config, made.spec) == in_all
    given = replace(made.config, blocks_per_worker=2)
    assert backend.units_at_once(given, made.spec) == 2
