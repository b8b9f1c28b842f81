"""How many bytes a block's epoch sends through the object store."""

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pickle import PickleBuffer
from typing import Any

import torch

from noprop_dist.benchmarks.engine import random_job
from noprop_dist.benchmarks.options import EngineBenchmark, ScalingBenchmark
from noprop_dist.distributed.cluster import WorkerNeeds, connected
from noprop_dist.distributed.crew import BlockCrew
from noprop_dist.distributed.executor import RayExecutor
from noprop_dist.engine.coordinator import Coordinator, Record
from noprop_dist.engine.evaluate import EvalResult, EvalUnit
from noprop_dist.engine.executor import Work
from noprop_dist.engine.job import Job, Splits
from noprop_dist.engine.resume import start_afresh
from noprop_dist.engine.unit import Unit, UnitResult
from noprop_dist.record.events import EventLog
from noprop_dist.record.progress import Progress
from noprop_dist.record.store import Store

EPOCHS = 2  # in the first one every block is new to its worker
BLOCKS = 2  # per worker


class CountingCrew(BlockCrew):
    """See ``BlockCrew``; counts what it sends and receives.

    Attributes:
        count: bytes "to_workers" (units), "networks" (to evaluate), "to_coordinator" (answers) and
            "metrics" (answers without their tensors); also "units", how many came back.
    """

    def __init__(self, job: Job, splits: Splits) -> None:
        super().__init__(job, splits)
        self.count: Counter[str] = Counter()

    def send(self, actor: Any, work: Work, *, held: bool) -> Any:
        """See ``Crew``."""
        if isinstance(work, EvalUnit) and (work.split, work.tag) not in self._networks:
            self.count["networks"] += num_bytes((work.weights, work.shared))
        return super().send(_Tapped(actor, self._count_sent), work, held=held)

    def _count_sent(self, arguments: Any) -> None:
        self.count["to_workers"] += num_bytes(arguments)

    def receive(self, work: Work, answer: Any) -> UnitResult | EvalResult:
        """See ``Crew``."""
        self.count["to_coordinator"] += num_bytes(answer)
        if isinstance(work, Unit):
            bare = replace(answer, snapshot=replace(answer.snapshot, tensors={}))
            self.count["metrics"] += num_bytes(bare)
            self.count["units"] += 1
        else:
            self.count["metrics"] += num_bytes(answer)
        return super().receive(work, answer)


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
    # After the room that sets what Ray reads when it is imported.
    from ray import cloudpickle  # noqa: TID251

    arrays: list[PickleBuffer] = []
    pickled: bytes = cloudpickle.dumps(  # type: ignore[no-untyped-call]
        value, protocol=5, buffer_callback=arrays.append
    )
    return len(pickled) + sum(array.raw().nbytes for array in arrays)


def measure_traffic(options: ScalingBenchmark) -> dict[str, Any]:
    """Train Fig. 6 blocks at MNIST's shape, with validation after every epoch, and count.

    Returns:
        Bytes by block and epoch: what ``CountingCrew`` counts; ``units``; ``snapshot``, the bytes
        of one block.

    Raises:
        UserError: this machine does not hold so many workers.
    """
    engine = EngineBenchmark(steps=options.steps, batch_size=options.batch_size)
    job, splits = random_job(engine, torch.device("cpu"))
    blocks = BLOCKS * options.workers
    job = replace(
        job,
        config=replace(job.config, epochs=EPOCHS, num_blocks=blocks),
        spec=replace(job.spec, num_blocks=blocks),
    )
    splits = replace(splits, val=splits.train)
    rounds = start_afresh(job, splits)
    with (
        connected(replace(job.config, workers=options.workers, no_cuda=True), splits.nbytes),
        tempfile.TemporaryDirectory(prefix="noprop-benchmark-") as folder,
    ):
        store = Store(folder)
        record = Record(store, EventLog(store), Progress())
        crew = CountingCrew(job, splits)
        with RayExecutor(crew, WorkerNeeds(), limit=options.workers) as executor:
            Coordinator(rounds, executor, record, num_val=len(splits.val)).run()
        snapshot = num_bytes(rounds.latest[1])
    counted = {name: value / (blocks * EPOCHS) for name, value in crew.count.items()}
    return {"snapshot": snapshot, **counted}


def render_traffic(measured: dict[str, Any]) -> list[str]:
    """The result in a line."""
    mib = {name: value / 2**20 for name, value in measured.items()}
    return [
        f"object store, per block and epoch of {measured['units']:.1f} units, MiB: "
        f"{mib['to_coordinator']:.2f} to the coordinator ({mib['metrics']:.4f} of it metrics), "
        f"{mib['to_workers'] + mib['networks']:.2f} to workers ({mib['networks']:.2f} of it to "
        f"evaluate); a block has {mib['snapshot']:.2f}",
    ]
