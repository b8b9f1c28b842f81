"""Evaluation as a unit: labels are compared with predictions only after these are made."""

from dataclasses import dataclass

import numpy as np
import torch

from noprop_dist.data import Split, normalise
from noprop_dist.engine.job import Job
from noprop_dist.engine.snapshot import Shared
from noprop_dist.maths.keys import torch_generator
from noprop_dist.model.network import NoPropNetwork

EVAL_BATCH = 512

Weights = dict[int, dict[str, torch.Tensor]]  # by t, a block's state dict


@dataclass(frozen=True)
class EvalUnit:
    """Run the assembled network over a split once.

    Attributes:
        tag: comes back with the result; the epoch, for validation.
        split: "val" or "test".
        weights: block state dicts by t.
        shared: class embeddings and readout.
        draw: which noise draw; the key of z_0 and of every step's noise.
    """

    tag: int
    split: str
    weights: Weights
    shared: Shared
    draw: int


@dataclass(frozen=True)
class EvalResult:
    """Counts over the split.

    Attributes:
        tag: the unit's.
        num_images: N.
        right_mean_softmax: right answers of the mean of the T softmaxes.
        right_after_t: (T,) right answers of the readout of z_t; the last is the paper's.
        right_block: (T,) right answers of each block's own softmax.
        confusion: (K, K) counts by label and z_T's answer.
    """

    tag: int
    num_images: int
    right_mean_softmax: int
    right_after_t: list[int]
    right_block: list[int]
    confusion: list[list[int]]

    @property
    def accuracy_z_T(self) -> float:  # noqa: N802
        """Accuracy of the readout of z_T."""
        return self.right_after_t[-1] / self.num_images

    @property
    def accuracy_mean_softmax(self) -> float:
        """Accuracy of the mean of the T softmaxes."""
        return self.right_mean_softmax / self.num_images


def run_eval(unit: EvalUnit, job: Job, split: Split, device: torch.device) -> EvalResult:
    """Evaluate ``unit`` on the rows of ``split``, in order, in batches of a fixed size."""
    network = NoPropNetwork.assemble(job.spec, unit.weights, unit.shared, device)
    classes, blocks = job.spec.num_classes, job.spec.num_blocks
    after_t = np.zeros(blocks, np.int64)
    by_block = np.zeros(blocks, np.int64)
    confusion = np.zeros((classes, classes), np.int64)
    mean_softmax = 0
    for index, (x, y) in enumerate(split.batches(EVAL_BATCH)):
        draw = torch_generator(job.config.seed, "inference", unit.draw, index, device=device)
        trace = network.trace(normalise(torch.from_numpy(x).to(device), job.normalisation), draw)
        read = trace.readout_logits.argmax(dim=2).cpu().numpy()
        after_t += (read == y).sum(axis=1)
        by_block += (trace.block_logits.argmax(dim=2).cpu().numpy() == y).sum(axis=1)
        mean_softmax += int((trace.mean_softmax.argmax(dim=1).cpu().numpy() == y).sum())
        np.add.at(confusion, (y, read[-1]), 1)
    return EvalResult(
        unit.tag, len(split), mean_softmax, after_t.tolist(), by_block.tolist(), confusion.tolist()
    )
