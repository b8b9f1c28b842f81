import json
import os
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def test_engine_benchmark_prints_what_it_measured(repo: Path) -> None:
    job = [sys.executable, str(repo / "jobs/benchmark.py"), "engine"]
    args = ["--steps", "2", "--repeats", "2", "--batch-size", "64", "--json"]
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


def scaling(repo: Path, flags: str) -> dict[str, Any]:
    """What the scaling benchmark prints, on a private cluster with a token of its own."""
    job = [sys.executable, str(repo / "jobs/benchmark.py"), "scaling", "--json"]
    environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    environment.pop("RAY_ADDRESS", None)
    done = subprocess.run(
        [*job, *flags.split()],
        capture_output=True, text=True, timeout=240, check=True, env=environment,
    )  # fmt: skip
    (line,) = done.stdout.splitlines()
    measured: dict[str, Any] = json.loads(line)
    return measured


@pytest.mark.ray
def test_scaling_benchmark_measures_workers_against_one_and_the_plain_loop(repo: Path) -> None:
    measured = scaling(repo, "--parts workers --units 1 --steps 2 --repeats 1 --batch-size 16")
    assert set(measured["workers"]) == {"1", "2"}
    assert measured["workers"]["1"]["speedup"] == 1
    assert measured["workers"]["2"]["efficiency"] == measured["workers"]["2"]["speedup"] / 2
    assert 0 < measured["workers"]["2"]["outside"] < 1
    assert measured["against_plain"] > 0


@pytest.mark.ray
def test_scaling_benchmark_keeps_timers_and_sleepers_busy(repo: Path) -> None:
    simulated = "--simulated-workers 5 --simulated-blocks 6 --unit-seconds 0.1"
    sleepers = "--sleepers 9 --sleep-seconds 0.3 --seconds 2"  # Ray warns of 9 processes on 2 cores
    measured = scaling(repo, f"--parts simulated sleepers {simulated} {sleepers}")
    assert "workers" not in measured
    assert measured["simulated"]["by_unit_seconds"]["0.1"]["share"] > 0.5
    assert measured["sleepers"]["share"] > 0.5
    assert measured["sleepers"]["units_per_s"] == pytest.approx(30, rel=0.5)


@pytest.mark.ray
def test_scaling_benchmark_counts_bytes(repo: Path) -> None:
    """A block of Fig. 6 has about two million parameters in float32, and two moments of each."""
    traffic = scaling(repo, "--parts traffic --workers 1 --steps 2 --batch-size 16")["traffic"]
    assert 20e6 < traffic["snapshot"] < 30e6
    answers = traffic["to_coordinator"] - traffic["metrics"]
    assert answers == pytest.approx(traffic["units"] * traffic["snapshot"], rel=0.01)
    assert 0 < traffic["metrics"] < 1e5
    # Sent to its worker once in two epochs, and kept there.
    assert traffic["to_workers"] == pytest.approx(traffic["snapshot"] / 2, rel=0.01)
    assert traffic["networks"] == pytest.approx(traffic["snapshot"] / 3, rel=0.05)


@pytest.mark.ray
def test_data_is_in_memory_once_for_all_workers(repo: Path) -> None:
    memory = scaling(repo, "--parts memory --data-mib 96")["memory"]
    assert len(memory["unique"]) == len(memory["little_unique"]) == 2
    assert memory["unique_growth"] < 48
    assert memory["shared_growth"] == pytest.approx(94, abs=24)  # it was read, in place


def test_gpu_benchmark_runs_where_there_is_none(repo: Path) -> None:
    job = [sys.executable, str(repo / "jobs/benchmark.py"), "gpu", "--device", "cpu"]
    size = ["--steps", "2", "--batch-size", "8", "--num-blocks", "2", "--at-once", "1", "2"]
    done = subprocess.run(
        [*job, *size, "--no-ray", "--no-resnet", "--json"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout.splitlines()[-1])
    assert [row["name"] for row in measured["rows"]] == [
        "plain eager loop", "1 at once, eager", "2 at once, eager",
    ]  # fmt: skip
    assert all(row["images_per_s"] > 0 for row in measured["rows"])
    assert measured["same_bits"]
    rates = [row["images_per_s"] for row in measured["rows"]]
    assert measured["ratio"] == max(rates[1:]) / rates[0]
