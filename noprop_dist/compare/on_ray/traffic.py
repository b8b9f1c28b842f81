"""What goes through the object store in a run, counted while it goes."""

from collections import Counter
from dataclasses import dataclass, field, replace
from pickle import PickleBuffer
from typing import Any

from ray import cloudpickle
from typing_extensions import override

from noprop_dist.distributed.worker_client import BlockClient
from noprop_dist.distributed.worker_status import Memory
from noprop_dist.engine.evaluate import EvalUnit
from noprop_dist.engine.job import Job
from noprop_dist.engine.runner import Result, Work
from noprop_dist.engine.splits import Splits
from noprop_dist.engine.unit import Unit


@dataclass(frozen=True)
class Traffic:
    """What a run's workers were sent, sent back, and needed.

    Attributes:
        count: bytes through the object store: "to_workers" (units), "networks" (to validate),
            "to_coordinator" (answers) and "metrics" (answers without their tensors); also "units",
            how many came back. The test is not counted.
        memory: by worker, as it said last.
    """

    count: Counter[str] = field(default_factory=Counter)
    memory: dict[str, Memory] = field(default_factory=dict)

    @property
    def moved_bytes(self) -> int:
        """All that went through the object store in either direction, without the data set."""
        return sum(self.count[way] for way in ("to_workers", "networks", "to_coordinator"))


class CountingClient(BlockClient):
    """Starts workers and counts what it sends to them and receives.

    Args:
        job: the run.
        splits: its data.
        splits_ref: where the object store has the data already.
        traffic: counts.
    """

    def __init__(
        self, job: Job, splits: Splits, splits_ref: Any = None, *, traffic: Traffic
    ) -> None:
        super().__init__(job, splits, splits_ref)
        self.count = traffic.count

    @override
    def arguments(self, work: Work, *, held: bool) -> tuple[Any, ...]:
        is_new = isinstance(work, EvalUnit) and (work.split, work.tag) not in self._networks
        arguments = super().arguments(work, held=held)
        if not _is_test(work):
            self.count["to_workers"] += num_bytes(arguments)
            if isinstance(work, EvalUnit) and is_new:
                self.count["networks"] += num_bytes((work.weights, work.shared))
        return arguments

    @override
    def receive(self, work: Work, answer: Any) -> Result:
        if _is_test(work):
            return super().receive(work, answer)
        self.count["to_coordinator"] += num_bytes(answer)
        if isinstance(work, Unit):
            bare = replace(answer, snapshot=replace(answer.snapshot, tensors={}))
            self.count["metrics"] += num_bytes(bare)
            self.count["units"] += 1
        else:
            self.count["metrics"] += num_bytes(answer)
        return super().receive(work, answer)


def _is_test(work: Work) -> bool:
    return isinstance(work, EvalUnit) and work.split == "test"


def num_bytes(value: Any) -> int:
    """What the value takes as Ray sends it: a pickle and, beside it, the arrays of its tensors."""
    arrays: list[PickleBuffer] = []
    pickled: bytes = cloudpickle.dumps(  # type: ignore[no-untyped-call]
        value, protocol=5, buffer_callback=arrays.append
    )
    return len(pickled) + sum(array.raw().nbytes for array in arrays)
