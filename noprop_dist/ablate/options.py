"""The options of ``noprop ablate``; nothing here imports PyTorch."""

from dataclasses import dataclass
from typing import Literal

from noprop_dist.config.fields import Checked, argument, at_least, option
from noprop_dist.use.flags import BLOCK, DATA_DIR, DEVICE, OTHER_DATA, PRECISION, RUN


@dataclass(frozen=True, kw_only=True)
class AblateOptions(Checked):
    """Which network to ask, on what, and beside which others."""

    run: str = argument("RUN", RUN)
    others: tuple[str, ...] = argument(
        "OTHER_RUN", "runs on the same data to compare with, such as an ensemble without z"
    )
    train: bool = option(
        False,
        "comparison",
        "train what to compare with, beside the run: an ensemble without z, and 1, 2 and 5 blocks "
        "for as many block-epochs",
    )
    dataset: str | None = option(None, "data", OTHER_DATA)
    data_dir: str | None = option(None, "data", DATA_DIR)
    split: Literal["test", "train", "val", "all"] | None = option(
        None, "data", "which rows; default: the test split"
    )
    draws: int = option(5, "evaluation", "noise draws", at_least(1))
    block: str | None = option(None, "evaluation", BLOCK)
    device: str = option("auto", "machine", DEVICE)
    precision: Literal["run", "auto", "fp32", "bf16"] = option("run", "machine", PRECISION)
    output: str | None = option(
        None, "output", "folder of ablation.json and plots/ablation.png; default: the run's"
    )
    json: bool = option(False, "output", "print the result as one JSON object on the last line")
