"""A block of the user's own on Ray: workers get the driver's source of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from noprop_dist import train
from runs import events, result_of, small, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(120)]

PAGE = "docs/extending.md"
OPTIONS = [
    "--block", "linear_block.py:LinearBlock", "--max-train-images", "400", "--num-blocks", "3",
    "--batch-size", "32", "--epochs", "60", "--no-cuda", "--no-plots", "--run-dir", "run",
    "--workers", "2", "--quiet",
]  # fmt: skip


def test_the_page_s_block_is_killed_and_goes_on_to_the_same_weights(
    cluster: object, tmp_path: Path, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the driver works in the folder where the file lies."""
    example = (repo / PAGE).read_text().partition("```python\n# linear_block.py\n")[2]
    (tmp_path / "linear_block.py").write_text(example.partition("```")[0])
    command = [sys.executable, "-m", "noprop_dist", "train", *OPTIONS]
    env = os.environ | {"PYTHONPATH": str(repo)}
    with subprocess.Popen(command, cwd=tmp_path, env=env) as run:
        try:
            wait_until(lambda: len(events(tmp_path / "run", "checkpoint")) >= 2)
        finally:
            run.kill()
    assert not (tmp_path / "run/result.json").exists()
    assert subprocess.run(command, cwd=tmp_path, env=env, timeout=90, check=False).returncode == 0
    (_, again) = events(tmp_path / "run", "run_started")
    assert sum(again["steps"].values()) > 0
    monkeypatch.chdir(tmp_path)
    local = train(small(tmp_path / "local", block="linear_block.py:LinearBlock", epochs=60))
    assert result_of(tmp_path / "run")["block_sha256"] == local.block_sha256
