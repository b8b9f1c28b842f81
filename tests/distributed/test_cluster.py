"""What is looked at before a cluster is joined, and what is seen of a run on it."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import ray
import torch
from ray.cluster_utils import Cluster

from noprop_dist import TrainConfig, UserError, train
from noprop_dist.distributed.cluster import WorkerNeeds, connected
from noprop_dist.distributed.ray_backend import RayBackend
from noprop_dist.engine.cost import WORKER_BYTES
from runs import events, prepared, small, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(120)]


def on_ray(folder: Path, **changes: Any) -> TrainConfig:
    return small(folder, **({"executor": "ray"} | changes))


def refused(config: TrainConfig) -> str:
    """The sentence, which must come within ten seconds."""
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        train(config)
    assert time.monotonic() - start < 10
    return str(caught.value)


def test_address_where_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        said = refused(on_ray(tmp_path / "run"))
        assert said.startswith(f"no Ray cluster can be reached at RAY_ADDRESS={address} (")
        listener.listen()  # it is there, and says nothing
        assert "does not answer as Ray does" in refused(on_ray(tmp_path / "run"))
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:10001")
    assert "give host:port of the head node" in refused(on_ray(tmp_path / "run"))
    assert list(tmp_path.iterdir()) == []


def test_other_versions_on_the_cluster(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = ray.__version__
    monkeypatch.setattr(ray, "__version__", "2.1.0")
    said = refused(on_ray(tmp_path / "run"))
    assert f"runs other versions (Ray {there} there, 2.1.0 here)" in said
    monkeypatch.undo()
    monkeypatch.setattr("platform.python_version", lambda: "3.10.1")
    assert "there, 3.10.1 here" in refused(on_ray(tmp_path / "run"))


@pytest.mark.parametrize(
    "token", [{"RAY_AUTH_TOKEN": "0" * 64}, {"RAY_AUTH_MODE": "disabled"}], ids=["wrong", "none"]
)
def test_token_that_the_cluster_does_not_accept(
    cluster: Cluster, tmp_path: Path, repo: Path, token: dict[str, str]
) -> None:
    (tmp_path / "c.yaml").write_text(on_ray(tmp_path / "run").to_yaml())
    command = [sys.executable, str(repo / "jobs/train.py"), "--config", str(tmp_path / "c.yaml")]
    done = subprocess.run(
        command, env=os.environ | token, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "does not accept this process's token: export RAY_AUTH_MODE=token" in done.stderr


def test_data_larger_than_the_object_store(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the data takes 1,000 MiB and the smallest object store"):
        connected(on_ray(tmp_path), 1000 * 2**20).__enter__()
    assert not ray.is_initialized()


def test_resources_that_no_node_has(cluster: Cluster, tmp_path: Path) -> None:
    said = refused(on_ray(tmp_path / "run", resources="a100=0.5"))
    assert "1 worker of 1 CPU and 0.5 a100 each do not fit the cluster, whose 1 node has" in said
    node = cluster.add_node(num_cpus=1, resources={"a100": 1})
    try:
        with connected(on_ray(tmp_path), 0):
            (right,) = (n["NodeID"] for n in ray.nodes() if n["Alive"] and "a100" in n["Resources"])
            train(on_ray(tmp_path / "run", resources="a100=0.5", epochs=1, num_blocks=1))
    finally:
        cluster.remove_node(node)
    assert {e["node_id"] for e in events(tmp_path / "run", "worker_started")} == {right}


def test_gpu_that_no_node_has_is_asked_for_by_device(cluster: Cluster, tmp_path: Path) -> None:
    said = refused(on_ray(tmp_path / "run", device="cuda"))
    assert said.startswith(
        "--device cuda needs a GPU, and Ray finds none on its 1 node: give --device cpu"
    )


def test_spares_and_gpus_do_not_go_together(cluster: Cluster, tmp_path: Path) -> None:
    said = refused(on_ray(tmp_path / "run", device="auto", gpus_per_worker=1.0, spares=1))
    assert said.startswith("--spares 1 has no meaning with GPUs")


def test_devices_taken_by_another_job(cluster: Cluster, tmp_path: Path) -> None:
    with connected(on_ray(tmp_path), 0):
        holder: Any = ray.remote(lambda: time.sleep(60)).options(num_cpus=2).remote()
        wait_until(lambda: ray.available_resources().get("CPU", 0) == 0)
        said = refused(on_ray(tmp_path / "run"))
        ray.cancel(holder, force=True)
    assert said.startswith("all that the cluster has of 1 CPU is taken by other jobs")


def test_metrics_by_block_are_there_for_prometheus(cluster: Cluster, tmp_path: Path) -> None:
    """While the run is on, on the page of its node that Prometheus reads."""
    wanted = {f"noprop_block_{name}" for name in ("loss", "images_per_s", "units", "restarts")}
    wanted.add('block="3"')  # it may begin after the others
    missing = [wanted]

    def read() -> None:
        (node,) = (n for n in ray.nodes() if n["Alive"])
        url = f"http://127.0.0.1:{node['MetricsExportPort']}/metrics"
        while missing[-1] and not over:
            with urllib.request.urlopen(url, timeout=10) as page:
                lines = [x for x in page.read().decode().splitlines() if "noprop_block" in x]
            missing.append({name for name in wanted if not any(name in x for x in lines)})
            time.sleep(0.5)

    over: list[bool] = []
    with connected(on_ray(tmp_path), 0):
        reader = Thread(target=read)
        reader.start()
        train(on_ray(tmp_path / "run", epochs=20))
        over.append(True)
        reader.join(30)
    assert not missing[-1]


def memory_of(monkeypatch: pytest.MonkeyPatch, *, private: bool, gib: float) -> tuple[int, int]:
    """What a run of ten blocks needs on two workers of one machine, and what is free there."""
    job, _, _ = prepared(num_blocks=10)
    node = {"Alive": True, "Resources": {"CPU": 2, "memory": gib * 2**30}}
    monkeypatch.setattr("noprop_dist.distributed.ray_backend.free_bytes", lambda: int(gib * 2**30))
    monkeypatch.setattr("noprop_dist.distributed.ray_backend.live_nodes", lambda: [node])
    monkeypatch.setattr("noprop_dist.distributed.ray_backend.count_slots", lambda _: 2)
    site = RayBackend(WorkerNeeds(), torch.device("cpu"), "fp32", private)
    return site.memory(job.config, job.spec, data_bytes=2**20)


@pytest.mark.parametrize("private", [True, False])
def test_workers_of_one_machine_are_counted_together(
    monkeypatch: pytest.MonkeyPatch, private: bool
) -> None:
    needed, free = memory_of(monkeypatch, private=private, gib=4)
    assert 2 * WORKER_BYTES < needed < free == 4 * 2**30
    # Ray's own processes count where the cluster is the run's own.
    gib = 1.5 if private else 0.9
    with pytest.raises(UserError, match=rf"and {gib} GiB are free: give --workers 1"):
        memory_of(monkeypatch, private=private, gib=gib)


def test_no_more_units_run_at_once_than_there_are_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    job, _, _ = prepared(num_blocks=3, blocks_per_worker=2)
    monkeypatch.setattr("noprop_dist.distributed.ray_backend.count_slots", lambda _: 2)
    backend = RayBackend(WorkerNeeds(), torch.device("cpu"), "fp32", True)
    assert backend.slots(job.config, job.spec) == 3
