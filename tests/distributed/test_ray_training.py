"""Training on Ray gives the model that one process gives, whoever dies on the way."""

import json
import os
import signal
from pathlib import Path
from threading import Timer

import pytest

from noprop_dist import TrainConfig, TrainResult, UserError, train

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(240)]


def config(folder: Path, **changes: object) -> TrainConfig:
    values = {
        "checkpoint_dir": str(folder),
        "max_train_images": 400,
        "num_blocks": 3,
        "batch_size": 32,
        "epochs": 3,
        "quiet": True,
        "no_plots": True,
        "no_cuda": True,
    }
    return TrainConfig(**(values | changes))  # type: ignore[arg-type]


def events(folder: Path, name: str) -> list[dict[str, object]]:
    lines = (folder / "events.jsonl").read_text().splitlines()
    return [event for line in lines if (event := json.loads(line))["event"] == name]


def same(a: TrainResult, b: TrainResult) -> bool:
    return a.block_sha256 == b.block_sha256 and a.test_accuracy == b.test_accuracy


@pytest.mark.parametrize("embedding_type", ["one-hot", "learned", "prototype"])
def test_ray_and_one_process_give_the_same_model(
    cluster: object, tmp_path: Path, embedding_type: str
) -> None:
    local = train(config(tmp_path / "local", embedding_type=embedding_type))
    ray = train(config(tmp_path / "ray", embedding_type=embedding_type, executor="ray"))
    assert same(local, ray)
    units = events(tmp_path / "ray", "unit")
    assert {unit["worker"] for unit in units} == {"w0", "w1"}
    assert sum(int(str(unit["num_steps"])) for unit in units) == 3 * 3 * 11


def test_killed_workers_cost_their_units_and_nothing_else(cluster: object, tmp_path: Path) -> None:
    changes = {"epochs": 12, "embedding_type": "learned"}
    local = train(config(tmp_path / "local", **changes))
    folder = tmp_path / "ray"
    killed: list[int] = []

    def kill() -> None:
        """Kill the worker that started last, up to three times in the run."""
        started = events(folder, "worker_started") if (folder / "events.jsonl").exists() else []
        pid = int(str(started[-1]["pid"])) if started else 0
        if pid and pid not in killed:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
        if len(killed) < 3:
            again = Timer(0.3, kill)
            again.daemon = True
            again.start()

    kill()
    ray = train(config(folder, executor="ray", **changes))
    assert len(killed) >= 1
    assert len(events(folder, "worker_lost")) >= 1
    assert same(local, ray)


def test_more_workers_than_the_cluster_holds_are_refused(cluster: object, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"5 workers of 1 CPU each do not fit .* 2 CPU and 0 GPU"):
        train(config(tmp_path / "a", executor="ray", workers=5))
    with pytest.raises(UserError, match=r"1 workers of 1 CPU and 0\.5 GPU each do not fit"):
        train(config(tmp_path / "b", executor="ray", gpus_per_worker=0.5))
    assert list(tmp_path.iterdir()) == []
