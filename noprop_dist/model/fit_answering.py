"""What a network answers by, fitted on validation rows.

N rows, K classes, T blocks.
"""

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from noprop_dist.maths.calibration import Labels, fit_temperature, fit_weights, nats_of
from noprop_dist.maths.chance import variance_of_rows
from noprop_dist.model.answering import Answering
from noprop_dist.model.network import Trace


def fit_answering(trace: Trace, y: Labels, draws: int = 1) -> Answering:
    """Choose by validation rows: the most right answers, then the greatest likelihood.

    Shares of right answers that differ by less than a standard error of the greatest count as
    equal: on few rows such a difference is chance, and the likelihood tells more.

    Scores are of rows that the weights and the best block were not fitted on: of either half by the
    other one's.

    Args:
        trace: what the network says of N rows in each draw, one draw after the other, on the CPU.
        y: int64 (draws N,), their labels; N at least 1.
        draws: of noise.
    """
    rows = len(y) // draws
    half = np.tile(np.arange(rows) % 2 == 0, draws)
    found = _fitted(trace, y, rows)
    temperatures, scores = {}, {}
    halves = [(half, ~half), (~half, half)] if rows > 1 else [(half, half)]
    others = [_fitted(_at(trace, fit), y[fit], rows) for fit, _ in halves]
    for name in found.readouts:
        temperatures[name] = fit_temperature(found.logits(trace, name).double().numpy(), y)
        held = [
            other.logits(_at(trace, told), name).double().numpy() / temperatures[name]
            for other, (_, told) in zip(others, halves, strict=True)
        ]
        logits, labels = np.concatenate(held), np.concatenate([y[told] for _, told in halves])
        scores[name] = {
            "accuracy": float((logits.argmax(axis=1) == labels).mean()),
            "negative_log_likelihood": nats_of(logits, labels),
        }
    return replace(found, readout=_best(scores, rows), temperatures=temperatures, scores=scores)


def _best(scores: dict[str, dict[str, float]], rows: int) -> str:
    most = max(of["accuracy"] for of in scores.values())
    enough = most - math.sqrt(variance_of_rows(most, rows))
    near = [name for name, of in scores.items() if of["accuracy"] >= enough]
    return min(near, key=lambda name: scores[name]["negative_log_likelihood"])


def _fitted(trace: Trace, y: Labels, rows: int) -> Answering:
    blocks = trace.block_logits.double().log_softmax(dim=2).numpy()
    right = (blocks.argmax(axis=2) == y).sum(axis=1)
    best = max(range(len(blocks)), key=lambda i: (right[i], -nats_of(blocks[i], y)))
    return Answering(weights=tuple(fit_weights(blocks, y).tolist()), best_block=best + 1, rows=rows)


def _at(trace: Trace, places: npt.NDArray[np.bool_]) -> Trace:
    return Trace(trace.z, trace.block_logits[:, places], trace.readout_logits[:, places])
