"""The engine against Algorithm 1 as printed."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from noprop_dist import TrainConfig
from noprop_dist.data import normalise
from noprop_dist.engine.job import Job, make_job
from noprop_dist.engine.live_block import LiveBlock
from noprop_dist.engine.rounds import Rounds
from noprop_dist.engine.snapshot import first_shared
from noprop_dist.engine.splits import Splits, load_splits
from noprop_dist.engine.unit import Unit, epoch_order, run_unit
from noprop_dist.maths.algorithm1 import Algorithm1
from noprop_dist.maths.embedding import learned_embedding
from noprop_dist.maths.keys import torch_generator
from noprop_dist.model.init import init_block
from noprop_dist.model.registry import make_block

CPU = torch.device("cpu")


def job_of(**changes: object) -> tuple[Job, Splits]:
    values = {"embedding_type": "learned", "num_blocks": 3, "batch_size": 64, "device": "cpu"}
    config = TrainConfig(**(values | changes))  # type: ignore[arg-type]
    splits = load_splits(config)
    return make_job(config, splits, CPU), splits


def readout(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
    return linear


@pytest.mark.parametrize("t", [1, 2, 3])
def test_a_step_of_the_engine_is_a_step_of_algorithm_1(t: int) -> None:
    """Same start, same batch, same noise, no dropout: same loss and same weights after the step."""
    job, splits = job_of(warmup_epochs=0.0, lr_schedule="constant", precision="fp32")
    shared = first_shared(learned_embedding(10, 64, torch_generator(0, "w")))
    rounds = Rounds(job, shared)
    rounds.start()
    live = LiveBlock(job, rounds.latest[t], CPU)
    blocks = [init_block(make_block(job.spec, t), torch_generator(0, "init", t)) for _ in range(3)]
    for module in [*live.block.modules(), *(m for b in blocks for m in b.modules())]:
        if hasattr(module, "threshold"):
            module.threshold = 0
    w = shared["class_embed"].clone().requires_grad_()
    oracle = Algorithm1(
        blocks,
        w,
        readout(shared["readout_weight"], shared["readout_bias"]),
        job.spec.make_schedule(),
        eta=job.config.eta,
    )
    rows = epoch_order(job, t, 0, len(splits.train))[:64]
    x, y = (torch.from_numpy(a) for a in splits.train.take(rows))
    noises = iter(torch.randn(2, 64, 64, generator=torch_generator(0, "step", t, 0)))
    loss = oracle.loss(t, normalise(x, job.normalisation), y, draw_from(noises))
    optimizers = oracle.optimizers(job.config.lr, job.config.weight_decay)
    loss.backward()
    for optimizer in (optimizers[t - 1], optimizers[-1]):
        optimizer.step()
    assert live.train_step(x, y).item() == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(live.shared["class_embed"], w, atol=2e-5, rtol=0)
    for ours, theirs in zip(live.block.parameters(), blocks[t - 1].parameters(), strict=True):
        # Adam's first step is lr * sign(g): where g is rounding noise the signs may differ.
        assert ((ours - theirs).abs() > 2e-5).float().mean() < 0.02


def draw_from(noises: Iterator[Tensor]) -> object:
    return lambda like: next(noises)


def test_algorithm_1_learns_digits() -> None:
    torch.manual_seed(0)
    job, splits = job_of(num_blocks=2, dropout=0.0)
    blocks = [init_block(make_block(job.spec, t), torch_generator(0, "init", t)) for t in (1, 2)]
    w = learned_embedding(10, 64, torch_generator(0, "w"))
    oracle = Algorithm1(blocks, w, readout(w, torch.zeros(10)), job.spec.make_schedule(), eta=0.1)
    optimizers = oracle.optimizers(1e-3, 1e-3)

    def tensors(x: np.ndarray, y: np.ndarray) -> tuple[Tensor, Tensor]:
        return normalise(torch.from_numpy(x), job.normalisation), torch.from_numpy(y)

    for _ in range(5):
        oracle.train_epoch([tensors(*pair) for pair in splits.train.batches(64)][:-1], optimizers)
    x, y = tensors(*splits.test.take(np.arange(359)))
    assert (oracle.predict(x) == y).float().mean() > 0.85


def test_where_units_are_cut_changes_nothing() -> None:
    job, splits = job_of(max_train_images=None)
    rounds = Rounds(job, first_shared(learned_embedding(10, 64, torch_generator(0, "w"))))
    rounds.start()
    start = rounds.latest[2]
    whole = run_unit(Unit(start, 5), job, splits.train, CPU).snapshot
    first = run_unit(Unit(start, 2), job, splits.train, CPU).snapshot
    second = run_unit(Unit(first, 3), job, splits.train, CPU).snapshot
    assert second.step == whole.step == 5
    assert all(torch.equal(second.tensors[k], whole.tensors[k]) for k in whole.tensors)


def test_a_unit_leaves_its_snapshot_as_it_was() -> None:
    job, splits = job_of()
    rounds = Rounds(job, first_shared(learned_embedding(10, 64, torch_generator(0, "w"))))
    rounds.start()
    start = rounds.latest[1]
    before = {k: v.clone() for k, v in start.tensors.items()}
    run_unit(Unit(start, 2), job, splits.train, CPU)
    assert all(torch.equal(start.tensors[k], before[k]) for k in before)
