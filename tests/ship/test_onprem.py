"""The scripts for machines with ssh, against an ssh that runs everything here."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from socket import socket

import pytest

from ship.files import tool

SSH = """#!/usr/bin/env bash
# ssh -o X -o Y HOST COMMAND...: runs the command here, in a home of the host's own.
while [[ "$1" == -* ]]; do shift 2; done
host="$1"
shift
echo "$host $*" >>"$FAKE/calls"
[ -d "$FAKE/$host" ] || { echo "no route to $host" >&2; exit 255; }
export HOME="$FAKE/$host"
exec bash -c "$*"
"""
RAY = """#!/usr/bin/env bash
# Stands in for ray start --block; its child does not end by itself.
[ "$1" = start ] || { echo "$*"; exit 0; }
echo "$*" >>"$HOME/started"
echo "$RAY_AUTH_MODE $RAY_AUTH_TOKEN_PATH" >"$HOME/environment"
[ ! -e "$HOME/broken" ] || { echo "cannot start"; exit 1; }
trap 'exit 0' TERM
sleep 300 &
echo $! >"$HOME/child"
echo "Ray runtime started."
wait
"""
PYTHON = """#!/usr/bin/env bash
case "$2" in
    *ray.init*) cat "$FAKE"/*/started | wc -l ;;
    *) cat "$HOME/versions" ;;
esac
"""
Call = Callable[..., subprocess.CompletedProcess[str]]


def put(path: Path, text: str, mode: int = 0o755) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    """Three hosts, and a file that names them."""
    for host in ("head", "one", "two"):
        put(tmp_path / host / "env/bin/ray", RAY)
        put(tmp_path / host / "env/bin/python", PYTHON)
        put(tmp_path / host / "versions", "Ray 2 Python 3 noprop-dist 1\n")
    put(tmp_path / "bin/ssh", SSH)
    put(tmp_path / "hosts", "# the head\nhead --num-cpus=0\n\none --num-gpus=2\ntwo\n")
    (tmp_path / "here").mkdir()
    return tmp_path


@pytest.fixture
def call(fake: Path, repo: Path) -> Iterator[Call]:
    """Runs a script of cluster/onprem; what it has started is gone in the end."""
    env = {
        "PATH": f"{fake}/bin:{os.environ['PATH']}",
        "FAKE": str(fake),
        "HOME": f"{fake}/here",
        "NOPROP_ENV": "env",
        "NOPROP_HEAD_IP": "192.0.2.1",
    }

    def run(name: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", str(repo / f"cluster/onprem/{name}.sh"), str(fake / "hosts")]
        return subprocess.run(
            command, env=env | more, capture_output=True, text=True, check=False, timeout=100
        )

    yield run
    for file in [*fake.glob("*/.noprop-cluster/ray.pid"), *fake.glob("*/child")]:
        if is_alive(int(file.read_text())):
            os.kill(int(file.read_text()), signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that only waits for its parent does not."""
    try:
        return " Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def pid_of(fake: Path, host: str) -> int:
    return int((fake / host / ".noprop-cluster/ray.pid").read_text())


@pytest.mark.parametrize("name", ["start", "stop", "status", "node", "common"])
def test_shellcheck_finds_nothing(repo: Path, name: str) -> None:
    folder = repo / "cluster/onprem"
    command = [tool("shellcheck"), "-x", "-P", str(folder)]
    done = subprocess.run(
        [*command, str(folder / f"{name}.sh")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_only_the_commands_are_executable(repo: Path) -> None:
    found = {p.stem for p in (repo / "cluster/onprem").glob("*.sh") if os.access(p, os.X_OK)}
    assert found == {"start", "stop", "status"}


def test_a_cluster_starts_tells_its_state_and_stops(fake: Path, call: Call) -> None:
    started = call("start")
    assert started.returncode == 0, started.stderr
    assert "3 nodes are up" in started.stdout
    assert "RAY_ADDRESS=192.0.2.1:6379" in started.stdout
    head, one, two = ((fake / host / "started").read_text() for host in ("head", "one", "two"))
    assert head == (
        "start --block --disable-usage-stats --head --node-ip-address=192.0.2.1 --port=6379 "
        "--dashboard-host=127.0.0.1 --dashboard-port=8265 --num-cpus=0\n"
    )
    assert one.endswith(" --address=192.0.2.1:6379 --num-gpus=2\n")
    assert two.endswith(" --address=192.0.2.1:6379\n")
    told = call("status")
    assert told.returncode == 0
    assert told.stdout.startswith("head: runs, as process ")
    assert told.stdout.endswith("status --address 192.0.2.1:6379\n")

    bystander = subprocess.Popen(["sleep", "300"])
    try:
        pids = [pid_of(fake, host) for host in ("head", "one", "two")]
        pids += [int((fake / host / "child").read_text()) for host in ("head", "one", "two")]
        stopped = call("stop")
        assert stopped.returncode == 0
        assert stopped.stdout == "two: stopped\none: stopped\nhead: stopped\n"  # the head last
        for pid in pids:
            wait_until_gone(pid)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
    assert call("status").returncode == 1
    assert call("stop").stdout == "two: does not run\none: does not run\nhead: does not run\n"


def test_the_token_is_private_everywhere(fake: Path, call: Call) -> None:
    assert call("start").returncode == 0
    mine = fake / "here/.noprop-cluster-token"
    token = mine.read_text()
    assert len(token) == 64
    assert mine.stat().st_mode & 0o777 == 0o600
    for host in ("head", "one", "two"):
        file = fake / host / ".noprop-cluster/token"
        assert file.read_text() == token
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o777 == 0o700
        assert (fake / host / "environment").read_text() == f"token {file}\n"
    assert token not in (fake / "calls").read_text()


def test_a_second_start_starts_nothing_twice(fake: Path, call: Call) -> None:
    assert call("start").returncode == 0
    before = pid_of(fake, "one")
    again = call("start")
    assert again.returncode == 0
    assert "one: runs already" in again.stdout
    assert pid_of(fake, "one") == before
    assert len((fake / "one/started").read_text().splitlines()) == 1


def test_hosts_of_other_versions_are_named_and_nothing_starts(fake: Path, call: Call) -> None:
    (fake / "one/versions").write_text("Ray 1 Python 3 noprop-dist 1\n")
    shutil.rmtree(fake / "two")
    done = call("start")
    assert done.returncode == 1
    assert "one: head has Ray 2 Python 3" in done.stderr
    assert "two: cannot be reached" in done.stderr
    assert not list(fake.glob("*/started"))


def test_a_node_that_does_not_start_shows_its_log(fake: Path, call: Call) -> None:
    (fake / "one/broken").touch()
    done = call("start")
    assert done.returncode == 1
    assert "one: cannot start" in done.stderr
    assert not (fake / "two/started").exists()


def test_stop_spares_a_process_that_only_has_the_number(fake: Path, call: Call) -> None:
    other = subprocess.Popen(["sleep", "300"])
    try:
        put(fake / "one/.noprop-cluster/ray.pid", f"{other.pid}\n", 0o644)
        assert "one: does not run" in call("stop").stdout
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
    assert not (fake / "one/.noprop-cluster/ray.pid").exists()


def test_stop_goes_on_past_a_host_that_is_away(fake: Path, call: Call) -> None:
    shutil.rmtree(fake / "two")
    done = call("stop")
    assert done.returncode == 1
    assert done.stdout == "two: cannot be reached\none: does not run\nhead: does not run\n"


@pytest.mark.parametrize(
    ("text", "expected"), [("# none\n", "names no host"), ("-x\n", "an option")]
)
def test_a_bad_hosts_file_is_refused(fake: Path, call: Call, text: str, expected: str) -> None:
    (fake / "hosts").write_text(text)
    done = call("start")
    assert done.returncode == 1
    assert expected in done.stderr


def free_port() -> int:
    with closing(socket()) as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.mark.slow
@pytest.mark.ray
def test_two_nodes_of_real_ray_come_and_go(fake: Path, call: Call) -> None:
    # Two nodes on one machine: ports that would be alike on two machines must differ.
    small = "--object-store-memory=100000000 --dashboard-agent-listen-port"
    hosts = f"head --num-cpus=0 {small}={free_port()}\none --num-cpus=1 {small}={free_port()}\n"
    (fake / "hosts").write_text(hosts)
    real = {
        "NOPROP_ENV": str(Path(sys.executable).parents[1]),
        "NOPROP_HEAD_IP": "127.0.0.1",
        "NOPROP_PORT": str(free_port()),
        "NOPROP_DASHBOARD_PORT": str(free_port()),
    }
    try:
        started = call("start", **real)
        assert "2 nodes are up" in started.stdout, started.stderr
        told = call("status", **real)
        assert told.returncode == 0
        assert "0.0/1.0 CPU" in told.stdout
    finally:
        pids = [pid_of(fake, host) for host in ("head", "one")]
        stopped = call("stop", **real)
    assert stopped.stdout == "one: stopped\nhead: stopped\n"
    for pid in pids:
        wait_until_gone(pid)
