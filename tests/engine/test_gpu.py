"""The same code on a CUDA device: make gpu-test."""

from pathlib import Path

import numpy as np
import pytest

from noprop_dist import TrainConfig, load_network, train
from noprop_dist.data import load_dataset
from runs import small

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
