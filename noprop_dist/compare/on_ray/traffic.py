"""What goes through the object store in a run, counted while it goes."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pickle import PickleBuffer
from typing import Any

from ray import cloudpickle

from noprop_dist.distributed.worker_client import BlockClient
from noprop_dist.distributed.worker_status import Memory
from noprop_dist.engine.evaluate import EvalUnit
from noprop_dist.engine.job import Job
from noprop_dist.engine.runner import Result, Work
from noprop_dist.engine.splits import Splits
from noprop_dist.engine.unit import Unit


@dataclass(frozen=True)
class Meter:
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
    """See ``BlockClient``; counts what it sends and receives.

    Args:
        job: the run.
        splits: its data.
        splits_ref: where the object store has the data already.
        meter: counts.
    """

    def __init__(self, job: Job, splits: Splits, splits_ref: Any = None, *, meter: "Meter") -> None:
        super().__init__(job, splits, splits_ref)
        self.count = meter.count

    def send(self, actor: Any, work: Work, *, held: bool) -> Any:
        """See ``WorkerClient``."""
        if _is_test(work):
            return super().send(actor, work, held=held)
        if isinstance(work, EvalUnit) and (work.split, work.tag) not in self._networks:
            self.count["networks"] += num_bytes((work.weights, work.shared))
        return super().send(_Tapped(actor, self._count_sent), work, held=held)

    def _count_sent(self, arguments: Any) -> None:
        self.count["to_workers"] += num_bytes(arguments)

    def receive(self, work: Work, answer: Any) -> Result:
        """See ``WorkerClient``."""
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


class _Tapped:
    """An actor whose calls tell their arguments."""

    def __init__(self, actor: Any, tell: Callable[[Any], None]) -> None:
        self._actor, self._tell = actor, tell

    def __getattr__(self, name: str) -> "_TappedMethod":
        return _TappedMethod(getattr(self._actor, name), self._tell)


class _TappedMethod:
    def __init__(self, method: Any, tell: Callable[[Any], None]) -> None:
        self._method, self._tell = method, tell

    def remote(self, *arguments: Any) -> Any:
        """Tell, and call."""
        self._tell(arguments)
        return self._method.remote(*arguments)


def num_bytes(value: Any) -> int:
    """What the value takes as Ray sends it: a pickle and, beside it, the arrays of its tensors."""
    arrays: list[PickleBuffer] = []
    pickled: bytes = cloudpickle.dumps(  # type: ignore[no-untyped-call]
        value, protocol=5, buffer_callback=arrays.append
    )
    return len(pickled) + sum(array.raw().nbytes for array in arrays)
