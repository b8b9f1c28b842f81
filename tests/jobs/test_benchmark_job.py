import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest


def test_engine_benchmark_prints_what_it_measured(repo: Path) -> None:
    job = [sys.executable, str(repo / "jobs/benchmark.py"), "engine"]
    args = ["--steps", "2", "--repeats", "2", "--batch-size", "16", "--json"]
    done = subprocess.run([*job, *args], capture_output=True, text=True, timeout=240, check=True)
    measured = json.loads(done.stdout.splitlines()[-1])
    assert len(measured["ratios"]) == 2
    assert min(measured["ratios"]) <= measured["ratio"] <= max(measured["ratios"])
    assert measured["engine"] > 0
    assert 0.2 < measured["matrix_share"] < 1


def test_bad_number_exits_with_2(repo: Path) -> None:
    job = [sys.executable, str(repo / "jobs/benchmark.py"), "engine", "--steps", "0"]
    done = subprocess.run(job, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr == "error: --steps must be at least 1, got 0.\n"


def test_sharing_benchmark_measures_every_way(repo: Path) -> None:
    job = [sys.executable, str(repo / "jobs/benchmark.py"), "sharing", "--json"]
    small = "--images 400 --epochs 2 --seeds 2 --num-blocks 2 --batch-size 64 --freeze-after 1"
    done = subprocess.run(
        [*job, *small.split()], capture_output=True, text=True, timeout=240, check=True
    )
    measured = json.loads(done.stdout.splitlines()[-1])
    assert len(measured["ways"]) == 6
    for row in measured["ways"].values():
        assert row["mean_softmax"] > 0.2  # chance is 0.1
        assert len(set(row["z_T_by_seed"])) == 2
        assert 0 < row["min_distance"] <= row["mean_distance"]
    frozen, averaged = (
        measured["ways"][way]["min_distance"]
        for way in ("averaged for 1, then frozen", "averaged every epoch")
    )
    assert frozen != averaged


@pytest.mark.ray
def test_scaling_benchmark_measures_workers_against_one_and_the_plain_loop(repo: Path) -> None:
    job = [sys.executable, str(repo / "jobs/benchmark.py"), "scaling", "--json"]
    small = "--units 1 --steps 2 --repeats 1 --batch-size 16"
    environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment.pop("RAY_ADDRESS", None)
    done = subprocess.run(
        [*job, *small.split()],
        capture_output=True, text=True, timeout=240, check=True, env=environment,
    )  # fmt: skip
    measured = json.loads(done.stdout.splitlines()[-1])
    assert set(measured["workers"]) == {"1", "2"}
    assert measured["workers"]["1"]["speedup"] == 1
    assert measured["workers"]["2"]["efficiency"] == measured["workers"]["2"]["speedup"] / 2
    assert 0 < measured["workers"]["2"]["outside"] < 1
    assert measured["against_plain"] > 0
