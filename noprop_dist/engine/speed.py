"""How fast units run where they would run, tried in seconds; nothing of it is kept."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
import torch

from noprop_dist.data import Split, normalise
from noprop_dist.engine.job import Job
from noprop_dist.engine.live_block import LiveBlock, Recorder
from noprop_dist.engine.snapshot import SHARED_NAMES, Shared, first_snapshot
from noprop_dist.maths.keys import torch_generator
from noprop_dist.model.network import INFERENCE_BATCH, NoPropNetwork

FIRST_ROWS = 8  # of the first tries: enough to be no single picture, few enough to take no time


@dataclass(frozen=True)
class SpeedUnit:
    """Time training steps and answers of block t.

    Attributes:
        t: the block.
        shared: class embeddings and readout to start from.
        seconds: that it may take, roughly; a single step of few samples is taken in any case.
    """

    t: int
    shared: Shared
    seconds: float


@dataclass(frozen=True)
class Speed:
    """What one block takes.

    Attributes:
        step_s: seconds of a training step.
        row_s: seconds for a sample in evaluation, with one noise draw.
        draw_s: seconds for a sample and each further draw.
        peak_bytes: the most of a GPU's memory that it took; 0 on a CPU.
    """

    step_s: float
    row_s: float
    draw_s: float
    peak_bytes: int = 0


def run_speed(
    unit: SpeedUnit,
    job: Job,
    train: Split,
    device: torch.device,
    recorder: Recorder | None = None,
) -> Speed:
    """Time a block on some rows of the training split.

    Where a whole batch would take too long, part of one stands for it: what a step takes grows as
    its samples do.
    """
    parts = job.config.accumulate
    one = replace(job, config=replace(job.config, accumulate=1))
    live = LiveBlock(one, first_snapshot(job, unit.t, unit.shared), device, recorder=recorder)
    batch = job.config.batch_size

    def step(rows: int) -> float:
        started = time.perf_counter()
        # A recorded step takes whole batches alone.
        taken = train.take(np.arange(batch if recorder else rows))
        x, y = (torch.from_numpy(part).to(device) for part in taken)
        live.train_step(x, y).item()  # waits for the device
        return time.perf_counter() - started

    rows, seconds = _timed(step, min(batch, len(train)), unit.seconds / 2)
    step_s = parts * (seconds if recorder else seconds * batch / rows)

    spec = replace(job.spec, num_blocks=1)
    weights = {1: {k: v.detach() for k, v in live.block.state_dict().items()}}
    shared = {k: live.shared[k].detach() for k in SHARED_NAMES}
    network = NoPropNetwork.assemble(spec, weights, shared, device, job.precision)

    def answer(rows: int, draws: int = 1) -> float:
        started = time.perf_counter()
        x, _ = train.take(np.arange(rows))
        keys = [torch_generator(0, "speed", draw, device=device) for draw in range(draws)]
        batch = normalise(torch.from_numpy(x).to(device), job.normalisation)
        for trace in network.trace(batch, keys):
            trace.z_T_logits.sum().item()
        return time.perf_counter() - started

    rows, seconds = _timed(answer, min(INFERENCE_BATCH, len(train)), unit.seconds / 4)
    many = min(answer(rows, draws=4) for _ in range(2))
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    return Speed(step_s, seconds / rows, max(0.0, many - seconds) / (3 * rows), peak)


def _timed(action: Callable[[int], float], most: int, seconds: float) -> tuple[int, float]:
    """As many rows at once as ``seconds`` allow a few tries of, and the median of these."""
    deadline = time.perf_counter() + seconds
    rows = min(FIRST_ROWS, most)
    action(rows)  # what is made once is made here
    rows = max(rows, min(most, int(rows * seconds / (4 * action(rows)))))
    action(rows)
    tries = [action(rows)]
    while time.perf_counter() < deadline:
        tries.append(action(rows))
    return rows, median(tries)
