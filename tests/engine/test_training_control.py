"""Optimisers, the least learning rate and gradients that are added up, in whole steps and runs."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from noprop_dist import TrainConfig, train
from noprop_dist.engine.live_block import LiveBlock
from noprop_dist.engine.splits import load_splits
from noprop_dist.errors import UserError
from runs import prepared, small


def no_noise(*shape: int, generator: object, device: object) -> torch.Tensor:
    return torch.zeros(shape)


def one_step(**options: Any) -> dict[str, torch.Tensor]:
    """A step on 64 images of a block without dropout and batch norm's statistics of the batch."""
    job, splits, rounds = prepared(warmup_epochs=0.0, **options)
    live = LiveBlock(job, rounds.latest[2], torch.device("cpu"))
    live.block.eval()
    x, y = (torch.from_numpy(part) for part in splits.train.take(np.arange(64)))
    live.train_step(x, y)
    return live.state() | {"loss": live.loss}


def test_gradients_of_batches_add_up_to_those_of_a_large_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "randn", no_noise)  # of which each part draws its own
    whole = one_step(batch_size=64, optimizer="sgd")
    parts = one_step(batch_size=16, accumulate=4, optimizer="sgd")
    gradients = {name: tensor for name, tensor in whole.items() if "momentum_buffer" in name}
    for name, tensor in gradients.items():
        assert (tensor - parts[name]).norm() <= 0.01 * tensor.norm(), name
    assert whole["tally"][2] == parts["tally"][2] == 64


def test_a_step_is_of_all_batches_that_add_up() -> None:
    job, *_ = prepared(batch_size=16, accumulate=2)
    assert job.steps_per_epoch == prepared(batch_size=32)[0].steps_per_epoch
    with pytest.raises(UserError, match=r"times --accumulate 30 .* give at most 12"):
        prepared(batch_size=16, accumulate=30)


@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_it_trains(tmp_path: Path, optimizer: str) -> None:
    lr = {"sgd": 0.3, "muon": 0.01}[optimizer]
    result = train(small(tmp_path, optimizer=optimizer, lr=lr))
    assert result.test_accuracy["mean_softmax"].mean > 0.6


def test_the_learning_rate_falls_to_the_least_and_feedback_takes_it_no_lower() -> None:
    job, *_ = prepared(lr=0.1, lr_min=0.01, epochs=10, warmup_epochs=1.0)
    assert job.lr(0) < 0.01
    assert job.lr(job.total_steps - 1) == pytest.approx(0.01, rel=0.01)
    assert job.lr(job.total_steps // 2, scale=1e-6) == 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 0.9}, "--momentum is of --optimizer sgd and muon"),
        ({"momentum": 1.0, "optimizer": "sgd"}, "--momentum must be at least 0 and below 1"),
        ({"nesterov": True, "optimizer": "muon"}, "--nesterov is of --optimizer sgd"),
        ({"nesterov": True, "optimizer": "sgd", "momentum": 0.0}, "--nesterov is of"),
        ({"lr_min": 0.1}, "--lr-min 0.1 is above the peak: give at most --lr, 0.001"),
        ({"image_size": "big"}, "--image-size must be int or left out, got 'big'"),
        ({"accumulate": 0}, "--accumulate must be at least 1"),
        ({"optimizer": "adam"}, "--optimizer must be one of adamw, sgd, muon"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TrainConfig(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"lr_min": 1e-4, "lr_schedule": "constant"},
            "--lr-min 0.0001 has no meaning with --lr-schedule constant",
        ),
        ({"lr_patience": 2}, "--lr-patience 2 is of --lr-schedule plateau"),
        ({"image_column": "x"}, "--image-column x names a column of a table, and digits is none"),
        ({"label_column": "x"}, "--label-column x names a column"),
    ],
)
def test_what_means_nothing_is_refused_of_a_run_and_passed_over_in_a_folder(
    options: dict[str, Any], message: str
) -> None:
    config = TrainConfig(**options)
    with pytest.raises(UserError, match=message):
        load_splits(config)


def test_in_python_auto_is_understood_where_the_command_line_has_it() -> None:
    config = TrainConfig(image_size="auto")  # type: ignore[arg-type]
    assert config == TrainConfig()


def test_an_option_that_came_later_changes_no_name_at_its_default() -> None:
    assert TrainConfig().hash() == TrainConfig(optimizer="adamw", lr_min=0.0).hash() == "44136f"
    assert TrainConfig(accumulate=2).hash() != TrainConfig().hash()
