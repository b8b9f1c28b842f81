"""The options of a sweep, beside those of the runs that it tries."""

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

from noprop_dist.config import TrainConfig
from noprop_dist.config.fields import POSITIVE, Checked, at_least, flag, option
from noprop_dist.errors import UserError
from noprop_dist.maths.embedding_types import IS_TRAINED
from noprop_dist.maths.learning_rate import LR_SCHEDULES


@dataclass(frozen=True, kw_only=True)
class SweepConfig(Checked):
    """What to search, and how.

    Raises:
        UserError: a value is out of range or two options contradict each other.
    """

    REHEARSAL: ClassVar[dict[str, int]] = {"samples": 3}

    space: str = option(
        "default", "sweep", "YAML file of the settings to search and their ranges, or default"
    )
    samples: int = option(20, "sweep", "trials; with --per-block, of every block", at_least(1))
    scheduler: Literal["asha", "none"] = option(
        "asha", "sweep", "asha: stop trials that fall behind; none: train all to the end"
    )
    search: Literal["random", "optuna"] = option(
        "random", "sweep", "how settings are drawn; optuna learns from trials that have ended"
    )
    max_concurrent: int | None = option(
        None,
        "sweep",
        "trials at once; default: as many as the machine or cluster holds",
        at_least(1),
    )
    time_budget: float | None = option(
        None, "sweep", "seconds after which the sweep ends with what it has", POSITIVE
    )
    workers_per_trial: int = option(
        0,
        "sweep",
        "Ray workers of every trial; 0: its blocks train in the trial's own process",
        at_least(0),
    )
    per_block: bool = option(
        False,
        "sweep",
        "tune every block alone on its validation denoising loss, and assemble the best",
    )
    grace_epochs: int = option(
        1, "sweep", "asha: epochs before a trial may be stopped", at_least(1)
    )
    reduction: int = option(
        3, "sweep", "asha: one trial in so many survives each stage", at_least(2)
    )

    def __post_init__(self) -> None:
        """Check every value."""
        super().__post_init__()
        if self.per_block and self.workers_per_trial:
            raise UserError(
                f"--workers-per-trial {self.workers_per_trial} has no meaning with --per-block, "
                "whose trials are single blocks: leave it out."
            )

    def check_with(self, config: TrainConfig) -> None:
        """Compare with the options of the trials; ``check_length`` follows once the space is read.

        Raises:
            UserError: the two do not go together.
        """
        if config.val_fraction == 0:
            raise UserError("a sweep chooses by validation images: give --val-fraction above 0.")
        if config.executor != TrainConfig.executor:
            raise UserError(
                f"--executor {config.executor} has no meaning for a sweep, which Ray runs: leave "
                "it out; --workers-per-trial 0 trains each trial in one process."
            )
        for name in ("resume_from", "init_from", "history", "spares", "tensorboard", "tracker"):
            if getattr(config, name) not in (None, False, "none"):
                raise UserError(f"{flag(name)} has no meaning for a sweep: leave it out.")
        if config.dry_run:
            raise UserError("--dry-run has no meaning for a sweep: try noprop train --dry-run.")
        if config.workers is not None and (self.workers_per_trial or self.per_block):
            beside = "--per-block" if self.per_block else "--workers-per-trial"
            raise UserError(f"--workers has no meaning beside {beside}: leave it out.")
        if self.per_block and LR_SCHEDULES[config.lr_schedule].feedback is not None:
            raise UserError(
                f"--lr-schedule {config.lr_schedule} has no meaning with --per-block: it looks at "
                "the accuracy of all blocks together; give cosine or constant."
            )
        if self.per_block and config.early_stopping_patience is not None:
            raise UserError(
                "--early-stopping-patience has no meaning with --per-block, which finds every "
                "block's best epoch: leave it out."
            )
        if self.per_block and IS_TRAINED[config.embedding_type]:
            raise UserError(
                f"--per-block needs blocks that share nothing: --embedding-type "
                f"{config.embedding_type} is trained by all of them; give one-hot."
            )

    def check_length(self, epochs: int) -> None:
        """Compare with the epochs of the longest trial.

        Raises:
            UserError: successive halving would stop none.
        """
        if self.scheduler == "asha" and self.grace_epochs > epochs:
            raise UserError(
                f"--grace-epochs {self.grace_epochs} is longer than a trial: give at most {epochs}."
            )

    @property
    def identity(self) -> dict[str, Any]:
        """What makes another sweep of it: not how many trials, how long, or where."""
        free = {"space", "samples", "max_concurrent", "time_budget", "workers_per_trial"}
        return {k: v for k, v in asdict(self).items() if k not in free}
