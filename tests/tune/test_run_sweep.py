"""What a sweep refuses once it has seen its folder and its space."""

from pathlib import Path
from typing import Any

import pytest

from noprop_dist import TrainConfig, UserError
from noprop_dist.data.shards import sha256_of_rows
from noprop_dist.engine.splits import load_splits
from noprop_dist.record.store import Store
from noprop_dist.tune.run_sweep import sweep
from noprop_dist.tune.space import read_space
from noprop_dist.tune.sweep_folder import FINISHED, Outcome, SweepFolder
from noprop_dist.tune.sweep_options import SweepConfig

LR = "lr: {loguniform: [1e-3, 1e-2]}\n"


def begun(folder: Path, trials: int, **options: Any) -> tuple[TrainConfig, SweepConfig]:
    """A sweep whose first trial has ended and whose others were left."""
    config = TrainConfig(run_dir=str(folder / "sweep"), max_train_images=400, num_blocks=2)
    (folder / "space.yaml").write_text(LR)
    chosen = SweepConfig(space=str(folder / "space.yaml"), samples=trials, **options)
    splits = load_splits(config)
    kept = SweepFolder(Store(config.folder))
    space = read_space(chosen.space, config)
    kept.open(config, chosen, space, sha256_of_rows(splits.train, splits.val))
    for number in range(trials):
        kept.add(number, {"lr": 1e-3})
    kept.end(0, Outcome(FINISHED, 1, 1.0, {"val_accuracy": 0.5}))
    return config, chosen


@pytest.mark.parametrize(
    ("options", "samples", "says"),
    [
        ({}, 3, "--samples 3 is less than .* has begun: give --samples 4 or more"),
        ({"per_block": True, "scheduler": "none"}, 1, "give --samples 2 or more"),
    ],
)
def test_trials_that_do_not_go_with_those_there_are_refused(
    tmp_path: Path, options: dict[str, Any], samples: int, says: str
) -> None:
    config, _ = begun(tmp_path, 4, **options)
    asked = SweepConfig(space=str(tmp_path / "space.yaml"), samples=samples, **options)
    with pytest.raises(UserError, match=says):
        sweep(config, asked)


def test_plateau_in_the_space_of_a_block_is_refused(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("lr_schedule: {choice: [cosine, plateau]}\n")
    options = SweepConfig(space=str(tmp_path / "space.yaml"), per_block=True)
    with pytest.raises(UserError, match="--lr-schedule plateau has no meaning with --per-block"):
        sweep(TrainConfig(run_dir=str(tmp_path / "sweep")), options)
