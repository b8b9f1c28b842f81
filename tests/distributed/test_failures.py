"""What a run on Ray does when something breaks; each wait has a limit, each test a minute."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated.autoscaler_pb2 import DRAIN_NODE_REASON_PREEMPTION

from noprop_dist import TrainConfig, UserError, load_network, train
from noprop_dist.data import load_dataset
from noprop_dist.data.pictures import Limits
from noprop_dist.distributed.cluster import WorkerNeeds, connected
from noprop_dist.distributed.in_order import TRIES
from noprop_dist.distributed.ray_executor import RayExecutor
from noprop_dist.distributed.worker_client import BlockClient
from noprop_dist.engine.executor import Done, run_all
from noprop_dist.engine.unit import Unit, UnitResult, run_unit
from noprop_dist.record.checkpoint import sha256_of_tensors
from noprop_dist.use.on_ray.actors import predict_on_ray
from noprop_dist.use.opening import open_run
from noprop_dist.use.predict import Question
from runs import (
    Meanwhile,
    events,
    local_model,
    prepared,
    result_of,
    same,
    small,
    steps_trained,
    wait_until,
)

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(120)]


def on_ray(folder: Path, **changes: Any) -> TrainConfig:
    return small(folder, **({"executor": "ray", "workers": 2} | changes))


@contextmanager
def job(repo: Path, config: TrainConfig, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """The run in a process of its own."""
    file = Path(config.folder).with_suffix(".yaml")
    file.write_text(config.to_yaml())
    command = [sys.executable, str(repo / "jobs/train.py"), "--config", str(file)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options) as run:
        try:
            yield run
        finally:
            run.kill()


def test_spare_stands_in_for_a_worker_that_died(
    cluster: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has started before, so the unit is under way again at once, and then it waits again."""
    local = local_model(40)
    holds_it_back = tmp_path / "once"
    holds_it_back.touch()
    fault = {"at": "unit", "block": 2, "do": "kill", "once": str(holds_it_back)}
    monkeypatch.setenv("NOPROP_FAULTS", json.dumps([fault]))
    with Meanwhile(tmp_path / "ray", 3, [holds_it_back.unlink], "worker_started"):
        run = train(on_ray(tmp_path / "ray", epochs=40, save_every=20, spares=1))
    assert same(local, run)
    (lost,) = events(tmp_path / "ray", "worker_lost")
    assert lost["blocks"] == [2]
    started = {e["worker"]: e for e in events(tmp_path / "ray", "worker_started")}
    assert [e["spare"] for e in started.values()].count(True) == 1
    (spare,) = (name for name, e in started.items() if e["spare"])
    units = events(tmp_path / "ray", "unit")
    taken = next(u for u in units if u["block"] == 2 and u["started"] > lost["time"])
    assert taken["worker"] == spare
    assert taken["started"] - lost["time"] < 2  # starting a worker takes longer
    replacement = events(tmp_path / "ray", "worker_started")[-1]
    assert replacement["time"] > lost["time"]
    late = {u["worker"] for u in units if u["started"] > replacement["time"] + 1}
    assert replacement["worker"] in late
    assert spare not in late


def test_worker_that_is_told_to_end_hands_its_unit_back(cluster: object, tmp_path: Path) -> None:
    """SIGTERM to its process: nothing of what it has trained is lost or trained again."""
    local = local_model(40)
    folder = tmp_path / "ray"

    def tell() -> None:
        os.kill(events(folder, "worker_started")[-1]["pid"], signal.SIGTERM)

    with Meanwhile(folder, 6, [tell]):
        run = train(on_ray(folder, epochs=40, save_every=20, spares=0))
    assert same(local, run)
    (lost,) = events(folder, "worker_lost")
    assert (lost["blocks"], lost["reason"]) == ([], "it or its node was told to end")
    assert steps_trained(folder) == 3 * 40 * 11


def test_blocks_leave_a_node_that_is_drained(cluster: Cluster, tmp_path: Path) -> None:
    local = local_model(40)
    folder, node = tmp_path / "ray", cluster.add_node(num_cpus=2)

    def drain() -> None:
        """What ``ray drain-node`` does, and ``ray start --block`` when it gets SIGTERM."""
        deadline_ms = int(1000 * (time.time() + 60))
        asked = node.node_id, DRAIN_NODE_REASON_PREEMPTION, "a test", deadline_ms
        GcsClient(address=cluster.address).drain_node(*asked)

    try:
        with Meanwhile(folder, 3, [drain], "worker_started"):
            run = train(on_ray(folder, epochs=40, save_every=20, workers=3, spares=0))
    finally:
        cluster.remove_node(node)
    assert same(local, run)
    gone = {e["worker"] for e in events(folder, "worker_started") if e["node_id"] == node.node_id}
    lost = events(folder, "worker_lost")
    assert gone
    assert gone == {e["worker"] for e in lost}
    assert all(e["blocks"] == [] for e in lost)
    assert steps_trained(folder) == 3 * 40 * 11


def test_block_that_always_fails_is_set_aside_and_the_rest_finishes(
    cluster: object, tmp_path: Path, repo: Path
) -> None:
    faults = json.dumps([{"at": "unit", "block": 2, "step": 15, "do": "fail"}])
    environment = os.environ | {"NOPROP_FAULTS": faults}
    with job(repo, on_ray(tmp_path / "run"), env=environment) as run:
        assert run.wait(60) == 2
        assert run.stderr is not None
        said = run.stderr.read()
    assert "1 of 3 blocks failed (block 2: it failed 3 times in a row" in said
    result = result_of(tmp_path / "run")
    assert set(result["set_aside"]) == {"2"}
    assert "a fault armed for block 2" in result["set_aside"]["2"]
    assert set(result["block_sha256"]) == {"1", "3"}
    images = load_dataset("digits").test.take(np.arange(5))[0]
    assert len(load_network(tmp_path / "run").predict(images).labels) == 5


def test_killed_coordinator_costs_what_was_not_saved(
    cluster: object, tmp_path: Path, repo: Path
) -> None:
    changes = {"epochs": 12, "embedding_type": "learned", "workers": 1}
    local = local_model(12, "learned")
    folder = tmp_path / "run"
    with job(repo, on_ray(folder, **changes)) as run:
        wait_until(lambda: len(events(folder, "checkpoint")) >= 2)
        run.kill()
    trained = steps_trained(folder)
    assert trained < 3 * 12 * 11
    with job(repo, on_ray(folder, **changes)) as run:
        assert run.wait(90) == 0
    (_, again) = events(folder, "run_started")
    assert 0 < sum(again["steps"].values()) <= trained
    assert result_of(folder)["block_sha256"] == local.block_sha256


def test_checkpoint_writer_that_dies_leaves_the_one_before(
    cluster: object, tmp_path: Path, repo: Path
) -> None:
    """The coordinator dies between two files of its second checkpoint."""
    folder = tmp_path / "run"
    options = on_ray(folder, epochs=4, embedding_type="learned", val_fraction=0)
    first = 3 * (400 // 32)
    fault = {"at": "checkpoint", "block": 2, "do": "kill", "once": str(tmp_path / "once")}
    faults = json.dumps([fault | {"step": 2 * first}, fault | {"step": 3 * first}])
    with job(repo, options, env=os.environ | {"NOPROP_FAULTS": faults}) as run:
        assert run.wait(60) == -signal.SIGKILL
    saved = events(folder, "checkpoint")
    with job(repo, options) as run:
        assert run.wait(60) == 0
    (_, again) = events(folder, "run_started")
    assert again["checkpoint"] == saved[-1]["name"]
    local = train(small(tmp_path / "local", epochs=4, embedding_type="learned", val_fraction=0))
    assert result_of(folder)["block_sha256"] == local.block_sha256


def test_full_disk_ends_the_run_in_one_sentence(
    cluster: object, tmp_path: Path, repo: Path
) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    with job(repo, on_ray(tmp_path / "run", epochs=50), preexec_fn=small_files) as run:
        assert run.wait(60) == 2
        assert run.stderr is not None
        said = run.stderr.read().splitlines()
    assert "cannot be written to" in said[-1]
    assert "free some space" in said[-1]


@ray.remote(num_cpus=0)
class Owner:
    """What it puts into the store is lost when it dies."""

    def put(self, value: object) -> list[object]:
        return [ray.put(value)]


def test_data_that_the_store_has_lost_is_put_again(
    cluster: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, splits, rounds = prepared()
    with connected(made.config, 0) as needs:
        owner: Any = Owner.remote()
        with monkeypatch.context() as lost:
            lost.setattr(ray, "put", lambda value: ray.get(owner.put.remote(value))[0])
            client = BlockClient(made, splits)
        ray.kill(owner)
        with RayExecutor(client, needs, limit=1) as executor:
            (first,) = run_all(executor, [Unit(rounds.latest[1], 2)])
    whole = run_unit(Unit(rounds.latest[1], 2), made, splits.train, torch.device("cpu"))
    assert isinstance(first, UnitResult)
    assert sha256_of_tensors(first.snapshot.tensors) == sha256_of_tensors(whole.snapshot.tensors)


def test_snapshot_lost_with_its_node_is_trained_again(cluster: Cluster, tmp_path: Path) -> None:
    """The unit has ended, its result lies in the store of a node, and the node dies."""
    made, splits, rounds = prepared()
    node = cluster.add_node(num_cpus=1, resources={"doomed": 1})
    try:
        with (
            connected(made.config, 0),
            RayExecutor(
                BlockClient(made, splits), WorkerNeeds(resources={"doomed": 1}), limit=1
            ) as executor,
        ):
            executor.wait_for_workers(1)
            executor.submit(Unit(rounds.latest[1], 2))
            time.sleep(2)
            cluster.remove_node(node, allow_graceful=False)
            node = cluster.add_node(num_cpus=1, resources={"doomed": 1})
            done: list[Done] = []
            wait_until(lambda: bool(done.extend(executor.wait(0.5)) or done))
            assert isinstance(done[0].result, UnitResult)
            assert done[0].result.snapshot.step == 2
    finally:
        cluster.remove_node(node)


def test_as_many_workers_as_blocks_keep_their_blocks(cluster: Cluster, tmp_path: Path) -> None:
    local = local_model(20)
    node = cluster.add_node(num_cpus=1)
    try:
        run = train(on_ray(tmp_path / "ray", epochs=20, save_every=20, workers=3, spares=0))
    finally:
        cluster.remove_node(node)
    assert same(local, run)
    units = events(tmp_path / "ray", "unit")
    late = {(u["worker"], u["block"]) for u in units[len(units) // 2 :]}
    assert len(late) == len({worker for worker, _ in late}) == 3


def test_two_blocks_at_once_in_one_worker(cluster: object, tmp_path: Path) -> None:
    local = local_model(3)
    run = train(on_ray(tmp_path / "ray", workers=1, blocks_per_worker=2))
    assert same(local, run)
    assert {u["worker"] for u in events(tmp_path / "ray", "unit")} == {"w0"}


def test_folder_of_a_live_run_is_refused(cluster: object, tmp_path: Path, repo: Path) -> None:
    folder = tmp_path / "run"
    with job(repo, on_ray(folder, epochs=500, workers=1)) as run:
        wait_until(lambda: len(events(folder, "unit")) > 0)
        with pytest.raises(UserError, match=rf"in use by a live run \(process {run.pid} on"):
            train(on_ray(folder, epochs=500, workers=1))


def test_picture_that_kills_whoever_reads_it_is_given_up(
    cluster: Cluster, pictured_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dies:
        def __init__(self, *_: object) -> None:
            pass

        def __call__(self, row: dict[str, str]) -> dict[str, str]:
            (tmp_path / str(os.getpid())).touch()
            os._exit(1)

    monkeypatch.setattr("noprop_dist.use.on_ray.actors.PredictorActor", Dies)
    run = open_run(str(pictured_run), "cpu")
    question = Question("z_T", 1, 1, 0, Limits(2**20, 2**20))
    with pytest.raises(UserError, match="the cluster could not classify the pictures"):
        list(predict_on_ray(run, question, [["a.png"]]))
    assert len(list(tmp_path.iterdir())) == TRIES
