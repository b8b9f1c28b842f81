"""Evaluation as units: labels are compared with predictions only after these are made."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import product, repeat
from operator import add
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from noprop_dist.data import Normalisation, Split
from noprop_dist.engine.job import Job
from noprop_dist.engine.likelihood import Counts, Likelihood, likelihood
from noprop_dist.engine.snapshot import Shared
from noprop_dist.maths.keys import torch_generator
from noprop_dist.model.answering import UNFITTED, Z_T, Answering
from noprop_dist.model.network import INFERENCE_BATCH, NoPropNetwork, Trace, samples_at_once

EVAL_BATCHES = 8  # of a unit: the least work that several workers can share
EVAL_ROWS = EVAL_BATCHES * INFERENCE_BATCH

Weights = dict[int, dict[str, torch.Tensor]]  # by t, a block's state dict
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class EvalUnit:
    """Run the assembled network over some rows of a split.

    Attributes:
        tag: comes back with the result; the epoch, for validation.
        split: "val" or "test".
        weights: block state dicts by t.
        shared: class embeddings and readout.
        draws: which noise draws; each is part of the key of z_0 and of every step's noise.
        start: first row, a multiple of INFERENCE_BATCH.
        stop: row after the last.
        answering: what the network answers by.
        keep_logits: whether the result has the logits.
    """

    tag: int
    split: str
    weights: Weights
    shared: Shared
    draws: tuple[int, ...]
    start: int
    stop: int
    answering: Answering = UNFITTED
    keep_logits: bool = False


@dataclass(frozen=True)
class EvalResult:
    """Right answers among the rows, by noise draw (S draws, T blocks, n rows, R readouts).

    Attributes:
        tag: the unit's.
        start: the unit's first row.
        readouts: R names.
        right: (R, S), by readout.
        after_t: (S, T) of the readout of z_t; the last column is the paper's.
        block: (S, T) of each block's own softmax.
        probabilities: float32 (R, n, K) in the first draw; but of the test split z_T's alone.
        logits: float32 (S, 1 + T, n, K) of z_T and of the blocks, where asked for.
        likelihood: what the probabilities of the labels come to.
        began: seconds since 1970; of the first unit, where several are merged.
        seconds: that it took; the sum, where several are merged.
    """

    tag: int
    start: int
    readouts: tuple[str, ...]
    right: Counts
    after_t: Counts
    block: Counts
    probabilities: Floats
    likelihood: Likelihood
    logits: Floats | None
    began: float
    seconds: float

    @property
    def num_rows(self) -> int:
        """Rows that were evaluated."""
        return int(self.probabilities.shape[1])

    @property
    def answers(self) -> Counts:
        """Int64 (n,), z_T's answer to every row in the first draw."""
        answers: Counts = self.probabilities[0].argmax(axis=1)
        return answers

    @property
    def confidence(self) -> Floats:
        """Float32 (n,), the probability it gave that answer."""
        confidence: Floats = self.probabilities[0].max(axis=1)
        return confidence

    def accuracy(self, readout: str = Z_T) -> list[float]:
        """By draw, accuracy of a readout."""
        of = self.right[self.readouts.index(readout)]
        return [right / self.num_rows for right in of.tolist()]


def eval_units(
    tag: int,
    split: str,
    num_rows: int,
    weights: Weights,
    shared: Shared,
    num_draws: int,
    **more: Any,
) -> list[EvalUnit]:
    """The units that evaluate the first rows of a split; ``more`` are further fields of them."""
    draws = tuple(range(num_draws))
    return [
        EvalUnit(tag, split, weights, shared, draws, i, min(i + EVAL_ROWS, num_rows), **more)
        for i in range(0, num_rows, EVAL_ROWS)
    ]


def merge(parts: Sequence[EvalResult]) -> EvalResult:
    """The results of a split's units as one, whatever order they came in."""
    parts = sorted(parts, key=lambda part: part.start)
    kept = [p.logits for p in parts if p.logits is not None]
    return EvalResult(
        parts[0].tag,
        parts[0].start,
        parts[0].readouts,
        reduce(add, (p.right for p in parts)),
        reduce(add, (p.after_t for p in parts)),
        reduce(add, (p.block for p in parts)),
        np.concatenate([p.probabilities for p in parts], axis=1),
        reduce(add, (p.likelihood for p in parts)),
        np.concatenate(kept, axis=2) if kept else None,
        min(p.began for p in parts),
        sum(p.seconds for p in parts),
    )


def run_eval(
    unit: EvalUnit,
    job: Job,
    split: Split,
    device: torch.device,
    *,
    on_batch: Callable[[], object] = lambda: None,
) -> EvalResult:
    """Evaluate ``unit`` on its rows of ``split``, in order, in batches of a fixed size."""
    began, clock = time.time(), time.perf_counter()
    network = NoPropNetwork.assemble(
        job.spec, unit.weights, unit.shared, device, job.precision
    ).cast_once()
    right, likelihoods, probabilities, logits = [], [], [], []
    rows, answering = (unit.start, unit.stop), unit.answering
    for y, traces in traces_of(
        network, split, job.normalisation, rows, job.config.seed, unit.draws, device
    ):
        right.append(count_right(y, traces, answering))
        likelihoods.append(likelihood(y, traces, answering))
        told = answering.readouts if unit.split == "test" else (Z_T,)
        said = torch.stack([answering.probabilities(traces[0], name) for name in told])
        on_batch()
        probabilities.append(said.cpu().numpy())
        if unit.keep_logits:
            of_draws = [torch.cat([t.z_T_logits[None], t.block_logits]) for t in traces]
            logits.append(torch.stack(of_draws).cpu().numpy())
    by_readout, after_t, block = (np.sum(found, axis=0) for found in zip(*right, strict=True))
    return EvalResult(
        unit.tag,
        unit.start,
        answering.readouts,
        by_readout,
        after_t,
        block,
        np.concatenate(probabilities, axis=1),
        reduce(add, likelihoods),
        np.concatenate(logits, axis=2) if logits else None,
        began,
        time.perf_counter() - clock,
    )


def traces_of(
    network: NoPropNetwork,
    split: Split,
    normalisation: Normalisation,
    rows: tuple[int, int],
    seed: int,
    draws: Sequence[int],
    device: torch.device,
    *,
    noise_free: bool = False,
) -> Iterator[tuple[Counts, list[Trace]]]:
    """Run a network over rows of a split, in batches of INFERENCE_BATCH that share a key of noise.

    A batch's noise is drawn from the key (seed, "inference", draw, number of the batch), so that an
    evaluation repeats the numbers of training. A prediction draws its noise by picture instead
    (``record.portable``), and so may answer otherwise.

    Args:
        network: on ``device``.
        split: where the rows are.
        normalisation: of the training split.
        rows: the first, a multiple of INFERENCE_BATCH, and the one after the last.
        seed: of the noise.
        draws: which noise draws.
        device: where to compute.
        noise_free: go through the draws again, with their z_0 and no noise in the steps (c = 0).

    Yields:
        The labels of B rows, int64 (B,), and for each draw what the network says of them; with
        ``noise_free`` then the same for each draw without the noise of the steps.
    """
    together = samples_at_once(device)
    normalise = normalisation.on(device)
    for start in range(*rows, together):
        x, y = split.take(np.arange(start, min(start + together, rows[1])))
        first = start // INFERENCE_BATCH
        sizes = [len(part) for part in np.split(y, range(INFERENCE_BATCH, len(y), INFERENCE_BATCH))]
        noises = []
        for quiet, draw in product([False, True] if noise_free else [False], draws):
            keys = [(seed, "inference", draw, first + i) for i in range(len(sizes))]
            generators = [torch_generator(*key, device=device) for key in keys]
            noise = _joined(generators, sizes, network)
            noises.append(_first_alone(noise) if quiet else noise)
        yield y, network.trace(normalise(torch.from_numpy(x).to(device)), noises)


def _joined(
    generators: Sequence[torch.Generator], sizes: Sequence[int], network: NoPropNetwork
) -> Iterator[torch.Tensor]:
    """Noise after noise for batches that are computed together, each from its own generator."""
    for _ in range(network.objective.num_draws):
        yield torch.cat(
            [
                torch.randn(
                    rows, network.spec.embed_dim, generator=generator, device=generator.device
                )
                for generator, rows in zip(generators, sizes, strict=True)
            ]
        )


def _first_alone(noises: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
    """The first noise, z_0, and zeros for ever."""
    first = next(noises)
    yield first
    yield from repeat(torch.zeros_like(first))


def count_right(
    y: Counts, traces: Sequence[Trace], answering: Answering = UNFITTED
) -> tuple[Counts, Counts, Counts]:
    """Right answers of a batch, by noise draw (S draws, T blocks, R readouts).

    Args:
        y: int64 (B,), the labels.
        traces: what the network says, by draw.
        answering: has the readouts.

    Returns:
        (R, S) by readout, (S, T) of the readout of z_t, the last one the paper's, and (S, T) of
        each block's own softmax.
    """
    answers = [
        [scores.argmax(dim=-1).cpu().numpy() for scores in of_trace]
        for of_trace in (
            (_by_readout(t, answering), t.readout_logits, t.block_logits) for t in traces
        )
    ]
    by_readout, after, block = (
        (np.stack(said) == y).sum(axis=-1) for said in zip(*answers, strict=True)
    )
    return by_readout.T, after, block


def _by_readout(trace: Trace, answering: Answering) -> torch.Tensor:
    """(R, B, K)."""
    return torch.stack([answering.logits(trace, name) for name in answering.readouts])


def confusion_matrix(y: Counts, answers: Counts, num_classes: int) -> Counts:
    """(K, K) counts by true label (row) and answer (column)."""
    counts = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(counts, (y, answers), 1)
    return counts
