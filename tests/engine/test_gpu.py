"""The same code on a CUDA device: make gpu-test."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from noprop_dist import TrainConfig, load_network, train
from noprop_dist.cli import main
from noprop_dist.data import Split, load_dataset
from noprop_dist.data.feed import Feed, HostFeed, ResidentFeed, StreamedFeed
from noprop_dist.engine.runner import UnitRunner
from noprop_dist.engine.unit import Unit
from runs import prepared, small

pytestmark = pytest.mark.gpu


def config(folder: Path, **changes: object) -> TrainConfig:
    values = {"max_train_images": None, "epochs": 12, "num_blocks": 4, "batch_size": 128}
    return small(folder, **(values | {"no_cuda": False} | changes))


@pytest.mark.parametrize("embedding_type", ["one-hot", "learned", "prototype"])
def test_gpu_learns_and_one_seed_gives_one_model(tmp_path: Path, embedding_type: str) -> None:
    runs = [
        train(config(tmp_path / name, device="cuda", embedding_type=embedding_type))
        for name in ("a", "b")
    ]
    assert runs[0].block_sha256 == runs[1].block_sha256
    assert runs[0].test_accuracy["mean_softmax"].mean > 0.9


def test_device_auto_takes_the_gpu_and_the_cpu_agrees_with_it(tmp_path: Path) -> None:
    train(config(tmp_path, precision="fp32"))
    x, y = load_dataset("digits").test.take(np.arange(359))
    answers = {
        device: load_network(tmp_path, device, "fp32").predict(x, readout="mean_softmax").labels
        for device in ("cuda", "cpu")
    }
    # Each device draws its own noise: the answers agree where they are right.
    assert all(float((labels == y).mean()) > 0.9 for labels in answers.values())


WAYS = {
    "plain": {},
    "augmentation": {"augmentation": "standard", "flip": "yes"},
    "average": {"ema_decay": 0.99},
    "clipping": {"grad_clip": 0.1},
    "learned": {"embedding_type": "learned", "freeze_after": 1},
    "fp32": {"precision": "fp32"},
    "resnet18": {"block": "resnet18"},
}


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_recorded_or_eager_alone_or_side_by_side_gives_the_same_bits(
    tmp_path: Path, options: dict[str, object]
) -> None:
    how: dict[str, dict[str, object]] = {
        "recorded": {},
        "alone": {"workers": 1},
        "eager": {"no_cuda_graphs": True},
    }
    runs = {
        name: train(config(tmp_path / name, device="cuda", epochs=2, **options, **ways))
        for name, ways in how.items()
    }
    assert runs["recorded"].block_sha256 == runs["eager"].block_sha256
    assert runs["recorded"].block_sha256 == runs["alone"].block_sha256


@pytest.mark.parametrize("to", ["safetensors", "torch-export", "onnx"])
def test_exported_files_are_checked_on_the_gpu(
    tmp_path: Path, to: str, capsys: pytest.CaptureFixture[str]
) -> None:
    train(config(tmp_path / "run", device="cuda", epochs=1))
    file = str(tmp_path / "network")
    assert main(["export", str(tmp_path / "run"), "--to", to, "--output", file, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["largest_difference"] < 1e-5


def test_no_recording_falls_back(tmp_path: Path) -> None:
    """A line in the log says where a step could not be recorded: here there is none."""
    said: list[str] = []
    job, splits, rounds = prepared(no_cuda=False, device="cuda", num_blocks=2)
    gpu = torch.device("cuda")
    runner = UnitRunner(job, splits, gpu, at_once=1, note=said.append)
    runner.run(Unit(rounds.latest[1], 4))
    assert not said


@pytest.mark.parametrize("feed", [ResidentFeed, StreamedFeed])
def test_batches_on_the_gpu_are_those_of_the_host(
    feed: Callable[[Split, torch.device], Feed],
) -> None:
    split = load_dataset("digits").train
    order = np.random.default_rng(0).permutation(len(split))[:320]
    host = HostFeed(split).batches(order, 32)
    there = feed(split, torch.device("cuda")).batches(order, 32)
    for (x, y), (images, labels) in zip(there, host, strict=True):
        assert torch.equal(x.cpu(), images)
        assert torch.equal(y.cpu(), labels)


def test_ray_s_workers_share_the_gpu_and_give_the_same_bits(tmp_path: Path) -> None:
    local = train(config(tmp_path / "local", device="cuda", epochs=2))
    shared = train(
        config(
            tmp_path / "ray", device="cuda", epochs=2, executor="ray", gpus_per_worker=0.5,
            blocks_per_worker=2,
        )
    )  # fmt: skip
    assert shared.block_sha256 == local.block_sha256
