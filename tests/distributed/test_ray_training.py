"""Training on Ray gives the model that one process gives, whoever dies on the way."""

import json
import os
import signal
from pathlib import Path
from threading import Event, Thread

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


class Killer(Thread):
    """Kills the worker that started last each time that ``every`` more units have ended."""

    def __init__(self, folder: Path, every: int, kills: int) -> None:
        super().__init__(daemon=True)
        self.folder, self.every, self.kills = folder, every, kills
        self.killed: list[int] = []
        self.done = Event()

    def run(self) -> None:
        while len(self.killed) < self.kills and not self.done.wait(0.05):
            if not (self.folder / "events.jsonl").exists():
                continue
            if len(events(self.folder, "unit")) < self.every * (len(self.killed) + 1):
                continue
            pid = int(str(events(self.folder, "worker_started")[-1]["pid"]))
            if pid not in self.killed:
                os.kill(pid, signal.SIGKILL)
                self.killed.append(pid)


def test_killed_workers_cost_their_units_and_nothing_else(cluster: object, tmp_path: Path) -> None:
    changes = {"epochs": 12, "embedding_type": "learned"}
    local = train(config(tmp_path / "local", **changes))
    killer = Killer(tmp_path / "ray", every=8, kills=3)
    killer.start()
    ray = train(config(tmp_path / "ray", executor="ray", **changes))
    killer.done.set()
    killer.join(10)
    assert len(killer.killed) == 3
    # The last may have been idle and no longer needed: then nobody notices.
    assert len(events(tmp_path / "ray", "worker_lost")) >= 2
    assert same(local, ray)
    assert ray.set_aside == {}


def test_more_workers_than_the_cluster_holds_are_refused(cluster: object, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"5 workers of 1 CPU each do not fit .* 2 CPU and 0 GPU"):
        train(config(tmp_path / "a", executor="ray", workers=5))
    with pytest.raises(UserError, match=r"1 workers of 1 CPU and 0\.5 GPU each do not fit"):
        train(config(tmp_path / "b", executor="ray", gpus_per_worker=0.5))
    assert list(tmp_path.iterdir()) == []
