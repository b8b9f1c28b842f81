"""An axis of probabilities on which 99 % and 99.9 % are as far apart as 90 % and 99 %."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NEAREST = 1e-6  # to 0 or 1 that a probability is drawn
# What is written below an axis of probabilities in per cent, the first ones sooner
TICKS = (50, 90, 99, 99.9, 99.99, 99.999, 99.9999, 10, 1, 20, 80, 95, 5, 70, 30, 98, 99.5, 99.8)


def log_odds(probability: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The decimal logarithm of p / (1 - p), which tells 99 % from 99.9 %; bounded."""
    p = np.clip(np.asarray(probability, np.float64), NEAREST, 1 - NEAREST)
    odds: npt.NDArray[np.float64] = np.log10(p / (1 - p))
    return odds


def probability(log_odds: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """What ``log_odds`` is of."""
    p: npt.NDArray[np.float64] = 1 / (1 + 10 ** -np.asarray(log_odds, np.float64))
    return p


def probability_ticks(axes: "Axes", low: float, high: float) -> None:
    """Limits and ticks of an axis of log-odds, as many as have room, else its two ends."""
    found: dict[float, str] = {}
    for told in (*TICKS, *(100 * float(probability(end)) for end in (low, high))):
        at, name = float(log_odds(told / 100)), f"{told:.4g}" if told < 99.9 else f"{told:.6g}"
        room = all(abs(at - other) > (high - low) / 10 for other in found)
        if low <= at + 1e-9 and at - 1e-9 <= high and room and name not in found.values():
            found[at] = name
        if len(found) > 1 and told == TICKS[-1]:
            break
    axes.set_xticks(list(found), list(found.values()))
    axes.set_xlim(low, high)
