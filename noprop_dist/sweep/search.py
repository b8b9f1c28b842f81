"""What is to be searched, and what a search took."""

from collections.abc import Callable
from dataclasses import dataclass

from noprop_dist.config import TrainConfig
from noprop_dist.engine.job import Splits
from noprop_dist.sweep.space import Settings, Space
from noprop_dist.sweep.sweep_folder import Journal
from noprop_dist.sweep.sweep_options import SweepConfig


@dataclass(frozen=True)
class Search:
    """A sweep that is ready to begin or to go on.

    Attributes:
        config: the options that do not vary.
        options: how to search.
        space: what.
        splits: the data of every trial.
        journal: the trials so far.
        check: raises UserError for settings that cannot be trained on this data.
    """

    config: TrainConfig
    options: SweepConfig
    space: Space
    splits: Splits
    journal: Journal
    check: Callable[[Settings], None]

    @property
    def count(self) -> int:
        """Trials in all."""
        blocks = self.config.num_blocks if self.options.per_block else 1
        return self.options.samples * blocks


@dataclass(frozen=True)
class Spent:
    """What a search took.

    Attributes:
        began: seconds since 1970, Ray's start not counted.
        seconds: that it took.
        slots: units that could run at once.
        asked: whether it was asked to stop.
    """

    began: float = 0.0
    seconds: float = 0.0
    slots: int = 0
    asked: bool = False
