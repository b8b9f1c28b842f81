"""The chaos job as a user meets it, on a cluster of its own."""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest


def chaos(repo: Path, *args: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment.pop("RAY_ADDRESS", None)
    return subprocess.run(
        [sys.executable, str(repo / "jobs/chaos.py"), *args],
        env=environment, capture_output=True, text=True, timeout=200,
    )  # fmt: skip


@pytest.mark.ray
def test_chaos_job_counts_what_was_lost(repo: Path, tmp_path: Path) -> None:
    size = ["--epochs", "8", "--num-blocks", "4", "--every", "4"]
    faults = ["--faults", "kill", "stop", "--seed", "1", "--json", "--folder", str(tmp_path)]
    done = chaos(repo, *size, *faults)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout.splitlines()[-1])
    assert sum(measured["faults"].values()) >= 1
    assert measured["same_sha256"]
    assert measured["set_aside"] == {}
    assert measured["steps"] == 4 * 8 * 10
    assert len(measured["noticed_s"]) <= measured["faults"].get("kill", 0)
    assert all(0 <= s < 2 for s in measured["noticed_s"])
    assert 0 < measured["goodput"] < 1.5
    assert (tmp_path / "disturbed/result.json").exists()


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ("--every 0", "--every must be above 0"),
        ("--epochs 0", "--epochs must be at least 1"),
        ("--workers 1 --faults node", "one node has to stay"),
    ],
)
def test_chaos_that_cannot_be_measured_is_refused(repo: Path, args: str, says: str) -> None:
    done = chaos(repo, *args.split())
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
