import json
import subprocess
import sys
from pathlib import Path


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
    assert "--steps must be at least 1" in done.stderr
