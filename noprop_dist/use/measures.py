"""What an evaluation counts, and what follows from the counts.

N rows, K classes, S noise draws, T blocks, R readouts in the order of ``Answering.readouts``.
"""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from noprop_dist.engine.evaluate import confusion_matrix, count_right
from noprop_dist.engine.likelihood import Counts, Likelihood, likelihood
from noprop_dist.model.answering import UNFITTED, Answering
from noprop_dist.model.network import Trace

BINS = 15  # of confidence, equally wide

Sums = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tally:
    """Counts over rows; those of two sets of rows add up.

    Attributes:
        rows: int64 (), N.
        right: int64 (R, S), right answers by readout and draw.
        averaged: int64 (R, S), of the mean probabilities of the first 1..S draws.
        after_t: int64 (S, T), of the readout of z_t.
        block: int64 (S, T), of each block's own softmax.
        noise_free: int64 (S,), of the readout of z_T without the noise of the steps; 0 where there
            is no such.
        confusion: int64 (R, K, K), by true class (row) and answer (column), over all draws.
        first: int64 (K, K), the same of z_T in the first draw.
        bin_count: int64 (R, BINS), answers by confidence, over all draws.
        bin_right: int64 (R, BINS), the right ones of them.
        bin_confidence: float64 (R, BINS), the sum of their confidence.
        likelihood: what the probabilities of the labels come to.
    """

    rows: Counts
    right: Counts
    averaged: Counts
    after_t: Counts
    block: Counts
    noise_free: Counts
    confusion: Counts
    first: Counts
    bin_count: Counts
    bin_right: Counts
    bin_confidence: Sums
    likelihood: Likelihood

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


def tally(
    y: Counts,
    traces: list[Trace],
    noise_free: list[Trace],
    num_classes: int,
    answering: Answering = UNFITTED,
) -> Tally:
    """Count one batch.

    Args:
        y: int64 (B,), the labels, which nothing but the counting sees.
        traces: what the network said, by draw.
        noise_free: the same without the noise of the steps; empty where there is no such.
        num_classes: K.
        answering: has the readouts.
    """
    quiet = count_right(y, noise_free)[1][:, -1] if noise_free else np.zeros(len(traces), np.int64)
    right, after_t, block = count_right(y, traces, answering)
    by_draw = [torch.stack([answering.logits(t, n) for t in traces]) for n in answering.readouts]
    logits = torch.stack(by_draw)
    # By readout and draw: not what is most probable, as different logits may round to one softmax.
    answers = logits.argmax(dim=3).cpu().numpy()
    p = logits.softmax(dim=3).double().cpu().numpy()
    confidence = np.take_along_axis(p, answers[..., None], axis=3)[..., 0]
    bins = np.clip((confidence * BINS).astype(np.int64), 0, BINS - 1)
    return Tally(
        rows=np.array(len(y), np.int64),
        right=right,
        averaged=(p.cumsum(axis=1).argmax(axis=3) == y).sum(axis=2),
        after_t=after_t,
        block=block,
        noise_free=quiet,
        confusion=np.stack(
            [sum(confusion_matrix(y, a, num_classes) for a in by_draw) for by_draw in answers]
        ),
        first=confusion_matrix(y, answers[0, 0], num_classes),
        bin_count=_by_bin(bins, np.ones(bins.shape)).astype(np.int64),
        bin_right=_by_bin(bins, answers == y).astype(np.int64),
        bin_confidence=_by_bin(bins, confidence),
        likelihood=likelihood(y, traces, answering),
    )


def _by_bin(bins: Counts, values: npt.NDArray[Any]) -> Sums:
    """Sums (R, BINS) of values (R, S, B) by the bin that each lies in."""
    sums = np.zeros((*bins.shape[:2], BINS))
    r, s, _ = np.indices(bins.shape)
    np.add.at(sums, (r, s, bins), values)
    total: Sums = sums.sum(axis=1)
    return total


def class_scores(confusion: Counts, class_names: tuple[str, ...], draws: int) -> dict[str, Any]:
    """Precision, recall and F1 of every class, and their means over the classes that have images.

    Args:
        confusion: int64 (K, K) by true class (row) and answer (column).
        class_names: K names.
        draws: how often every image is in ``confusion``.

    Returns:
        ``per_class``, a dictionary a class, with None for the precision of a class that was never
        answered and the recall and F1 of one that has no images; and ``macro``, where what is None
        of a class with images counts as 0.
    """
    from sklearn.metrics import precision_recall_fscore_support

    true, answer = np.indices(confusion.shape).reshape(2, -1)
    *found, images = precision_recall_fscore_support(
        true, answer, sample_weight=confusion.ravel(), zero_division=np.nan
    )
    there = images > 0
    scores = dict(zip(("precision", "recall", "f1"), found, strict=True))
    scores["f1"] = np.where(there, scores["f1"], np.nan)
    per_class = [
        {"class": name, "images": int(images[k]) // draws}
        | {score: None if np.isnan(v[k]) else float(v[k]) for score, v in scores.items()}
        for k, name in enumerate(class_names)
    ]
    macro = {
        score: sum(np.nan_to_num(v[there]).tolist()) / there.sum() for score, v in scores.items()
    }
    return {"per_class": per_class, "macro": macro}


def calibration(count: Counts, right: Counts, confidence: Sums) -> dict[str, Any]:
    """How far confidence is from accuracy.

    The expected calibration error is the mean over bins, weighted by their answers, of the distance
    between mean confidence and accuracy (Guo et al., 2017).

    Args:
        count: int64 (BINS,), answers whose probability lies in the bin.
        right: int64 (BINS,), the right ones of them.
        confidence: float64 (BINS,), the sum of their probabilities.

    Returns:
        ``expected_calibration_error``, and ``bins``: low, high, count, and of those that are not
        empty the mean confidence and the accuracy.
    """
    error = float(np.abs(confidence - right).sum() / count.sum())
    bins = [
        {
            "low": i / BINS,
            "high": (i + 1) / BINS,
            "count": int(n),
            "confidence": float(confidence[i]) / n if n else None,
            "accuracy": int(right[i]) / n if n else None,
        }
        for i, n in enumerate(count.tolist())
    ]
    return {"expected_calibration_error": error, "bins": bins}
