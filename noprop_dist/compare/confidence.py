"""How far two accuracies may differ by chance: of the seeds, and of the test images."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

LEVEL = 0.975  # quantile at the upper end of a two-sided 95 % interval


def doubt(a: Sequence[float], b: Sequence[float], test_images: int) -> float:
    """Half the width of a 95 % interval for the difference of two methods' accuracies, a fraction.

    Seeds are paired. What images may do is taken as if each method had been tested on images of
    its own, without regard to which images it was: on the same ones, which both find easy or hard,
    it is less. A success and a failure are added to what each got (Agresti and Caffo), so
    that a method without an error is not taken for one that makes none.

    Args:
        a: accuracies of one method by seed, fractions.
        b: those of the other, of the same seeds; with one seed its own chance is left out.
        test_images: that every accuracy is of.
    """
    from scipy import stats  # takes a second to import

    differences = [x - y for x, y in zip(a, b, strict=True)]
    spread = stderr(differences)
    seeds = 0.0 if spread is None else stats.t.ppf(LEVEL, len(differences) - 1) * spread
    images = math.sqrt(sum(_variance(fmean(values), test_images) for values in (a, b)))
    return math.hypot(seeds, stats.norm.ppf(LEVEL) * images)


def _variance(accuracy: float, images: int) -> float:
    """Of an accuracy on so many images drawn by chance."""
    p = (accuracy * images + 1) / (images + 2)
    return p * (1 - p) / (images + 2)


def stderr(values: Sequence[float]) -> float | None:
    """Standard error of the mean; None of one value."""
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
