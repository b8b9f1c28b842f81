"""Training on Ray gives the model that one process gives, whoever dies on the way."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from noprop_dist import UserError, train
from noprop_dist.plan import dry_run
from runs import (
    Meanwhile,
    events,
    local_model,
    result_of,
    same,
    shuffled_order,
    small,
    steps_trained,
    wait_until,
)

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(240)]

LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F"}  # 127.0.0.1, and as an IPv6 address


# Long enough for workers and nodes to come and go, and little to write.
LONG: dict[str, Any] = {"epochs": 40, "save_every": 20}
EMBEDDINGS = pytest.mark.parametrize("embedding_type", ["one-hot", "learned", "prototype"])


@pytest.mark.parametrize(
    ("embedding_type", "objective"),
    [
        ("one-hot", "dt"),
        ("learned", "dt"),
        ("prototype", "dt"),
        ("one-hot", "ct"),
        ("learned", "fm"),
        ("prototype", "ranges"),
        ("one-hot", "none"),
    ],
)
def test_ray_and_one_process_give_the_same_model(
    cluster: object, tmp_path: Path, embedding_type: str, objective: str
) -> None:
    local = local_model(3, embedding_type, objective)
    kind = {"embedding_type": embedding_type, "objective": objective}
    options = small(tmp_path / "ray", executor="ray", **kind)
    with shuffled_order():
        ray = train(options)
    assert same(local, ray)
    assert {unit["worker"] for unit in events(tmp_path / "ray", "unit")} <= {"w0", "w1"}
    assert steps_trained(tmp_path / "ray") == 3 * 3 * 11


@pytest.mark.usefixtures("short_tries")
def test_a_dry_run_tries_blocks_on_the_workers(cluster: object, tmp_path: Path) -> None:
    told = dry_run(small(tmp_path / "ray", executor="ray"))
    assert told["units_at_once"] == 2
    parts = told["starting_seconds"] + told["evaluation_seconds"]
    assert told["estimated_seconds"] > parts > told["starting_seconds"] > 0
    assert list(tmp_path.iterdir()) == []


def test_killed_workers_cost_their_units_and_nothing_else(cluster: object, tmp_path: Path) -> None:
    """Killed from outside, whatever they are at."""
    local = local_model(40)
    killed: list[int] = []

    def kill() -> None:
        while (pid := meanwhile.pid_of_newest_worker()) in killed and not meanwhile.over.is_set():
            time.sleep(0.05)
        killed.append(pid)
        os.kill(pid, signal.SIGKILL)

    with Meanwhile(tmp_path / "ray", 8, [kill, kill, kill]) as meanwhile:
        ray = train(small(tmp_path / "ray", executor="ray", **LONG))
    assert meanwhile.num_done == 3
    # The last may have been idle and no longer needed: then nobody notices.
    assert len(events(tmp_path / "ray", "worker_lost")) >= 2
    assert same(local, ray)
    assert ray.set_aside == {}


@EMBEDDINGS
def test_workers_killed_within_a_step_cost_their_units_and_nothing_else(
    cluster: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedding_type: str
) -> None:
    """A unit of every block dies once, at its start, in its middle or at its end."""
    steps = {1: 12, 2: 28, 3: 44}
    faults = [
        {"at": "unit", "block": t, "step": step, "do": "kill", "once": str(tmp_path / f"{t}")}
        for t, step in steps.items()
    ]
    monkeypatch.setenv("NOPROP_FAULTS", json.dumps(faults))
    ray = train(small(tmp_path / "ray", executor="ray", epochs=5, embedding_type=embedding_type))
    lost = [t for event in events(tmp_path / "ray", "worker_lost") for t in event["blocks"]]
    assert sorted(lost) == [1, 2, 3]
    monkeypatch.delenv("NOPROP_FAULTS")
    assert same(local_model(5, embedding_type), ray)
    assert ray.set_aside == {}


def test_stopped_worker_holds_no_other_block_back(cluster: object, tmp_path: Path) -> None:
    """Fixed embeddings: while one worker sleeps, the others train on, several epochs ahead."""
    local = local_model(40)
    seen: list[int] = []

    def stop_for_a_while() -> None:
        pid = meanwhile.pid_of_newest_worker()
        os.kill(pid, signal.SIGSTOP)
        try:
            before = meanwhile.count()
            wait_until(lambda: meanwhile.count() - before > 5)
            seen.append(meanwhile.count() - before)
        finally:
            os.kill(pid, signal.SIGCONT)

    with Meanwhile(tmp_path / "ray", 8, [stop_for_a_while]) as meanwhile:
        ray = train(small(tmp_path / "ray", executor="ray", **LONG))
    assert seen, "the others waited"  # a barrier would let through two units at most
    assert same(local, ray)


@contextmanager
def stopped(folder: Path) -> Iterator[None]:
    """All workers of a run that have not been lost sleep."""
    lost = {event["worker"] for event in events(folder, "worker_lost")}
    pids = [e["pid"] for e in events(folder, "worker_started") if e["worker"] not in lost]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_run_goes_on_when_nodes_join_and_leave(
    cluster: Cluster, tmp_path: Path, repo: Path
) -> None:
    """In a process of its own: nodes can be made from a main thread alone."""
    local = local_model(40)
    folder = tmp_path / "ray"
    command = [sys.executable, str(repo / "jobs/train.py"), "--config", "c.yaml"]
    options = small(folder, executor="ray", **LONG)
    (tmp_path / "c.yaml").write_text(options.to_yaml())

    def there(node: Any) -> set[str]:
        """The regular workers of a node."""
        started = events(folder, "worker_started")
        return {e["worker"] for e in started if e["node_id"] == node.node_id and not e["spare"]}

    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL) as run:
        try:
            wait_until(lambda: len(events(folder, "unit")) >= 8)
            with stopped(folder):  # the run does not end before the new node is there
                node = cluster.add_node(num_cpus=1)
                try:
                    wait_until(lambda: len(there(node)) == 1, 20)
                except BaseException:
                    cluster.remove_node(node)
                    raise
            wait_until(lambda: bool(there(node) & {e["worker"] for e in events(folder, "unit")}))
            cluster.remove_node(node, allow_graceful=False)
            assert run.wait(150) == 0
        finally:
            run.kill()
    assert there(node) <= {event["worker"] for event in events(folder, "worker_lost")}
    assert result_of(folder)["block_sha256"] == local.block_sha256


def test_more_workers_than_the_cluster_holds_are_refused(cluster: Cluster, tmp_path: Path) -> None:
    cluster.wait_for_nodes(60)  # one that a test before has killed may not be missed yet
    with pytest.raises(
        UserError, match=r"5 workers of 1 CPU each do not fit .* has 2 CPU and holds 2"
    ):
        train(small(tmp_path / "a", executor="ray", workers=5))
    with pytest.raises(UserError, match=r"1 worker of 1 CPU and 0\.5 GPU each do not fit"):
        train(small(tmp_path / "b", executor="ray", gpus_per_worker=0.5, device="auto"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_private_cluster_is_on_loopback_and_gone_in_the_end(
    tmp_path: Path, repo: Path, number: signal.Signals
) -> None:
    """A process of its own, whose Ray is nobody else's; Ctrl-C or a closed terminal ends both."""
    options = small(tmp_path / "run", epochs=2000, executor="ray")
    (tmp_path / "c.yaml").write_text(options.to_yaml())
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    long = tmp_path / ("too-long-for-a-socket" * 5)
    long.mkdir()
    command = [sys.executable, str(repo / "jobs/train.py"), "--config", "c.yaml"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment | {"TMPDIR": str(long)},
        start_new_session=True, stderr=subprocess.DEVNULL,
    ) as run:  # fmt: skip
        try:
            wait_until(lambda: len(events(tmp_path / "run", "unit")) > 3)
            workers = [e["pid"] for e in events(tmp_path / "run", "worker_started")]
            addresses = listening_addresses(workers[0])
            assert addresses
            assert addresses <= LOOPBACK
            variables = Path(f"/proc/{workers[0]}/environ").read_text().split("\0")
            (place,) = (Path(v[11:]) for v in variables if v.startswith("RAY_TMPDIR="))
            assert stat.S_IMODE(place.stat().st_mode) == 0o700
            os.killpg(run.pid, number)  # as a terminal does: all of the group get it
            assert run.wait(60) == 130
        finally:
            run.kill()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 10)
    assert events(tmp_path / "run", "checkpoint")
    assert not place.exists()


def listening_addresses(pid: int) -> set[str]:
    """Where a process listens for TCP connections, as the kernel writes it."""
    links = {str(fd.readlink()) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in links:
                found.add(local.split(":")[0])
    return found
