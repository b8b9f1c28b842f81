"""Two ways of doing one thing, timed in turn, so that both meet the same machine."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Pairs:
    """What was measured, pair by pair.

    Attributes:
        ours: speeds.
        theirs: speeds of the other way.
    """

    ours: list[float]
    theirs: list[float]

    @property
    def ratios(self) -> list[float]:
        """How many times as fast ours is, of each pair."""
        return [a / b for a, b in zip(self.ours, self.theirs, strict=True)]

    @property
    def medians(self) -> tuple[float, float, float]:
        """Of our speeds, of theirs, and of the ratios."""
        return (
            statistics.median(self.ours),
            statistics.median(self.theirs),
            statistics.median(self.ratios),
        )


def in_pairs(ours: Callable[[], float], theirs: Callable[[], float], repeats: int) -> Pairs:
    """Time both ``repeats`` times, after a pair that warms up.

    Args:
        ours: does it once, and says how fast.
        theirs: the same of the other way.
        repeats: pairs that count.
    """
    pairs = [(ours(), theirs()) for _ in range(repeats + 1)][1:]
    return Pairs([a for a, _ in pairs], [b for _, b in pairs])
