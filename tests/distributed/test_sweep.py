"""Sweeps on a cluster: trials end as they should, and none is lost whoever dies."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from ray.cluster_utils import Cluster

from noprop_dist import UserError, choice, train
from noprop_dist.tune.run_sweep import sweep
from noprop_dist.tune.sweep_options import SweepConfig
from noprop_dist.tune.sweep_results import SweepResult
from runs import events, small, steps_trained, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(240)]

STEPS = 11  # of an epoch of ``small``


def swept(
    folder: Path, space: str, samples: int, run: dict[str, Any] | None = None, **options: Any
) -> SweepResult:
    file = folder.parent / f"{folder.name}.yaml"
    file.write_text(space)
    config = small(folder, **({"executor": "ray", "num_blocks": 2} | (run or {})))
    return sweep(config, SweepConfig(space=str(file), samples=samples, **options))


def test_trials_at_once_are_what_memory_holds(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from noprop_dist.tune.on_ray import run_search

    monkeypatch.setattr(run_search, "is_private", lambda: True)
    monkeypatch.setattr(
        run_search, "free_bytes", lambda: 700 * 2**20
    )  # of one process, and a little
    at_once: list[int] = []

    def run_trials(*args: Any) -> None:
        at_once.append(args[5])

    with monkeypatch.context() as patch:
        patch.setattr(run_search, "run_trials", run_trials)
        swept(tmp_path / "one", "lr: {choice: [1e-3, 2e-3]}\n", 2)
        patch.setattr(run_search, "free_bytes", lambda: 2**31)
        swept(tmp_path / "two", "lr: {choice: [1e-3, 2e-3]}\n", 2)
    assert at_once == [1, 2]
    monkeypatch.setattr(run_search, "free_bytes", lambda: 2**28)
    with pytest.raises(UserError, match=r"and 0\.2 GiB are free: use a larger machine"):
        swept(tmp_path / "none", "lr: {choice: [1e-3, 2e-3]}\n", 2)
    assert not (tmp_path / "none/sweep.json").exists()


def trials(folder: Path) -> list[Path]:
    return sorted((folder / "trials").iterdir())


def test_bad_trials_fail_slow_ones_are_stopped_and_a_killed_process_is_replaced(
    cluster: Cluster, tmp_path: Path
) -> None:
    folder = tmp_path / "sweep"
    space = "lr: {choice: [1e-5, 3e-3, 1e30]}\n"
    killed: list[int] = []

    def kill_a_trial() -> None:
        wait_until(lambda: bool(list(folder.glob("trials/*/checkpoints/*/manifest.json"))))
        holder = (next(folder.glob("trials/*/checkpoints")).parent / ".lock").read_text()
        killed.append(int(holder.split()[1]))
        os.kill(killed[0], signal.SIGKILL)

    killer = Thread(target=kill_a_trial, daemon=True)
    killer.start()
    result = swept(folder, space, 7, {"epochs": 4}, grace_epochs=2, reduction=2)
    killer.join(60)
    assert killed
    assert result.complete
    assert sorted(row["trial"] for row in result.rows) == list(range(7))
    for row in result.rows:
        log = folder / f"trials/{row['trial']:04d}"
        if row["lr"] == 1e30:
            assert row["status"] == "failed"
            assert "became NaN or infinite" in row["reason"]
        elif row["lr"] == 3e-3:
            assert (row["status"], row["epochs_trained"]) == ("finished", 4)
            assert steps_trained(log) >= 2 * 4 * STEPS
        else:
            assert row["status"] in ("finished", "stopped")
    assert {row["status"] for row in result.rows} == {"finished", "stopped", "failed"}
    assert result.rows[0]["lr"] == 3e-3
    table = pyarrow.parquet.read_table(folder / "results.parquet")
    assert table.column("trial").to_pylist() == [row["trial"] for row in result.rows]
    assert not list(folder.glob("**/*.pkl"))
    assert not list(folder.glob("trials/*/checkpoints"))

    # The same command has nothing to do; more samples are trained, and they alone.
    done = {path: steps_trained(path) for path in trials(folder)}
    assert swept(folder, space, 7, {"epochs": 4}, grace_epochs=2, reduction=2).rows == result.rows
    more = swept(folder, space, 8, {"epochs": 4}, grace_epochs=2, reduction=2)
    assert len(more.rows) == 8
    assert {path: steps_trained(path) for path in done} == done


def test_a_killed_sweep_goes_on_after_its_folder_was_moved(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text("lr: {loguniform: [1e-3, 1e-2]}\n")

    def command(folder: Path) -> list[str]:
        options = "--max-train-images 400 --num-blocks 2 --batch-size 32 --epochs 4 --device cpu"
        space = ["--space", str(tmp_path / "space.yaml"), "--samples", "4", "--scheduler", "none"]
        job = [sys.executable, str(repo / "jobs/tune.py"), *options.split(), *space]
        return [*job, "--run-dir", str(folder)]

    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    folder = tmp_path / "sweep"
    units = random.Random(os.getpid()).randint(1, 24)  # of the 32 of the sweep
    with subprocess.Popen(
        command(folder), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as first:
        wait_until(lambda: sum(len(events(p, "unit")) for p in folder.glob("trials/*")) >= units)
        first.kill()
    ended = {path.parent.name for path in folder.glob("trials/*/outcome.json")}
    moved = tmp_path / "moved"
    wait_until(lambda: not _in_use(folder))
    folder.rename(moved)
    before = {name: steps_trained(moved / "trials" / name) for name in ended}
    done = subprocess.run(
        command(moved), env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"killed after {units} units: {done.stderr}"
    assert "4 finished" in done.stdout
    table = pyarrow.parquet.read_table(moved / "results.parquet")
    assert sorted(table.column("trial").to_pylist()) == [0, 1, 2, 3]
    assert set(table.column("epochs_trained").to_pylist()) == {4}
    assert {name: steps_trained(moved / "trials" / name) for name in ended} == before
    for path in trials(moved):  # at most what the kill took from a trial is trained again
        assert 2 * 4 * STEPS <= steps_trained(path) <= 2 * 5 * STEPS


def _in_use(folder: Path) -> bool:
    """Whether a process of a killed sweep still holds a trial."""
    import fcntl

    for path in folder.glob("trials/*/.lock"):
        with path.open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


def test_trials_with_workers_never_share_them(cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")  # no UTF-8
    space = "lr: {choice: [1e-3, 3e-3]}\n"
    run = {"epochs": 1, "num_blocks": 3}
    with pytest.raises(UserError) as caught:
        swept(folder, space, 2, run, workers_per_trial=5)
    assert str(caught.value).startswith("a trial needs 5 workers of 1 CPU each, and the")
    result = swept(folder, space, 2, run, workers_per_trial=2)
    assert [row["status"] for row in result.rows] == ["finished"] * 2
    spans = []
    for path in trials(folder):
        units = events(path, "unit")
        assert {unit["worker"] for unit in units} <= {"w0", "w1"}
        assert all(event["spare"] is False for event in events(path, "worker_started"))
        began = [unit["started"] for unit in units]
        spans.append((min(began), max(unit["started"] + unit["seconds"] for unit in units)))
    first, second = sorted(spans)
    assert first[1] < second[0]  # two CPUs: one trial after the other


def test_blocks_are_searched_by_optuna_in_the_time_given(cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    space = "lr: {loguniform: [1e-4, 1e-2]}\ndropout: {uniform: [0, 0.4]}\n"
    options = {"per_block": True, "search": "optuna", "reduction": 2}
    run = {"epochs": 2}
    first = swept(folder, space, 2, run, time_budget=0.1, **options)
    assert not first.complete
    assert first.per_block is None
    start = time.monotonic()
    result = swept(folder, space, 2, run, **options)
    assert time.monotonic() - start < 60
    assert result.complete
    assert result.per_block is not None
    assert result.per_block.blocks.keys() == {1, 2}
    assert {row["t"] for row in result.rows} == {1, 2}
    assert len(result.rows) == 4


def test_a_sweep_takes_data_and_a_block_of_one_s_own(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(
        "from torch import nn\n"
        "from noprop_dist.model.block import Block, Takes\n"
        "class Own(Block):\n"
        "    takes = Takes('vectors')\n"
        "    def __init__(self, shape):\n"
        "        super().__init__(shape)\n"
        "        self.out = nn.Linear(4 + shape.embed_dim, shape.num_classes)\n"
        "    def classify(self, z, features, generator=None, level=None):\n"
        "        return self.out(torch.cat([features.flatten(1), z], dim=1))\n"
        "import torch\n"
    )
    x = np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
    y = (x[:, 0] > 0).astype(int)
    own: dict[str, Any] = {"data": ((x[:80], y[:80]), (x[80:], y[80:])), "block": "own.py:Own"}
    config = small(tmp_path / "sweep", executor="ray", num_blocks=2, epochs=1)
    found = sweep(config, space={"lr": choice([1e-2, 3e-2])}, samples=1, **own)
    assert found.complete
    best = train(replace(found.best_config, run_dir=str(tmp_path / "best")), **own)
    assert best.config["dataset"] == "python"
    assert best.config["lr"] == found.best_config.lr
    with pytest.raises(UserError, match="block Nowhere is defined where workers"):
        sweep(config, space={"lr": choice([1e-2])}, block=type("Nowhere", (), {}))
