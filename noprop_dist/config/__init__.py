"""Every option of a run: told once, checked from there."""

from noprop_dist.config.run import FREE_FIELDS, TrainConfig

__all__ = ["FREE_FIELDS", "TrainConfig"]
