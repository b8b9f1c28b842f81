"""Features that the workers of a cluster make are those that one process makes."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.state import list_actors

from noprop_dist import TrainConfig, TrainResult, UserError, train
from noprop_dist.distributed.cluster import connected
from pets import class_folders
from runs import same, small, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(300)]

OF: dict[str, Any] = {
    "features": "torchvision:resnet18",
    "image_size": 32,
    "batch_size": 8,
    "epochs": 1,
    "num_blocks": 2,
}
CLASS = "MapWorker(Map(FeaturesActor))"


def made_features() -> list[Any]:
    """Of actors that make features, or did, what the cluster knows."""
    return [actor for actor in list_actors(limit=1000, detail=True) if actor.class_name == CLASS]


@contextmanager
def dying(most: int) -> Iterator[list[int]]:
    """As many of those actors are killed inside, whatever they are at; their process ids."""
    killed: list[int] = []
    before, over = {actor.actor_id for actor in made_features()}, Event()

    def kill() -> None:
        while len(killed) < most and not over.wait(0.1):
            for actor in made_features():
                if actor.state == "ALIVE" and actor.actor_id not in before and len(killed) < most:
                    before.add(actor.actor_id)
                    with suppress(ProcessLookupError):
                        os.kill(actor.pid, signal.SIGKILL)
                        killed.append(actor.pid)

    killer = Thread(target=kill, daemon=True)
    killer.start()
    yield killed
    over.set()
    killer.join(30)


def trained(
    place: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any
) -> tuple[TrainResult, dict[str, bytes]]:
    """A run that finds nothing in its cache of features, and what is in that afterwards."""
    cache = place / "cache"
    monkeypatch.setenv("NOPROP_CACHE", str(cache))
    result = train(small(place / "run", **(OF | changes)))
    files = [path for path in cache.rglob("*") if path.is_file()]
    return result, {str(path.relative_to(cache)): path.read_bytes() for path in files}


def test_the_cluster_makes_the_very_features_also_where_a_worker_dies(
    cluster: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """And Ray Data says nothing of its own on standard error."""
    local, here = trained(tmp_path / "local", monkeypatch)
    before = len(made_features())
    with dying(1) as killed:
        on_ray, there = trained(tmp_path / "ray", monkeypatch, executor="ray", workers=1)
    assert len(killed) == 1
    assert len(made_features()) == before + 2  # the one that died, and another
    assert there == here
    assert same(local, on_ray)
    assert capfd.readouterr().err == ""


def test_pictures_on_disk_are_read_where_the_run_is(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By actors on another node, too; what was made is found by a run without a cluster."""
    photos = str(class_folders(tmp_path / "photos"))
    monkeypatch.setattr("noprop_dist.data.decoding.MEMORY_SHARE", 0)
    node = cluster.add_node(num_cpus=1, resources={"away": 1})
    try:
        with connected(TrainConfig(device="cpu"), 0):
            (away,) = (n["NodeID"] for n in ray.nodes() if "away" in n["Resources"])
        on_ray, there = trained(
            tmp_path, monkeypatch, dataset=photos, executor="ray", resources="away=1"
        )
        assert made_features()
        assert away in {
            actor.node_id for actor in list_actors(detail=True) if actor.class_name == CLASS
        }
    finally:
        cluster.remove_node(node)
    before = len(made_features())
    again, here = trained(tmp_path, monkeypatch, dataset=photos, name="again")
    assert (here, len(made_features())) == (there, before)
    assert same(on_ray, again)


def test_cluster_that_cannot_make_them_is_told_of_in_a_sentence(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dying(99) as killed, pytest.raises(UserError) as lost:
        trained(tmp_path, monkeypatch, executor="ray", workers=1)
    assert len(killed) == 3
    assert str(lost.value).startswith("the cluster could not compute the features (")
    assert "give --executor local" in str(lost.value)
    monkeypatch.setattr("noprop_dist.distributed.cluster.FREE_S", 1.0)
    with connected(TrainConfig(device="cpu"), 0):
        holder: Any = ray.remote(lambda: time.sleep(60)).options(num_cpus=2).remote()
        wait_until(lambda: ray.available_resources().get("CPU", 0) == 0)
        with pytest.raises(UserError, match="all that the cluster has of 1 CPU is taken by other"):
            trained(tmp_path, monkeypatch, executor="ray")
        ray.cancel(holder, force=True)
    assert not (tmp_path / "run").exists()
