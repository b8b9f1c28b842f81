"""Two ways of doing one thing, timed in turn, so that both meet the same machine."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Pairs:
    """What was measured, pair by pair.

    Attributes:
        ours: the median of our speeds.
        theirs: the median of the other way's.
        ratio: the median of the ratios.
        ratios: how many times as fast ours is, of each pair.
    """

    ours: float
    theirs: float
    ratio: float
    ratios: list[float]


def in_pairs(ours: Callable[[], float], theirs: Callable[[], float], repeats: int) -> Pairs:
    """Time both ``repeats`` times, after a pair that warms up.

    Args:
        ours: does it once, and says how fast.
        theirs: the same of the other way.
        repeats: pairs that count.
    """
    pairs = [(ours(), theirs()) for _ in range(repeats + 1)][1:]
    a, b = map(statistics.median, zip(*pairs, strict=True))
    ratios = [mine / other for mine, other in pairs]
    return Pairs(a, b, statistics.median(ratios), ratios)
