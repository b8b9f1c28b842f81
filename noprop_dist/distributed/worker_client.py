"""How workers are started and spoken to, and what the object store holds for them."""

from dataclasses import replace
from typing import Any, Protocol

import ray
import torch
from ray.exceptions import (
    GetTimeoutError,
    ObjectLostError,
    ObjectStoreFullError,
    OutOfDiskError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from noprop_dist.distributed.cluster import WorkerNeeds
from noprop_dist.distributed.sent_data import for_nodes
from noprop_dist.distributed.worker import Worker, send_tensors_as_arrays
from noprop_dist.engine.evaluate import EvalResult, EvalUnit
from noprop_dist.engine.job import Job
from noprop_dist.engine.runner import Result, Work
from noprop_dist.engine.speed import Speed
from noprop_dist.engine.splits import Splits
from noprop_dist.engine.unit import Unit, UnitResult
from noprop_dist.errors import UserError

NETWORKS = 2  # assembled networks kept in the object store
LOST = (ObjectLostError, GetTimeoutError)  # what the store no longer has, or does not find
FETCH_S = 30.0  # for an object that is somewhere in the cluster


class WorkerClient(Protocol):
    """Starts workers of one kind and speaks their language; the executor knows no other."""

    def start(self, needs: WorkerNeeds, spare_on: str | None) -> Any:
        """An actor with ``place``, ``status`` and ``stop``; a spare takes nothing of its node."""

    def send(self, actor: Any, work: Work, *, held: bool) -> Any:
        """The call that does the work; ``held`` where the actor has the snapshot already."""

    def receive(self, work: Work, answer: Any) -> Result:
        """What such a call answered, in memory of this process."""

    def mend(self) -> None:
        """Put what the object store has lost into it again."""

    def close(self) -> None:
        """Leave this process as it was."""


class BlockClient:
    """Workers that train blocks. See ``WorkerClient``.

    Args:
        job: the run.
        splits: its data; put into the object store once, and again if it gets lost.
        splits_ref: where the object store has the data already.
        device: that workers compute on; None takes the GPU where they ask for one.
    """

    def __init__(
        self, job: Job, splits: Splits, splits_ref: Any = None, device: str | None = None
    ) -> None:
        send_tensors_as_arrays()
        splits = for_nodes(splits)
        self._own: tuple[Any, ...] = (job, splits)
        self._device = device
        self._refs = [_put(job), _put(splits) if splits_ref is None else splits_ref]
        self._networks: dict[tuple[str, int], Any] = {}

    def start(self, needs: WorkerNeeds, spare_on: str | None) -> Any:
        """See ``WorkerClient``."""
        units_at_once = self._own[0].config.blocks_per_worker or 1
        options: dict[str, Any] = {"max_concurrency": units_at_once + 2}  # units, status and stop
        if spare_on is None:
            options |= {"num_cpus": needs.cpus, "num_gpus": needs.gpus}
            options["resources"] = needs.resources
        else:
            where = NodeAffinitySchedulingStrategy(spare_on, soft=False)
            options |= {"num_cpus": 0, "scheduling_strategy": where}
        device = self._device or ("cuda" if needs.gpus else "cpu")
        return Worker.options(**options).remote(*self._refs, device)

    def send(self, actor: Any, work: Work, *, held: bool) -> Any:
        """See ``WorkerClient``."""
        return actor.run.remote(*self.arguments(work, held=held))

    def arguments(self, work: Work, *, held: bool) -> tuple[Any, ...]:
        """Of the call that does the work, with what a worker has to be sent for it."""
        if isinstance(work, Unit) and held:
            work = replace(work, snapshot=replace(work.snapshot, tensors={}))
        if not isinstance(work, EvalUnit):
            return (work,)
        key = (work.split, work.tag)
        if key not in self._networks:
            self._networks[key] = _put((work.weights, work.shared))
            for old in list(self._networks)[:-NETWORKS]:
                del self._networks[old]
        return replace(work, weights={}, shared={}), self._networks[key]

    def receive(self, work: Work, answer: Any) -> Result:
        """See ``WorkerClient``."""
        if isinstance(answer, UnitResult):
            # Memory of our own: the object store's is for what is under way.
            tensors = {k: v.clone() for k, v in answer.snapshot.tensors.items()}
            return replace(answer, snapshot=replace(answer.snapshot, tensors=tensors))
        assert isinstance(answer, EvalResult | Speed)
        return answer

    def mend(self) -> None:
        """See ``WorkerClient``; networks are put again with the next unit that needs them."""
        self._networks.clear()
        self._refs = [
            ref if _is_there(ref) else _put(value)
            for ref, value in zip(self._refs, self._own, strict=True)
        ]

    def close(self) -> None:
        """See ``WorkerClient``: tensors go through the object store as they did before."""
        ray.util.deregister_serializer(torch.Tensor)


def _put(value: Any) -> Any:
    try:
        return ray.put(value)
    except (ObjectStoreFullError, OutOfDiskError) as error:
        raise UserError(
            "the object store is full and cannot spill to disk: start Ray with a larger "
            "--object-store-memory, or free some space."
        ) from error


def _is_there(ref: Any) -> bool:
    try:
        ray.get(ref, timeout=FETCH_S)
    except LOST:
        return False
    return True
