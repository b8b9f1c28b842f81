"""The twin on Ray Train is what one process makes of the same shares; its traffic is counted."""

import copy
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray
import ray.exceptions
import ray.train
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from noprop_dist import UserError
from noprop_dist.compare.compare_options import CHECKPOINTED, CompareOptions
from noprop_dist.compare.on_ray.method_run import (
    MethodEnd,
    MethodEpoch,
    MethodTask,
    in_order,
    reason_of,
)
from noprop_dist.compare.on_ray.twin_training import check_share, train_twin
from noprop_dist.compare.on_ray.twin_worker import TwinWorker
from noprop_dist.compare.run_comparison import compare
from noprop_dist.compare.twin_network import TwinNetwork
from noprop_dist.data import normalise
from noprop_dist.distributed.ray_backend import ray_backend
from noprop_dist.engine.resume import first_class_embed
from noprop_dist.engine.unit import epoch_order
from noprop_dist.maths.keys import torch_generator
from noprop_dist.record.checkpoint import sha256_of_tensors
from runs import prepared, small

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(240)]

EPOCHS, WORKERS, DRAWS = 2, 2, 3
CPU = torch.device("cpu")
Run = tuple[list[list[MethodEpoch]], list[MethodEnd], list[MethodEpoch]]


def task_of(**changes: object) -> MethodTask:
    job, splits, _ = prepared(
        epochs=EPOCHS, executor="ray", precision="fp32", workers=WORKERS, **changes
    )
    class_embed = first_class_embed(job, splits).numpy()
    return MethodTask(job, splits, class_embed, DRAWS)


@pytest.fixture(scope="module")
def task() -> MethodTask:
    return task_of(embedding_type="learned", embedding_dim=12)


@pytest.fixture(scope="module")
def trained(cluster: object, task: MethodTask) -> Iterator[Run]:
    """One run for all tests here: starting Ray Train takes most of their time."""
    told: list[MethodEpoch] = []
    with ray_backend(task.job.config, task.splits.nbytes) as site:
        epochs, ends = train_twin(task, site.needs, WORKERS, told.append)
        yield epochs, ends, told


@pytest.fixture(scope="module")
def by_hand(task: MethodTask) -> TwinNetwork:
    """Both workers' shares in one process: the mean of their gradients moves one set of weights."""
    job, seed = task.job, task.job.config.seed
    net = TwinNetwork(job.spec, seed, torch.tensor(task.class_embed), job.precision).train()
    nets = [net, copy.deepcopy(net)]
    optimizers = [
        torch.optim.AdamW(n.parameters(), lr=job.config.lr, weight_decay=1e-3, fused=True)
        for n in nets
    ]
    size, share = job.config.batch_size, job.config.batch_size // 2
    for step in range(job.total_steps):
        epoch, offset = divmod(step, job.steps_per_epoch)
        order = epoch_order(job, 0, epoch, len(task.splits.train))
        for rank, n in enumerate(nets):
            rows = order[offset * size :][:size][rank * share :][:share]
            x, y = map(torch.from_numpy, task.splits.train.take(rows))
            draw = torch_generator(seed, "twin", step, rank)
            z_0 = torch.randn(share, job.spec.embed_dim, generator=draw)
            n.zero_grad()
            loss = F.cross_entropy(n(normalise(x, job.normalisation), z_0, draw), y)
            loss.backward()
        for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
            assert a.grad is not None
            assert b.grad is not None
            mean = a.grad / 2 + b.grad / 2
            a.grad, b.grad = mean, mean.clone()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = job.lr(step)
            optimizer.step()
        if offset == job.steps_per_epoch - 1:
            for a, b in zip(nets[0].buffers(), nets[1].buffers(), strict=True):
                if a.is_floating_point():
                    a.copy_((a + b) / 2)
                    b.copy_(a)
    return net


@pytest.mark.ray
def test_two_workers_train_what_one_process_makes_of_their_shares(
    trained: Run, task: MethodTask, by_hand: TwinNetwork
) -> None:
    _, ends, _ = trained
    expected = by_hand.state_dict()
    assert [end.sha256 for end in ends] == [sha256_of_tensors(expected)] * WORKERS
    start = TwinNetwork(task.job.spec, 0, torch.tensor(task.class_embed)).state_dict()
    assert not torch.equal(start["class_embed"], expected["class_embed"])  # W is learned too


@pytest.mark.ray
def test_bytes_on_the_wire_are_those_given_to_the_all_reduce(
    trained: Run, task: MethodTask
) -> None:
    """Of two workers each sends as many bytes as it reduces: 2 (W - 1) / W of them."""
    net = TwinNetwork(task.job.spec, 0, torch.tensor(task.class_embed))
    gradients = sum(4 * p.numel() for p in net.parameters() if p.requires_grad)
    for epoch in trained[0]:
        for worker in epoch:
            assert worker.reduced_bytes == gradients * task.job.steps_per_epoch
            assert worker.reduced_bytes < worker.sent_bytes < 1.05 * worker.reduced_bytes


@pytest.mark.ray
def test_workers_agree_and_the_driver_hears_of_every_epoch(trained: Run) -> None:
    epochs, ends, told = trained
    assert told == [epoch[0] for epoch in epochs]
    assert len(epochs) == EPOCHS
    for epoch in epochs:
        assert epoch[0].loss == epoch[1].loss
        assert epoch[0].val_accuracy == epoch[1].val_accuracy
    assert epochs[0][0].seconds < epochs[1][0].seconds
    assert ends[0].test_accuracy == ends[1].test_accuracy
    assert len(ends[0].test_accuracy) == DRAWS
    assert all(end.memory.peak_bytes > 100 * 2**20 for end in ends)


@pytest.mark.ray
def test_shared_test_split_is_evaluated_as_one_process_does(
    trained: Run, task: MethodTask, by_hand: TwinNetwork
) -> None:
    alone = TwinWorker(task, by_hand, CPU, rank=0, world=1)
    assert alone.accuracies(task.splits.test, DRAWS)[0] == trained[1][0].test_accuracy
    labels = task.splits.test.ys[0]
    shuffled = replace(task.splits.test, ys=(labels[::-1].copy(),))
    assert alone.accuracies(shuffled, 1)[0][0] < 0.5  # labels are compared with, never looked at


class Plain(nn.Module):
    """A block that keeps no statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(10 + 64, 10)

    def forward(self, z: Tensor, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        logits: Tensor = self.out(torch.cat([z, x.flatten(1)], dim=1))
        return logits


@pytest.mark.parametrize("plain", [False, True])
def test_one_worker_alone_learns(plain: bool) -> None:
    task = task_of()
    net = TwinNetwork(task.job.spec, 0, torch.tensor(task.class_embed), task.job.precision)
    if plain:
        net.blocks = nn.ModuleList(Plain() for _ in net.blocks)
        net.asked = list(net.blocks)
    worker = TwinWorker(task, net, CPU, rank=0, world=1)
    losses = [worker.train_epoch(epoch) for epoch in range(EPOCHS)]
    assert losses[1] < losses[0]


@pytest.mark.ray
def test_workers_that_accumulate_average_each_gradient_once_a_step(cluster: object) -> None:
    task = replace(task_of(), method=CHECKPOINTED)
    net = TwinNetwork(task.job.spec, 0, torch.tensor(task.class_embed))
    gradients = sum(4 * p.numel() for p in net.parameters() if p.requires_grad)
    with ray_backend(task.job.config, task.splits.nbytes) as site:
        epochs, ends = train_twin(task, site.needs, WORKERS)
    assert ends[0].sha256 == ends[1].sha256
    for epoch in epochs:
        assert {w.reduced_bytes for w in epoch} == {gradients * task.job.steps_per_epoch}


def worker_of(task: MethodTask, **kind: bool) -> TwinWorker:
    spec, class_embed = task.job.spec, torch.tensor(task.class_embed)
    net = TwinNetwork(spec, 0, class_embed, task.job.precision, **kind)
    return TwinWorker(task, net, CPU, rank=0, world=1)


def batch(task: MethodTask) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = task.splits.train.take(np.arange(task.job.config.batch_size))
    return torch.from_numpy(x), torch.from_numpy(y)


def test_checkpointing_alone_changes_no_bit() -> None:
    """Masks are drawn again, and batch norm's averages count a batch once."""
    task = task_of()
    twin, other = worker_of(task), worker_of(task, checkpointed=True)
    for step in range(3):
        assert twin.train_step(*batch(task), step) == other.train_step(*batch(task), step)
    for name, value in twin.network.state_dict().items():
        if "num_batches_tracked" not in name:
            assert torch.equal(value, other.network.state_dict()[name]), name


def test_a_layer_wise_block_learns_from_its_own_loss_alone() -> None:
    """It becomes what it would with no block after it."""
    task = task_of()
    worker = worker_of(task, local=True)
    fewer = replace(task.job, spec=replace(task.job.spec, num_blocks=2))
    first = worker_of(replace(task, job=fewer), local=True)
    losses = [worker.train_step(*batch(task), 0) for worker in (worker, first) for _ in range(3)]
    assert losses[2] < losses[0]
    for name, value in first.network.blocks.state_dict().items():
        assert torch.equal(value, worker.network.blocks.state_dict()[name]), name


@pytest.mark.parametrize(
    ("size", "workers", "said"),
    [
        (128, 10, "--batch-size 128 .* evenly by the twin's 10 workers: give 120 or 130"),
        (3, 2, "less than 2 images each: give at least 4"),
    ],
)
def test_batches_that_cannot_be_shared_are_refused(size: int, workers: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        check_share(size, workers)
    check_share(128, 2)


def test_a_loss_that_is_not_finite_is_told_with_its_epoch() -> None:
    epochs = [MethodEpoch(0, e, 1.0, None, loss) for e, loss in ((1, 2.0), (2, float("nan")))]
    with pytest.raises(UserError, match=r"NaN or infinite in epoch 2, .* lower --lr"):
        in_order(list(epochs), 5, 1)


def test_why_training_ended_is_told_in_a_clause() -> None:
    failed = ray.train.WorkerGroupError("...", {1: torch.OutOfMemoryError("no more")})
    assert reason_of(failed).startswith("it ran out of memory (no more): give a smaller")
    assert reason_of(ValueError("odd\nmore")) == "ValueError: odd"
    killed = ray.train.WorkerGroupError("...", {0: ray.exceptions.ActorDiedError()})
    assert reason_of(killed).startswith("a worker died: The actor died unexpectedly")


def test_a_comparison_speaks_where_a_method_says_nothing_for_long(
    cluster: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("noprop_dist.record.progress.HEARTBEAT_S", 0.2)
    config = small(tmp_path, executor="ray", epochs=1, workers=1, quiet=False)
    compare(config, CompareOptions(methods="single", efficiency_epochs=0))
    assert re.search(r"^single block: \d+ s so far$", capsys.readouterr().err, re.MULTILINE)
