"""What a network answers by, fitted on validation rows.

N rows, K classes, T blocks.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from noprop_dist.maths.calibration import (
    Floats,
    Labels,
    fit_temperature,
    fit_weights,
    nats_by_row,
    nats_of,
)
from noprop_dist.maths.chance import Z_95, stderr
from noprop_dist.model.answering import LAST, WEIGHTED, Answering
from noprop_dist.model.network import Trace


def fit_answering(trace: Trace, y: Labels, draws: int = 1) -> Answering:
    """Choose by validation rows: the weighted blocks, unless another readout is clearly better.

    It is if it has more right answers, or no fewer and a greater likelihood, by more than chance on
    the same rows. The best of five by a few rows is luck; weights that few rows were fitted to are
    near equal, and good on any data.

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
    halves = [(half, ~half), (~half, half)] if rows > 1 else [(half, half)]
    others = [(_fitted(_at(trace, fit), y[fit], rows), told) for fit, told in halves]
    temperatures, scores, right, nats = {}, {}, {}, {}
    for name in found.readouts:
        temperatures[name] = fit_temperature(found.logits(trace, name).double().numpy(), y)
        logits = np.empty((len(y), trace.block_logits.shape[2]))
        for other, told in others:
            logits[told] = other.logits(_at(trace, told), name).double().numpy()
        logits /= temperatures[name]
        by_row = logits.argmax(axis=1) == y, nats_by_row(logits, y)
        right[name], nats[name] = (a.reshape(draws, rows).mean(axis=0) for a in by_row)
        scores[name] = {
            "accuracy": float(by_row[0].mean()),
            "negative_log_likelihood": nats_of(logits, y),
        }
    first = WEIGHTED if len(found.weights) > 1 else LAST  # of one block all say the same
    readout = _clearly_best(first, right, nats)
    return replace(found, readout=readout, temperatures=temperatures, scores=scores)


def _clearly_best(first: str, right: dict[str, Floats], nats: dict[str, Floats]) -> str:
    more = {name: of - right[first] for name, of in right.items()}
    likelier = {name: nats[first] - nats[name] for name in more if more[name].mean() >= 0}
    for gained in (more, likelier):
        if clear := [name for name, by_row in gained.items() if _more_than_chance(by_row)]:
            return max(clear, key=lambda name: gained[name].mean())
    return first


def _more_than_chance(gained: Floats) -> bool:
    """By row."""
    doubt = stderr(gained.tolist())
    return doubt is not None and float(gained.mean()) > Z_95 * doubt


def _fitted(trace: Trace, y: Labels, rows: int) -> Answering:
    blocks = trace.block_logits.double().log_softmax(dim=2).numpy()
    right = (blocks.argmax(axis=2) == y).sum(axis=1)
    best = max(range(len(blocks)), key=lambda i: (right[i], -nats_of(blocks[i], y)))
    return Answering(weights=tuple(fit_weights(blocks, y).tolist()), best_block=best + 1, rows=rows)


def _at(trace: Trace, places: npt.NDArray[np.bool_]) -> Trace:
    return Trace(trace.z, trace.block_logits[:, places], trace.readout_logits[:, places])
