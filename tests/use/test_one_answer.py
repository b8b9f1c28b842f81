"""One picture gets one answer, whoever asks: Python, the command line, Ray, an exported file."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from noprop_dist import load_network
from noprop_dist.data.shards import Array
from noprop_dist.record.portable import seeds_of

Readout = Literal["z_T", "mean_softmax", "auto"]
Said = dict[str, npt.NDArray[np.float64]]  # by file, (K,) probabilities

READOUTS: tuple[Readout, ...] = ("z_T", "mean_softmax", "auto")  # as exported files give them
SEED, DRAWS = 5, 2
ROUNDING = 2e-6  # in float32, and what a line of JSON rounds off


@pytest.fixture(scope="module")
def files(pictures: Path) -> list[Path]:
    return sorted(pictures.rglob("*.png"))


@pytest.fixture(scope="module")
def samples(files: list[Path]) -> Array:
    return np.stack([np.asarray(Image.open(file))[None] for file in files])


def from_python(network: Path, samples: Array, readout: Readout) -> npt.NDArray[np.float32]:
    trained = load_network(network)
    return trained.predict(samples, readout=readout, draws=DRAWS, seed=SEED).probabilities


def from_command(repo: Path, network: Path, files: list[Path], *more: str) -> Said:
    args = ["--seed", str(SEED), "--draws", str(DRAWS), "--top-k", "10", "--format", "jsonl"]
    command = [sys.executable, "-m", "noprop_dist", "predict", str(network), *map(str, files)]
    out = subprocess.run(
        [*command, *args, *more], cwd=repo, check=True, timeout=200, text=True, capture_output=True,
        env={k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"},
    ).stdout  # fmt: skip
    said = {}
    for line in map(json.loads, out.splitlines()):
        p = {top["label"]: top["probability"] for top in line["top"]}
        said[line["file"]] = np.array([p[k] for k in range(10)])
    return said


@pytest.mark.parametrize("readout", READOUTS)
def test_neither_place_nor_neighbours_count(
    trained_folder: Path, samples: Array, readout: Readout
) -> None:
    together = from_python(trained_folder, samples, readout)
    backwards = from_python(trained_folder, samples[::-1], readout)[::-1]
    among_others = np.concatenate([np.zeros((300, 1, 8, 8), np.uint8), samples])
    np.testing.assert_allclose(backwards, together, atol=ROUNDING)
    np.testing.assert_allclose(
        from_python(trained_folder, among_others, readout)[300:], together, atol=ROUNDING
    )
    for i in (0, 7):
        alone = from_python(trained_folder, samples[i : i + 1], readout)[0]
        np.testing.assert_allclose(alone, together[i], atol=ROUNDING)


@pytest.mark.ray
@pytest.mark.timeout(400)  # two processes and a cluster, on a machine that may be busy
def test_command_and_ray_say_what_python_says(
    trained_folder: Path, files: list[Path], samples: Array, repo: Path
) -> None:
    expected = from_python(trained_folder, samples, "auto")
    order = [*files[6:], *files[:6]]
    for more in ([], ["--ray"]):
        said = from_command(repo, trained_folder, order, "--batch-size", "5", *more)
        found = np.stack([said[str(file)] for file in files])
        np.testing.assert_allclose(found, expected, atol=ROUNDING)


@pytest.mark.filterwarnings("ignore")  # of PyTorch's exporter
def test_exported_files_say_what_python_says(
    trained_folder: Path, samples: Array, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from noprop_dist.cli import main

    weights, graph = tmp_path / "x.safetensors", tmp_path / "x.pt2"
    assert main(["export", str(trained_folder), "--output", str(weights)]) == 0
    args = ["--format", "torch-export", "--draws", str(DRAWS), "--output", str(graph)]
    assert main(["export", str(trained_folder), *args]) == 0
    module = torch.export.load(graph).module()
    order = samples[::-1].copy()
    found = module(torch.from_numpy(order), torch.from_numpy(seeds_of(order, SEED)))
    for readout, p in zip(READOUTS, found, strict=True):
        expected = from_python(trained_folder, samples, readout)
        np.testing.assert_allclose(p.detach().numpy()[::-1], expected, atol=1e-5)
        trained = load_network(weights, precision="fp32")
        again = trained.predict(samples[3:4], readout=readout, draws=DRAWS, seed=SEED)
        np.testing.assert_allclose(again.probabilities[0], expected[3], atol=ROUNDING)
