"""A trial trains as the trainer does, tells of every epoch, and goes on where it was left."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from noprop_dist import TrainConfig, UserError, train
from noprop_dist.engine.job import make_job
from noprop_dist.engine.local import LocalBackend
from noprop_dist.engine.splits import Splits, load_splits
from noprop_dist.record.store import Store
from noprop_dist.tune.block_trial import BlockState, train_block
from noprop_dist.tune.denoising_loss import denoising_error
from noprop_dist.tune.network_trial import train_trial
from noprop_dist.tune.reports import AGAIN, Report
from runs import prepared, small, steps_trained

CPU = torch.device("cpu")
HERE = LocalBackend(CPU, "fp32")


def made(folder: Path, **changes: Any) -> tuple[TrainConfig, Splits]:
    config = small(folder, precision="fp32", **changes)
    return config, load_splits(config)


def leaving_after(epochs: int, told: list[Report]) -> Callable[[Report], None]:
    def tell(report: Report) -> None:
        told.append(report)
        if len(told) == epochs:
            raise SystemExit(0)

    return tell


def test_a_trial_tells_what_training_records_and_tests_nothing(tmp_path: Path) -> None:
    config, splits = made(tmp_path / "trial")
    told: list[Report] = []
    train_trial(config, splits, HERE, told.append)
    train(small(tmp_path / "run", precision="fp32"))
    trained = json.loads((tmp_path / "run/training_history.json").read_text())
    assert [r["val_accuracy"] for r in told] == trained["val_accuracy_history"]
    assert [r["train_loss"] for r in told] == trained["train_loss_history"]
    assert [r["epoch"] for r in told] == [1, 2, 3]
    assert not (tmp_path / "trial/result.json").exists()
    assert not (tmp_path / "trial/model").exists()


def test_a_trial_that_was_left_goes_on_and_tells_again(tmp_path: Path) -> None:
    config, splits = made(tmp_path / "trial")
    first: list[Report] = []
    with pytest.raises(SystemExit):
        train_trial(config, splits, HERE, leaving_after(2, first))
    before = steps_trained(tmp_path / "trial")
    second: list[Report] = []
    train_trial(config, splits, HERE, second.append)
    whole: list[Report] = []
    train_trial(small(tmp_path / "whole", precision="fp32"), splits, HERE, whole.append)

    def bare(reports: list[Report]) -> list[Report]:
        unlike = {"seconds", AGAIN}
        return [{k: v for k, v in report.items() if k not in unlike} for report in reports]

    # The second epoch's checkpoint would have been written after it was told.
    assert [AGAIN in report for report in second] == [True, False, False]
    assert bare(second) == bare(whole)
    assert bare(first) == bare(whole)[:2]
    assert 3 * 3 * 11 <= steps_trained(tmp_path / "trial") <= before + 2 * 3 * 11
    assert before >= 2 * 3 * 11


def test_a_block_that_explodes_fails_its_trial_with_the_reason(tmp_path: Path) -> None:
    config, splits = made(tmp_path, lr=1e30)
    with pytest.raises(UserError, match="became NaN or infinite at step"):
        train_trial(config, splits, HERE, lambda _: None)
    with pytest.raises(UserError, match="block 2 failed: its loss became NaN"):
        train_block(config, splits, 2, CPU, "fp32", lambda _: None)


def test_a_block_alone_trains_as_in_its_network(tmp_path: Path) -> None:
    config, splits = made(tmp_path / "block")
    told: list[Report] = []
    train_block(config, splits, 2, CPU, "fp32", told.append)
    state = BlockState.load(Store(tmp_path / "block"))
    assert state is not None
    train_trial(small(tmp_path / "net", precision="fp32"), splits, HERE, lambda _: None)
    history = json.loads((tmp_path / "net/training_history.json").read_text())
    assert [r["train_loss"] for r in told] == history["blocks"]["2"]["loss"]
    assert state.latest.step == 3 * 11
    best = min(told, key=lambda report: report["val_loss"])
    assert state.best.step == best["epoch"] * 11
    job = make_job(config, splits, CPU)
    assert denoising_error(state.best, job, splits.val, CPU) == best["val_loss"]
    assert json.loads((tmp_path / "block/reports.json").read_text()) == told


def test_a_block_that_was_left_goes_on(tmp_path: Path) -> None:
    config, splits = made(tmp_path / "left")
    with pytest.raises(SystemExit):
        train_block(config, splits, 1, CPU, "fp32", leaving_after(1, []))
    again: list[Report] = []
    train_block(config, splits, 1, CPU, "fp32", again.append)
    whole: list[Report] = []
    train_block(small(tmp_path / "whole", precision="fp32"), splits, 1, CPU, "fp32", whole.append)
    assert [r["val_loss"] for r in again] == [r["val_loss"] for r in whole]
    assert [AGAIN in report for report in again] == [True, False, False]
    assert steps_trained(tmp_path / "left") == 3 * 11


def test_denoising_error_is_that_of_chance_before_training_and_falls() -> None:
    job, splits, rounds = prepared(num_blocks=2)
    # Ten classes, one-hot, an answer near uniform: 0.9^2 + 9 * 0.1^2.
    error = denoising_error(rounds.latest[1], job, splits.val, CPU)
    assert error == pytest.approx(0.9, abs=0.03)
