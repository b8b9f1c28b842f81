"""A sweep's folder: what it holds, and when it is another's."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from noprop_dist import TrainConfig, UserError
from noprop_dist.record.store import Store
from noprop_dist.tune.space import Dimension
from noprop_dist.tune.sweep_folder import FINISHED, Outcome, SweepFolder
from noprop_dist.tune.sweep_options import SweepConfig

SPACE = {"lr": Dimension("uniform", (0.1, 0.2))}
DONE = Outcome(FINISHED, 3, 1.5, {"epoch": 2, "val_accuracy": 0.5, "val_mean_softmax": 0.6})


def opened(
    path: Path, space: Any = SPACE, options: dict[str, Any] | None = None, **run: Any
) -> SweepFolder:
    folder = SweepFolder(Store(path))
    folder.open(TrainConfig(**run), SweepConfig(**(options or {})), space)
    return folder


def test_what_was_written_is_read_after_the_folder_was_moved(tmp_path: Path) -> None:
    folder = opened(tmp_path / "a")
    folder.add(0, {"lr": 0.1})
    folder.add(1, {"lr": 0.15})
    folder.end(0, DONE)
    shutil.move(tmp_path / "a", tmp_path / "b")
    again = opened(tmp_path / "b")
    assert [trial.settings for trial in again.open_trials] == [{"lr": 0.15}]
    assert [trial.outcome for trial in again.ended] == [DONE]


def test_more_samples_and_other_devices_are_the_same_sweep(tmp_path: Path) -> None:
    opened(tmp_path).add(0, {"lr": 0.1})
    again = opened(tmp_path, options={"samples": 99, "max_concurrent": 1}, cpus_per_worker=1)
    assert len(again.trials) == 1


@pytest.mark.parametrize(
    ("space", "options", "run", "says"),
    [
        ({"lr": Dimension("uniform", (0.1, 0.3))}, {}, {}, "its --space differs"),
        (SPACE, {"search": "optuna"}, {}, "--search random there, optuna now"),
        (SPACE, {}, {"epochs": 3}, "--epochs 25 there, 3 now"),
    ],
)
def test_another_sweep_s_folder_is_refused(
    tmp_path: Path, space: Any, options: dict[str, Any], run: dict[str, Any], says: str
) -> None:
    opened(tmp_path).add(0, {"lr": 0.1})
    with pytest.raises(UserError) as caught:
        opened(tmp_path, space, options, **run)
    assert "holds another sweep" in str(caught.value)
    assert says in str(caught.value)


def test_a_run_s_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("lr: 1")
    with pytest.raises(UserError, match="holds a run, not a sweep"):
        opened(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.yaml"]


def test_a_torn_folder_says_so(tmp_path: Path) -> None:
    opened(tmp_path).add(0, {"lr": 0.1})
    (tmp_path / "trials/0000/trial.json").write_text("{")
    with pytest.raises(UserError, match=r"trials/0000/trial.json is not what a sweep writes"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("path", "text"),
    [("sweep.json", "[]"), ("trials/0000/outcome.json", "{}"), ("trials/0000/trial.json", "3")],
)
def test_a_foreign_file_says_so(tmp_path: Path, path: str, text: str) -> None:
    opened(tmp_path).add(0, {"lr": 0.1})
    (tmp_path / path).write_text(text)
    with pytest.raises(UserError, match=f"{path} is not what a sweep writes"):
        opened(tmp_path)


def test_what_a_user_puts_beside_the_trials_is_left_alone(tmp_path: Path) -> None:
    opened(tmp_path).add(0, {"lr": 0.1})
    shutil.copytree(tmp_path / "trials/0000", tmp_path / "trials/backup")
    assert list(opened(tmp_path).trials) == [0]


def test_other_data_are_another_sweep(tmp_path: Path) -> None:
    folder = SweepFolder(Store(tmp_path))
    folder.open(TrainConfig(), SweepConfig(), SPACE, "a hash")
    folder.add(0, {"lr": 0.1})
    with pytest.raises(UserError, match="its data differ"):
        folder.open(TrainConfig(), SweepConfig(), SPACE, "another")


def test_what_a_trial_told_is_read_from_its_run_folder(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    folder.add(0, {"lr": 0.1})
    (tmp_path / "trials/0000/checkpoints").mkdir()
    assert folder.reports(0) == []
    (tmp_path / "trials/0000/reports.json").write_text(json.dumps([{"epoch": 1}]))
    assert folder.reports(0) == [{"epoch": 1}]
    folder.clear(0)
    assert list(tmp_path.glob("trials/*/checkpoints")) == []
