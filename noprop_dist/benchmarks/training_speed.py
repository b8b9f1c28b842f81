"""How fast the engine is, against the plain loop that anyone would write first."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from noprop_dist.benchmarks.benchmark_options import EngineBenchmark
from noprop_dist.benchmarks.pairs import in_pairs
from noprop_dist.config import TrainConfig
from noprop_dist.data import Dataset, Split
from noprop_dist.engine.executor import run_all
from noprop_dist.engine.job import Job, make_job
from noprop_dist.engine.local import LocalExecutor
from noprop_dist.engine.resume import start_afresh
from noprop_dist.engine.rounds import Rounds
from noprop_dist.engine.runner import UnitRunner
from noprop_dist.engine.splits import Splits, make_splits
from noprop_dist.engine.unit import Unit, run_unit
from noprop_dist.maths.embedding import one_hot_embedding
from noprop_dist.maths.loss import denoising_loss
from noprop_dist.maths.process import expected_embedding, noise_label
from noprop_dist.model.paths import WIDTH, LabelPath

MATRIX_OPERATIONS = ("convolution", "aten::mm", "aten::addmm", "aten::bmm")


class PlainBlock(nn.Module):
    """Fig. 6 as one would write it: stock layers in the paper's order, for square images."""

    def __init__(self, num_classes: int, channels: int = 1, side: int = 28) -> None:
        super().__init__()
        self.image = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Dropout(0.2),
            nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2),
            nn.Flatten(), nn.Linear(128 * (side // 4) ** 2, WIDTH), nn.BatchNorm1d(WIDTH),
        )  # fmt: skip
        self.label = LabelPath(num_classes)
        self.head = nn.Sequential(
            nn.Linear(2 * WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(),
            nn.Linear(WIDTH, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Linear(128, num_classes),
        )  # fmt: skip

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        """Logits (B, K)."""
        logits: Tensor = self.head(torch.cat([self.image(x), self.label(z)], dim=1))
        return logits


def benchmark_engine(options: EngineBenchmark) -> dict[str, Any]:
    """Block-images per second of the engine and of a plain eager float32 loop, alternating.

    A block-image is one image through one training step of one block. Both sides train the Fig. 6
    block at MNIST's shape on the same random images; the engine runs as many blocks at once as it
    may use threads.

    Returns:
        ``engine`` and ``plain`` (block-images/s, medians), ``ratio`` (median of the pairs'),
        ``ratios``, and ``matrix_share``, the share of the engine's time that is convolution and
        matrix products.
    """
    device = torch.device("cpu")
    config = TrainConfig(
        batch_size=options.batch_size, val_fraction=0.0, cpus_per_worker=options.cpus_per_worker
    )
    job, splits = random_job(config, options.steps, device)
    rounds = start_afresh(job, splits)
    plain = plain_loop(splits.train, options.batch_size, device)
    pairs = in_pairs(
        lambda: _time_engine(rounds, splits, device, options),
        lambda: time_plain(plain, len(splits.train), options.threads),
        options.repeats,
    )
    return {
        "engine": pairs.ours,
        "plain": pairs.theirs,
        "ratio": pairs.ratio,
        "ratios": pairs.ratios,
        "matrix_share": _matrix_share(rounds, splits, device, options),
        "precision": job.precision,
        "threads": options.threads,
        "cpus_per_worker": options.cpus_per_worker,
        "torch": torch.__version__,
    }


def render(measured: dict[str, Any]) -> str:
    """The result in a few lines."""
    units = measured["threads"] // measured["cpus_per_worker"]
    return "\n".join(
        [
            f"engine        {measured['engine']:8,.0f} block-images/s ({measured['precision']}, "
            f"{units} units at once)",
            f"plain loop    {measured['plain']:8,.0f} block-images/s (fp32)",
            f"ratio         {measured['ratio']:8.2f}  (median of {len(measured['ratios'])} pairs)",
            f"convolutions and products: {measured['matrix_share']:.0%} of the engine's time",
        ]
    )


def random_job(
    config: TrainConfig, steps: int, device: torch.device, shape: tuple[int, int, int] = (1, 28, 28)
) -> tuple[Job, Splits]:
    """A run on random images, MNIST's shape by default, of so many steps an epoch."""
    draw = np.random.default_rng(0)
    rows = steps * config.batch_size
    x = draw.integers(0, 256, (rows, *shape), dtype=np.uint8)
    split = Split.from_arrays(x, np.arange(rows) % 10)
    dataset = Dataset("random", tuple("0123456789"), split, split, photographs=False)
    splits = make_splits(config, dataset)
    return make_job(config, splits, device), splits


def _time_engine(
    rounds: Rounds, splits: Splits, device: torch.device, options: EngineBenchmark
) -> float:
    slots = options.threads // options.cpus_per_worker
    # More slots than blocks train a block twice, from the same snapshot.
    blocks = [rounds.latest[1 + i % len(rounds.blocks)] for i in range(slots)]
    runner = UnitRunner(rounds.job, splits, device, at_once=slots)
    with LocalExecutor(rounds.job, runner, slots=slots) as executor:
        start = time.perf_counter()
        run_all(executor, [Unit(snapshot, options.steps) for snapshot in blocks])
        seconds = time.perf_counter() - start
    return slots * options.steps * options.batch_size / seconds


def plain_loop(train: Split, batch_size: int, device: torch.device) -> Callable[[], None]:
    """One epoch of one block, as a first version would do it."""
    x, y = train.take(np.arange(len(train)))
    images, labels = torch.from_numpy(x).to(device).float().div(255), torch.from_numpy(y).to(device)
    channels, side, _ = train.sample_shape
    block = PlainBlock(10, channels, side).to(device)
    optimizer = torch.optim.AdamW(block.parameters(), lr=1e-3, weight_decay=1e-3)
    class_embed = one_hot_embedding(10).to(device)
    readout = nn.Linear(10, 10).to(device)
    readout_optimizer = torch.optim.AdamW(readout.parameters(), lr=1e-3, weight_decay=1e-3)

    def epoch() -> None:
        for rows in torch.randperm(len(labels), device=device).view(-1, batch_size):
            u = class_embed[labels[rows]]
            z_prev = noise_label(u, 0.5, torch.randn_like(u))
            z_T = noise_label(u, 0.99, torch.randn_like(u))  # noqa: N806
            u_hat = expected_embedding(block(z_prev, images[rows]), class_embed)
            loss = denoising_loss(u_hat, u) + F.cross_entropy(readout(z_T), labels[rows])
            optimizer.zero_grad()
            readout_optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            readout_optimizer.step()

    return epoch


def time_plain(epoch: Callable[[], None], images: int, threads: int) -> float:
    """Block-images per second of the plain loop, whose epoch has so many images."""
    with _computing_with(threads):
        start = time.perf_counter()
        epoch()
        return images / (time.perf_counter() - start)


@contextmanager
def _computing_with(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _matrix_share(
    rounds: Rounds, splits: Splits, device: torch.device, options: EngineBenchmark
) -> float:
    with (
        _computing_with(options.cpus_per_worker),
        torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile,
    ):
        run_unit(Unit(rounds.latest[1], min(5, options.steps)), rounds.job, splits.train, device)
    times = {e.key: e.self_cpu_time_total for e in profile.key_averages()}
    matrix = sum(v for k, v in times.items() if any(name in k for name in MATRIX_OPERATIONS))
    return float(matrix / sum(times.values()))
