"""The comparison as a user meets it, on a private cluster of this machine."""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SMALL = (
    "--max-train-images 400 --num-blocks 2 --batch-size 32 --epochs 10 --lr 0.003 --device cpu "
    "--precision fp32 --efficiency-epochs 0 --target-accuracy 0.2 --run-dir here"
)
METHODS = ["noprop", "twin", "noprop-sequential", "single"]


def job(repo: Path, folder: Path, flags: str) -> subprocess.CompletedProcess[str]:
    """Run the job in a folder, with a cluster and a token of its own."""
    environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, str(repo / "jobs/compare.py"), *flags.split()]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=240, env=environment
    )


@pytest.mark.ray
def test_methods_are_trained_measured_and_kept(repo: Path, tmp_path: Path) -> None:
    flags = f"{SMALL} --methods {','.join(METHODS)}"
    done = job(repo, tmp_path, f"{flags} --json")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    rows: dict[str, dict[str, Any]] = {row["method"]: row for row in json.loads(line)["rows"]}
    assert list(rows) == METHODS
    assert [row["devices"] for row in rows.values()] == [2, 2, 1, 2]
    (operations,) = {row["operations"] for row in rows.values()}
    assert operations > 1e9
    for row in rows.values():
        assert min(row["test_accuracy"], row["mean_accuracy"]) > 0.3  # chance is 0.1
        assert row["seconds_per_epoch"] > 0
        assert row["images_per_s"] > 1
        assert 0 < row["seconds_to_target"] < 11 * row["seconds_per_epoch"]
        assert row["stderr"] is row["efficiency"] is None
    twin = rows["twin"]
    # All gradients of both workers, 11 steps an epoch.
    assert twin["sent_bytes"] == pytest.approx(2 * twin["reduced_bytes"], rel=0.05)
    assert rows["noprop-sequential"]["sent_bytes"] == 0
    # Two states of a block to the coordinator, with two moments of every weight; and a network of
    # two to validate.
    weights = twin["reduced_bytes"] / 11
    assert 3 * weights < rows["noprop"]["sent_bytes"] < 9 * weights
    assert twin["peak_bytes"] > 100 * 2**20
    folder = tmp_path / "here"
    assert (folder / "comparison.png").read_bytes()[:4] == b"\x89PNG"
    assert "ERROR" not in done.stderr
    assert done.stderr.count("epoch 10/10") == 3
    assert done.stderr.count("epoch 20/20") == 1  # as many operations of one block as of two

    written = {p.name: p.read_bytes() for p in (folder / "measured").iterdir()}
    again = job(repo, tmp_path, flags)
    assert again.returncode == 0, again.stderr
    assert again.stderr == ""  # nothing was trained
    assert {p.name: p.read_bytes() for p in (folder / "measured").iterdir()} == written
    for name in ("NoProp-DT", "back-propagated", "test accuracy of z_T", "here/comparison.png"):
        assert name in again.stdout


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--methods noprop,twn", "error: --methods 'twn' is unknown; did you mean twin?\n"),
        ("--batch-size 5000", "error: --batch-size 5000 is larger than the training set"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    repo: Path, tmp_path: Path, flags: str, said: str
) -> None:
    done = job(repo, tmp_path, flags)
    assert done.returncode == 2
    assert done.stderr.startswith(said)
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
