"""Algorithm 1 as printed, on a run's own blocks and data."""

import pytest
import torch

from noprop_dist.compare.algorithm1_run import epoch_batches, make_algorithm, parts_of
from noprop_dist.data import normalise
from noprop_dist.engine.evaluate import eval_units, run_eval
from noprop_dist.engine.resume import first_class_embed
from runs import prepared

CPU = torch.device("cpu")


@pytest.mark.parametrize("embedding_type", ["one-hot", "learned", "prototype"])
def test_an_epoch_trains_every_block_at_the_rates_of_the_run(embedding_type: str) -> None:
    job, splits, rounds = prepared(embedding_type=embedding_type)
    algorithm = make_algorithm(job, first_class_embed(job, splits))
    optimizers = algorithm.optimizers(job.config.lr, job.config.weight_decay)
    rates: list[float] = []

    def lr(number: int) -> float:
        rates.append(job.lr(number))
        return rates[-1]

    before = {t: {k: v.clone() for k, v in w.items()} for t, w in parts_of(algorithm)[0].items()}
    for t, weights in before.items():  # blocks start as the engine's do
        part = rounds.latest[t].part("block")
        assert all(torch.equal(part[k], v) for k, v in weights.items())
    algorithm.train_epoch(epoch_batches(job, splits.train, 0), optimizers, lr)
    last = job.lr(job.steps_per_epoch - 1)
    assert [o.param_groups[0]["lr"] for o in optimizers] == [last] * len(optimizers)
    assert len(rates) == 3 * job.steps_per_epoch * 2
    after, shared = parts_of(algorithm)
    for t in (1, 2, 3):
        assert not torch.equal(before[t]["head.0.weight"], after[t]["head.0.weight"])
    moved = not torch.equal(shared["class_embed"], first_class_embed(job, splits))
    assert moved == (embedding_type != "one-hot")


def test_three_epochs_are_better_than_chance() -> None:
    job, splits, _ = prepared()
    algorithm = make_algorithm(job, first_class_embed(job, splits))
    optimizers = algorithm.optimizers(job.config.lr, job.config.weight_decay)
    for epoch in range(3):
        algorithm.train_epoch(epoch_batches(job, splits.train, epoch), optimizers)
    (unit,) = eval_units(0, "val", len(splits.val), *parts_of(algorithm), 1)
    assert run_eval(unit, job, splits.val, CPU).accuracy("mean_softmax")[0] > 0.3


def test_every_block_gets_the_same_normalised_batches() -> None:
    job, splits, _ = prepared()
    first, again = (list(epoch_batches(job, splits.train, 0)) for _ in range(2))
    assert len(first) == job.steps_per_epoch
    assert all(torch.equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    other = next(epoch_batches(job, splits.train, 1))
    assert not torch.equal(first[0][0], other[0])
    whole = normalise(torch.from_numpy(splits.train.xs[0]), job.normalisation)
    assert first[0][0].shape[1:] == whole.shape[1:]
    assert abs(float(torch.cat([x for x, _ in first]).mean())) < 0.1
