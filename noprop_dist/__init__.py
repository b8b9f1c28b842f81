"""Distributed block-parallel training of NoProp networks (arXiv:2503.24322), without Ray here."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str

    from noprop_dist.config import TrainConfig
    from noprop_dist.engine.watching import Callback, Run
    from noprop_dist.errors import UserError
    from noprop_dist.merging import merge
    from noprop_dist.record.history import History
    from noprop_dist.record.network_files import load_network
    from noprop_dist.record.result import TrainResult
    from noprop_dist.record.trained import Prediction, TrainedNetwork
    from noprop_dist.training import StoppedError, TrainedBlocks, train, train_blocks
    from noprop_dist.tune.run_sweep import SweepStoppedError, sweep
    from noprop_dist.tune.space import choice, loguniform, randint, uniform
    from noprop_dist.tune.sweep_results import SweepResult

__all__ = [
    "Callback",
    "History",
    "Prediction",
    "Run",
    "StoppedError",
    "SweepResult",
    "SweepStoppedError",
    "TrainConfig",
    "TrainResult",
    "TrainedBlocks",
    "TrainedNetwork",
    "UserError",
    "choice",
    "load_network",
    "loguniform",
    "merge",
    "randint",
    "sweep",
    "train",
    "train_blocks",
    "uniform",
]

_HOMES = {
    "Callback": "engine.watching",
    "Run": "engine.watching",
    "History": "record.history",
    "TrainConfig": "config",
    "UserError": "errors",
    "Prediction": "record.trained",
    "TrainedNetwork": "record.trained",
    "load_network": "record.network_files",
    "StoppedError": "training",
    "SweepResult": "tune.sweep_results",
    "SweepStoppedError": "tune.run_sweep",
    "TrainResult": "record.result",
    "TrainedBlocks": "training",
    "train_blocks": "training",
    "merge": "merging",
    "choice": "tune.space",
    "loguniform": "tune.space",
    "randint": "tune.space",
    "sweep": "tune.run_sweep",
    "train": "training",
    "uniform": "tune.space",
}


def __getattr__(name: str) -> Any:
    """Import on first use: ``--help`` and a check of options need no PyTorch."""
    if name == "__version__":
        from importlib.metadata import version

        return version("noprop-dist")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
