"""Distributed block-parallel training of NoProp networks (arXiv:2503.24322), without Ray here."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str

    from noprop_dist.config import TrainConfig
    from noprop_dist.errors import UserError
    from noprop_dist.merge import merge
    from noprop_dist.record.result import TrainResult
    from noprop_dist.record.trained import Prediction, TrainedNetwork, load_network
    from noprop_dist.training import StoppedError, TrainedBlocks, train, train_blocks

__all__ = [
    "Prediction",
    "StoppedError",
    "TrainConfig",
    "TrainResult",
    "TrainedBlocks",
    "TrainedNetwork",
    "UserError",
    "load_network",
    "merge",
    "train",
    "train_blocks",
]

_HOMES = {
    "TrainConfig": "config",
    "UserError": "errors",
    "Prediction": "record.trained",
    "TrainedNetwork": "record.trained",
    "load_network": "record.trained",
    "StoppedError": "training",
    "TrainResult": "record.result",
    "TrainedBlocks": "training",
    "train": "training",
    "train_blocks": "training",
    "merge": "merge",
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
