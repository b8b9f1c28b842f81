"""How learned class embeddings may be shared by the blocks: Algorithm 1 as printed, and others.

Every way takes as many steps of every block, at a constant learning rate, on the same images; and
every network is evaluated by the same code. T blocks, class embeddings W (K, D).
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from noprop_dist.benchmarks.benchmark_options import SharingBenchmark
from noprop_dist.compare.algorithm1_run import CPU, epoch_batches, make_algorithm, parts_of
from noprop_dist.config import TrainConfig
from noprop_dist.data import load_dataset
from noprop_dist.engine.evaluate import Weights, eval_units, merge, run_eval
from noprop_dist.engine.executor import run_all
from noprop_dist.engine.job import Job, make_job
from noprop_dist.engine.local import LocalExecutor
from noprop_dist.engine.rounds import Rounds
from noprop_dist.engine.runner import UnitRunner
from noprop_dist.engine.snapshot import Shared, first_shared
from noprop_dist.engine.splits import Splits, make_splits
from noprop_dist.engine.unit import UnitResult
from noprop_dist.maths.algorithm1 import Algorithm1, Batch
from noprop_dist.maths.embedding import embedding_distances, learned_embedding
from noprop_dist.maths.keys import torch_generator
from noprop_dist.model.answering import MEAN

Trained = tuple[Weights, Shared]
DRAWS = 5


@dataclass(frozen=True)
class _Run:
    """One run's job and data, and how many units the engine may train at once."""

    job: Job
    splits: Splits
    workers: int


def compare_sharing(options: SharingBenchmark) -> dict[str, Any]:
    """Train and evaluate every way.

    Returns:
        ``ways``: by way, means over seeds of ``z_T`` and ``mean_softmax`` (test accuracy as a
        fraction, itself the mean of 5 noise draws), ``min_distance`` and ``mean_distance`` between
        two class embeddings, ``seconds`` of training, and ``z_T_by_seed``.

    Raises:
        UserError: the data set cannot be used.
    """
    ways: dict[str, Callable[[_Run], Trained]] = {
        "Algorithm 1 as printed": _printed,
        "as printed, one optimiser for all": _one_optimizer,
        "in turn, own moments of W per block": _own_moments,
        "one step on the sum over t": _summed,
        "averaged every epoch": _averaged,
        f"averaged for {options.freeze_after}, then frozen": _averaged,
    }
    rows: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    for seed in range(options.seeds):
        for way, train in ways.items():
            freeze = options.freeze_after if "frozen" in way else None
            run = _prepare(options, seed, freeze)
            start = time.perf_counter()
            weights, shared = train(run)
            rows[way].append(_measure(run, weights, shared, time.perf_counter() - start))
    return {
        "ways": {
            way: {name: statistics.fmean(row[name] for row in found) for name in found[0]}
            | {"z_T_by_seed": [row["z_T"] for row in found]}
            for way, found in rows.items()
        },
        "dataset": options.dataset,
        "images": len(run.splits.train),
        "epochs": options.epochs,
        "alpha_bar_max": options.alpha_bar_max,
        "seeds": options.seeds,
        "precision": run.job.precision,
        "torch": torch.__version__,
    }


def render(measured: dict[str, Any]) -> str:
    """The result as a table."""
    head = f"{'way':<38}{'z_T, %':>8}{'mean softmax, %':>17}{'min / mean distance':>21}{'s':>6}"
    lines = [
        f"{way:<38}{100 * row['z_T']:>8.2f}{100 * row['mean_softmax']:>17.2f}"
        f"{row['min_distance']:>14.2f} / {row['mean_distance']:.2f}{row['seconds']:>6.0f}"
        for way, row in measured["ways"].items()
    ]
    return "\n".join([head, *lines])


def _prepare(options: SharingBenchmark, seed: int, freeze_after: int | None) -> _Run:
    config = TrainConfig(
        dataset=options.dataset,
        max_train_images=options.images,
        val_fraction=0.0,
        embedding_type="learned",
        embedding_dim=options.embedding_dim,
        num_blocks=options.num_blocks,
        epochs=options.epochs,
        batch_size=options.batch_size,
        lr_schedule="constant",
        warmup_epochs=0.0,
        freeze_after=freeze_after,
        alpha_bar_max=options.alpha_bar_max,
        seed=seed,
        device="cpu",
    )
    dataset = load_dataset(config.dataset, max_train_images=options.images, seed=seed)
    splits = make_splits(config, dataset)
    return _Run(make_job(config, splits, CPU), splits, options.workers)


def _algorithm(run: _Run) -> Algorithm1:
    return make_algorithm(run.job, _class_embed(run.job))


def _class_embed(job: Job) -> Tensor:
    generator = torch_generator(job.config.seed, "embedding")
    return learned_embedding(job.spec.num_classes, job.spec.embed_dim, generator)


def _batches(run: _Run, epoch: int) -> Iterator[Batch]:
    return epoch_batches(run.job, run.splits.train, epoch)


def _shared(algorithm: Algorithm1) -> list[Tensor]:
    return [algorithm.class_embed, *algorithm.readout.parameters()]


def _optimizer(run: _Run, parameters: list[Tensor]) -> torch.optim.Optimizer:
    config = run.job.config
    return torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay)


def _optimizer_for_all(run: _Run, algorithm: Algorithm1) -> torch.optim.Optimizer:
    blocks = [p for block in algorithm.blocks for p in block.train().parameters()]
    return _optimizer(run, [*_shared(algorithm), *blocks])


def _train_in_turn(
    run: _Run,
    algorithm: Algorithm1,
    optimizers: Sequence[torch.optim.Optimizer],
    *,
    set_to_none: bool = True,
) -> Trained:
    """Epoch by epoch block after block on all batches, each with its optimiser."""
    for epoch in range(run.job.config.epochs):
        batches = list(_batches(run, epoch))
        for t, optimizer in enumerate(optimizers, start=1):
            for x, y in batches:
                optimizer.zero_grad(set_to_none=set_to_none)
                algorithm.loss(t, x, y, torch.randn_like).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    return parts_of(algorithm)


def _printed(run: _Run) -> Trained:
    algorithm, config = _algorithm(run), run.job.config
    optimizers = algorithm.optimizers(config.lr, config.weight_decay)
    for epoch in range(config.epochs):
        algorithm.train_epoch(_batches(run, epoch), optimizers)
    return parts_of(algorithm)


def _one_optimizer(run: _Run) -> Trained:
    """As printed, but one optimiser moves everything at each step, by momentum at least."""
    algorithm = _algorithm(run)
    optimizers = [_optimizer_for_all(run, algorithm)] * len(algorithm.blocks)
    return _train_in_turn(run, algorithm, optimizers, set_to_none=False)


def _own_moments(run: _Run) -> Trained:
    """As printed, but W and the readout have moments of their own for every block."""
    algorithm = _algorithm(run)
    optimizers = [
        _optimizer(run, [*block.train().parameters(), *_shared(algorithm)])
        for block in algorithm.blocks
    ]
    return _train_in_turn(run, algorithm, optimizers)


def _summed(run: _Run) -> Trained:
    """One optimiser, one step of everything on the sum of all blocks' losses."""
    algorithm = _algorithm(run)
    optimizer = _optimizer_for_all(run, algorithm)
    for epoch in range(run.job.config.epochs):
        for x, y in _batches(run, epoch):
            optimizer.zero_grad()
            for t in range(1, len(algorithm.blocks) + 1):
                algorithm.loss(t, x, y, torch.randn_like).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    return parts_of(algorithm)


def _averaged(run: _Run) -> Trained:
    """The engine's rounds."""
    rounds = Rounds(run.job, first_shared(_class_embed(run.job)))
    rounds.start()
    runner = UnitRunner(run.job, run.splits, CPU, at_once=run.workers)
    with LocalExecutor(run.job, runner, slots=run.workers) as executor:
        for _ in range(run.job.config.epochs):
            units = [unit for t in rounds.blocks if (unit := rounds.next_unit(t)) is not None]
            for result in run_all(executor, units):
                assert isinstance(result, UnitResult)
                rounds.take(result.snapshot, 0.0)
            rounds.close(None)
    return rounds.final()


def _measure(run: _Run, weights: Weights, shared: Shared, seconds: float) -> dict[str, float]:
    split = run.splits.test
    units = eval_units(0, "test", len(split), weights, shared, DRAWS)
    test = merge([run_eval(unit, run.job, split, CPU) for unit in units])
    smallest, mean = embedding_distances(shared["class_embed"])
    return {
        "z_T": statistics.fmean(test.accuracy()),
        "mean_softmax": statistics.fmean(test.accuracy(MEAN)),
        "min_distance": smallest,
        "mean_distance": mean,
        "seconds": seconds,
    }
