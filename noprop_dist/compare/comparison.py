"""A finished comparison: one row a method, and what can be said of them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from noprop_dist.compare.findings import sentences
from noprop_dist.compare.measurements import Measured
from noprop_dist.compare.method_rows import Facts, Row, make_row

NEARLY = 0.99  # of the least accurate run's best validation accuracy


@dataclass(frozen=True)
class Comparison:
    """A finished comparison; ``comparison.json`` holds the same.

    Attributes:
        folder: where it is.
        facts: what all methods had in common.
        rows: one a method, in the order asked for.
        measured: by method, one a seed.
        sentences: which is better where, from the numbers.
        versions: of Python and the libraries.
    """

    folder: str
    facts: Facts
    rows: list[Row]
    measured: dict[str, list[Measured]]
    sentences: list[str]
    versions: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able fields."""
        return asdict(self)


def common_target(measured: Mapping[str, list[Measured]]) -> float:
    """What every run reached on validation, nearly; 1 where there is no validation."""
    runs = [run for of_method in measured.values() for run in of_method]
    best = min(max((a or 0.0 for a in run.val_accuracy), default=0.0) for run in runs)
    return round(NEARLY * best, 3) or 1.0


def summarise(
    folder: str,
    facts: Facts,
    measured: Mapping[str, list[Measured]],
    alone: Mapping[str, Measured],
    versions: dict[str, str],
) -> Comparison:
    """The rows and the sentences of what was measured.

    Args:
        folder: of the comparison.
        facts: what all methods had in common.
        measured: by method, one a seed.
        alone: by method, on one device, where that was measured.
        versions: of the libraries.
    """
    rows = [
        make_row(runs, alone.get(method), facts.target_accuracy)
        for method, runs in measured.items()
    ]
    return Comparison(folder, facts, rows, dict(measured), sentences(rows, facts), versions)
