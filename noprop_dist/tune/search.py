"""What is to be searched."""

from dataclasses import dataclass

from noprop_dist.config import TrainConfig
from noprop_dist.engine.job import check_fit
from noprop_dist.engine.splits import Splits
from noprop_dist.tune.network_trial import trial_config
from noprop_dist.tune.reports import BLOCK_METRIC, METRIC
from noprop_dist.tune.space import Settings, Space, settle
from noprop_dist.tune.sweep_folder import SweepFolder
from noprop_dist.tune.sweep_options import SweepConfig


@dataclass(frozen=True)
class Search:
    """A sweep that is ready to begin or to go on.

    Attributes:
        config: the options that do not vary.
        options: how to search.
        space: what.
        splits: the data of every trial.
        folder: the trials so far.
    """

    config: TrainConfig
    options: SweepConfig
    space: Space
    splits: Splits
    folder: SweepFolder

    @property
    def count(self) -> int:
        """Trials in all."""
        blocks = self.config.num_blocks if self.options.per_block else 1
        return self.options.samples * blocks

    @property
    def metric(self) -> str:
        """What trials are compared by."""
        return BLOCK_METRIC if self.options.per_block else METRIC

    @property
    def mode(self) -> str:
        """Whether "max" or "min" of it is best."""
        return "min" if self.options.per_block else "max"

    def check(self, settings: Settings) -> None:
        """Refuse settings of a new trial.

        Raises:
            UserError: they contradict each other, or cannot be trained on this data.
        """
        settled = settle(settings, self.config)
        check_fit(trial_config(self.config, settled, ".", "trial"), self.splits)
