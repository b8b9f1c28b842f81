"""What chance does to accuracies: of the seeds, and of the test rows. Fractions throughout."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

LEVEL = 0.975  # quantile at the upper end of a two-sided 95 % interval
Z_95 = 1.96  # standard errors on either side of it


def variance_of_rows(accuracy: float, rows: int) -> float:
    """Of an accuracy on so many rows drawn by chance.

    A success and a failure are added (Agresti and Coull), so that a network without an error is not
    taken for one that makes none.
    """
    p = (accuracy * rows + 1) / (rows + 2)
    return p * (1 - p) / (rows + 2)


def stderr(values: Sequence[float]) -> float | None:
    """Standard error of the mean; None of one value."""
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None


def margin(by_seed: Sequence[float], rows: int) -> float:
    """Half the width of a 95 % interval of the mean over seeds, had others and other rows been.

    Args:
        by_seed: accuracies; with one seed its own chance is left out.
        rows: that each is of.
    """
    return math.hypot(_of_seeds(by_seed), Z_95 * math.sqrt(variance_of_rows(fmean(by_seed), rows)))


def doubt(a: Sequence[float], b: Sequence[float], rows: int) -> float:
    """Half the width of a 95 % interval for the difference of two methods' accuracies.

    Seeds are paired. What rows may do is taken as if each method had been tested on rows of its
    own, without regard to which they were: on the same ones, which both find easy or hard, it is
    less (Agresti and Caffo).

    Args:
        a: accuracies of one method by seed.
        b: those of the other, of the same seeds; with one seed its own chance is left out.
        rows: that every accuracy is of.
    """
    of_rows = math.sqrt(sum(variance_of_rows(fmean(values), rows) for values in (a, b)))
    return math.hypot(_of_seeds([x - y for x, y in zip(a, b, strict=True)]), Z_95 * of_rows)


def _of_seeds(values: Sequence[float]) -> float:
    """By Student's t, which of two or three seeds is wide."""
    spread = stderr(values)
    if spread is None:
        return 0.0
    from scipy import stats  # takes a second to import

    return float(stats.t.ppf(LEVEL, len(values) - 1)) * spread
