"""How far two accuracies may differ by chance: of the seeds, and of the test images."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

NORMAL = 1.959964  # the 97.5 % quantile of the normal distribution
# Those of Student's t by degrees of freedom, where they are too few for the series below.
_STUDENT = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764}


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
    differences = [x - y for x, y in zip(a, b, strict=True)]
    spread = stderr(differences)
    seeds = 0.0 if spread is None else student(len(differences) - 1) * spread
    images = math.sqrt(sum(_variance(fmean(values), test_images) for values in (a, b)))
    return math.hypot(seeds, NORMAL * images)


def _variance(accuracy: float, images: int) -> float:
    """Of an accuracy on so many images drawn by chance."""
    p = (accuracy * images + 1) / (images + 2)
    return p * (1 - p) / (images + 2)


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, to 0.2 %, with so many degrees of freedom, at least 1."""
    if freedom in _STUDENT:
        return _STUDENT[freedom]
    z, n = NORMAL, freedom  # Cornish and Fisher's series
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    )


def stderr(values: Sequence[float]) -> float | None:
    """Standard error of the mean; None of one value."""
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
