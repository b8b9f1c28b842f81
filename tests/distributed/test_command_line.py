"""Ray notes how a driver was started."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from ray.cluster_utils import Cluster

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(240)]


def test_a_run_on_data_whose_names_are_no_utf8_joins_the_cluster(
    cluster: Cluster, tmp_path: Path, repo: Path
) -> None:
    draw = np.random.default_rng(0)
    data = tmp_path / os.fsdecode(b"data\xe9")
    for name in (b"a\xe9", b"b"):
        (data / os.fsdecode(name)).mkdir(parents=True)
        for i in range(10):
            pixels = draw.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(data / os.fsdecode(name) / f"{i}.png")
    options = ["--num-blocks", "1", "--epochs", "1", "--batch-size", "8", "--workers", "1"]
    options += ["--no-plots", "--quiet", "--dataset", str(data)]
    folder = os.fsdecode(b"run\xe9")
    done = subprocess.run(
        [sys.executable, "-m", "noprop_dist", "train", *options, "--run-dir", folder],
        capture_output=True, text=True, timeout=200, check=False, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(repo)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("results in run\\xe9\n")
    assert (tmp_path / folder / "result.json").exists()
