"""The worker as a plain class, without a cluster."""

from dataclasses import replace

import pytest
import torch

from noprop_dist.distributed.cluster import WorkerNeeds, slots_of
from noprop_dist.distributed.worker import BlockWorker
from noprop_dist.distributed.worker_status import BlockMissingError
from noprop_dist.engine.evaluate import eval_units, run_eval
from noprop_dist.engine.job import Job
from noprop_dist.engine.rounds import Rounds
from noprop_dist.engine.runner import WorkFailedError
from noprop_dist.engine.splits import Splits
from noprop_dist.engine.unit import Unit, run_unit
from runs import prepared

CPU = torch.device("cpu")


def prepare(**changes: object) -> tuple[Job, Splits, Rounds]:
    return prepared(**({"max_train_images": 200, "epochs": 2} | changes))


def test_worker_goes_on_with_the_block_it_has() -> None:
    job, splits, rounds = prepare()
    worker = BlockWorker(job, splits, "cpu")
    first = worker.run(Unit(rounds.latest[2], 2)).snapshot
    bare = replace(first, tensors={})
    second = worker.run(Unit(bare, 2)).snapshot
    whole = run_unit(Unit(rounds.latest[2], 4), job, splits.train, CPU).snapshot
    assert second.step == whole.step
    assert all(torch.equal(second.tensors[k], whole.tensors[k]) for k in whole.tensors)
    assert worker.status().steps == 4


def test_worker_that_lacks_the_block_says_so() -> None:
    job, splits, rounds = prepare()
    worker = BlockWorker(job, splits, "cpu")
    bare = replace(rounds.latest[1], tensors={})
    with pytest.raises(BlockMissingError, match="block 1 at step 0"):
        worker.run(Unit(bare, 1))
    for t in (1, 2, 3):
        worker.run(Unit(rounds.latest[t], 1))
    with pytest.raises(BlockMissingError, match="block 1 at step 1"):
        worker.run(Unit(replace(bare, step=1), 1))


def test_worker_explains_a_loss_that_is_not_finite() -> None:
    job, splits, rounds = prepare(lr=1e39, warmup_epochs=0.0)
    worker = BlockWorker(job, splits, "cpu")
    with pytest.raises(WorkFailedError, match="NaN or infinite at step"):
        worker.run(Unit(rounds.latest[1], 2))


def test_stopped_worker_ends_a_unit_at_its_next_step() -> None:
    job, splits, rounds = prepare()
    worker = BlockWorker(job, splits, "cpu")
    worker.stop()
    assert worker.run(Unit(rounds.latest[1], 3)).snapshot.step == 1


def test_worker_evaluates_as_the_engine_does() -> None:
    job, splits, rounds = prepare()
    weights = {t: s.epoch_end(0.0).weights for t, s in rounds.latest.items()}
    (unit,) = eval_units(0, "test", len(splits.test), weights, rounds.shared, 2)
    worker = BlockWorker(job, splits, "cpu")
    ours = worker.run(replace(unit, weights={}, shared={}), (weights, rounds.shared))
    theirs = run_eval(unit, job, splits.test, CPU)
    assert ours.answers.tolist() == theirs.answers.tolist()
    assert worker.status().steps > 0


@pytest.mark.parametrize(
    ("resources", "slots"),
    [
        ({"CPU": 8.0}, 0),
        ({"CPU": 8.0, "GPU": 1.0, "a100": 1.0}, 2),
        ({"CPU": 3.0, "GPU": 4.0, "a100": 1.0}, 1),
        ({"CPU": 8.0, "GPU": 4.0}, 0),
    ],
)
def test_slots_are_what_the_scarcest_resource_allows(
    resources: dict[str, float], slots: int
) -> None:
    needs = WorkerNeeds(cpus=2, gpus=0.5, resources={"a100": 0.1})
    assert slots_of(resources, needs) == slots
