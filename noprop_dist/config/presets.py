"""Options by the name of what they are for; a file and flags change them."""

from typing import Any

# Table 3 of the paper; it prints one learning rate, and names no schedule.
_PAPER: dict[str, Any] = {
    "num_blocks": 10,
    "batch_size": 128,
    "lr": 1e-3,
    "weight_decay": 1e-3,
    "eta": 0.1,
    "lr_schedule": "constant",
    "warmup_epochs": 0.0,
}

PRESETS: dict[str, dict[str, Any]] = {
    "paper-mnist": _PAPER | {"dataset": "mnist", "epochs": 100},
    "paper-cifar10": _PAPER | {"dataset": "cifar10", "epochs": 150},
    "paper-cifar100": _PAPER | {"dataset": "cifar100", "epochs": 150},
    "quick": {"num_blocks": 3, "epochs": 10},
}
