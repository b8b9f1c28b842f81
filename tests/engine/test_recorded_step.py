"""A step can be recorded once and replayed: it has no value that is frozen in the recording."""

from typing import Any

import numpy as np
import pytest
import torch
from replaying import Operations, recorded
from torch._subclasses.fake_tensor import FakeTensorMode

from noprop_dist.engine.job import Job
from noprop_dist.engine.live_block import LiveBlock
from noprop_dist.engine.rounds import Rounds
from noprop_dist.engine.runner import UnitRunner
from noprop_dist.engine.snapshot import Snapshot
from noprop_dist.engine.splits import Splits
from noprop_dist.engine.unit import Unit, UnitResult
from noprop_dist.model.block import Block
from noprop_dist.model.registry import make_block, make_objective
from runs import prepared

CPU = torch.device("cpu")
RUNS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dropout": {"dropout": 0.3},
    "augmentation": {"augmentation": "standard", "flip": "yes"},
    "strong": {"augmentation": "strong", "flip": "yes"},
    "mixed": {"mixup": 0.4, "cutmix": 1.0, "label_smoothing": 0.1, "class_weights": "balanced"},
    "average": {"ema_decay": 0.99},
    "clipping": {"grad_clip": 0.1},
    "learned": {"embedding_type": "learned"},
    "prototype": {"embedding_type": "prototype"},
    "bf16": {"precision": "bf16"},
    "ct": {"objective": "ct", "block_loss": "mse", "embedding_type": "learned", "overlap": 0.1},
    "fm": {"objective": "fm", "grad_clip": 0.1},
    "ranges": {"objective": "ranges", "embedding_type": "learned"},
    "none": {"objective": "none"},
    "resnet18": {"block": "resnet18", "num_blocks": 2},
    "resnet18 told": {"block": "resnet18", "num_blocks": 2, "objective": "fm"},
    "sgd": {"optimizer": "sgd", "nesterov": True},
    "muon": {"optimizer": "muon", "embedding_type": "learned"},
    "accumulated": {"batch_size": 16, "accumulate": 2},
    "resnet9": {"block": "resnet9", "num_blocks": 2, "block_options": "width=8"},
    "vit": {"block": "vit-tiny", "num_blocks": 2, "block_options": "depth=1"},
}


class OnTheCpu(torch.Generator):
    """Draws for fake CUDA tensors too, which have no generator of their own."""

    def __new__(cls, device: object) -> "OnTheCpu":
        return super().__new__(cls, "cpu")


def begun(**options: Any) -> tuple[Job, Splits, Rounds]:
    return prepared(**({"warmup_epochs": 2.0} | options))


def trained(job: Job, splits: Splits, start: Snapshot, cuts: list[int], **how: Any) -> Snapshot:
    runner = UnitRunner(job, splits, CPU, at_once=1, **how)
    for steps in cuts:
        done = runner.run(Unit(start, steps))
        assert isinstance(done, UnitResult)
        start = done.snapshot
    return start


@pytest.mark.parametrize("options", RUNS.values(), ids=RUNS)
def test_a_recorded_step_gives_the_bits_of_a_computed_one(options: dict[str, Any]) -> None:
    job, splits, rounds = begun(**options)
    start = rounds.latest[2]
    computed = trained(job, splits, start, [3, 3])
    replayed = trained(job, splits, start, [3, 3], keep=True, recorder=recorded())
    assert computed.step == replayed.step
    for name, tensor in computed.tensors.items():
        assert torch.equal(tensor, replayed.tensors[name]), name


@pytest.mark.parametrize("options", RUNS.values(), ids=RUNS)
def test_every_step_does_the_same_operations(options: dict[str, Any]) -> None:
    """Learning rate in the warm-up, average's share and counters change, and only in tensors."""
    job, splits, rounds = begun(**options)
    live = LiveBlock(job, rounds.latest[1], CPU)
    told = []
    for step in range(3):
        taken = splits.train.take(np.arange(32 * step, 32 * (step + 1)))
        x, y = (torch.from_numpy(part) for part in taken)
        live.train_step(x, y)
        with Operations() as operations:
            live.compute(x, y)
        told.append(operations.told())
    assert len(told[0]) > 100
    assert told[0] == told[1] == told[2]


def test_a_kept_block_goes_on_as_one_that_is_made_anew_and_a_cut_changes_nothing() -> None:
    job, splits, rounds = begun(embedding_type="learned", freeze_after=1)
    start, steps = rounds.latest[1], job.steps_per_epoch
    whole = trained(job, splits, start, [steps, steps])
    kept = trained(job, splits, start, [5, steps - 5, steps], keep=True)
    assert kept.step == whole.step == 2 * steps
    for name, tensor in whole.tensors.items():
        assert torch.equal(tensor, kept.tensors[name]), name


def test_a_snapshot_of_a_kept_block_is_never_written_to() -> None:
    job, splits, rounds = begun()
    runner = UnitRunner(job, splits, CPU, at_once=1, keep=True)
    first = runner.run(Unit(rounds.latest[1], 2))
    assert isinstance(first, UnitResult)
    before = {name: tensor.clone() for name, tensor in first.snapshot.tensors.items()}
    runner.run(Unit(first.snapshot, 2))
    for name, tensor in first.snapshot.tensors.items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize(
    "options", [RUNS[k] for k in ("augmentation", "learned", "prototype", "fm", "ranges")]
)
def test_everything_of_the_loss_lies_on_the_gpu(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fake CUDA tensors: an operation on tensors of two devices is refused."""
    job, _, rounds = begun(precision="fp32", **options)
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch, "Generator", OnTheCpu)
    made = make_objective(job.spec)  # its tables are looked at once
    monkeypatch.setattr("noprop_dist.engine.live_block.make_objective", lambda spec: made)
    block = make_block(job.spec, 1)

    def on_gpu(spec: object, t: int) -> Block:
        with gpu:
            return type(block)(block.shape)

    monkeypatch.setattr("noprop_dist.engine.live_block.make_block", on_gpu)
    monkeypatch.setattr("noprop_dist.engine.live_block.materialise", lambda block, *_: block)
    with FakeTensorMode(allow_non_fake_inputs=True):
        live = LiveBlock(job, rounds.latest[1], gpu)
        x = torch.empty(32, *job.spec.sample_shape, dtype=torch.uint8, device=gpu)
        loss, right = live.forward(x, torch.zeros(32, dtype=torch.int64, device=gpu))
    assert loss.device.type == right.device.type == "cuda"
    assert {tensor.device.type for tensor in live.changing().values()} == {"cuda"}
