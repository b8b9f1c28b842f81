"""Runs whose folder is in an object store, on a real S3 server of this machine."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noprop_dist import TrainConfig, TrainResult, train
from noprop_dist.cli import main
from noprop_dist.errors import UserError
from noprop_dist.record import remote, store
from noprop_dist.record.checkpoint import load_newest
from noprop_dist.record.events import read_events
from noprop_dist.record.lock import LockTimes
from noprop_dist.record.store import Store
from noprop_dist.run_files import CHECKPOINTS
from runs import SMALL, small, wait_until
from s3_server import Breaker, Fault, Server, environment, proxy, s3_server

LIMIT_S = 30  # for a sentence, however the store fails


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as found:
        yield found


def use(patch: pytest.MonkeyPatch, endpoint: str, **changes: str) -> None:
    """Let this process know the server; nobody else writes a lock at the same time as it."""
    patch.setattr(store, "DEFAULT_TIMES", replace(store.DEFAULT_TIMES, settle=0.1))
    for name, value in environment(endpoint, **changes).items():
        patch.setenv(name, value)


@pytest.fixture(autouse=True)
def direct(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, server.endpoint)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """The same run in a folder of this machine."""
    return train(small(tmp_path_factory.mktemp("local") / "run"))


@pytest.fixture(scope="module")
def there(server: Server) -> TrainResult:
    """A run in the store, finished; not to be written to."""
    with pytest.MonkeyPatch.context() as patch:
        use(patch, server.endpoint)
        return train(remote_run("whole"))


def uri_of(name: str) -> str:
    return f"s3://bucket/runs/{name}"


def remote_run(name: str) -> TrainConfig:
    return TrainConfig(run_dir=uri_of(name), **SMALL)


def command(name: str) -> list[str]:
    """The same as ``remote_run``, for the command line."""
    flags = ["--quiet", "--no-plots", "--device=cpu", "--executor=local"]
    flags += [f"--{k.replace('_', '-')}={v}" for k, v in SMALL.items() if type(v) is int]
    return ["train", *flags, f"--run-dir={uri_of(name)}"]


def manifests(server: Server, name: str) -> list[Path]:
    return sorted(server.place(uri_of(name)).glob("checkpoints/*/manifest.json"))


def starts(name: str) -> list[str | None]:
    """The checkpoint that each session began with."""
    events = read_events(Store(uri_of(name)))
    return [e["checkpoint"] for e in events if e["event"] == "run_started"]


def one_sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """What a command that failed says last, and nothing of a traceback."""
    said = capsys.readouterr().err
    assert "Traceback" not in said
    last = said.strip().splitlines()[-1]
    assert last.startswith("error: ")
    return last


def test_run_leaves_the_files_and_the_weights_of_a_local_one(
    server: Server, here: TrainResult, there: TrainResult
) -> None:
    assert there.block_sha256 == here.block_sha256
    assert there.test_accuracy == here.test_accuracy
    found = server.files(there.folder)
    folder = Path(here.folder)
    local = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {".lock"}
    top = {name for name in local if not name.startswith(CHECKPOINTS)}
    assert {name for name in found if not name.startswith(CHECKPOINTS)} == top
    names = Store(there.folder).list(CHECKPOINTS)
    assert len(names) == len(Store(here.folder).list(CHECKPOINTS)) == 1
    assert load_newest(Store(there.folder)).name == names[-1]  # type: ignore[union-attr]
    log = read_events(Store(there.folder))
    assert sum(e["num_steps"] for e in log if e["event"] == "unit") == 3 * 3 * 11
    assert not (server.place(there.folder) / ".lock").exists()


def test_run_killed_in_an_upload_goes_on_with_the_same_command(
    server: Server, here: TrainResult, tmp_path: Path
) -> None:
    marker = tmp_path / "not-yet"
    marker.touch()
    fault = {"at": "checkpoint", "block": 2, "do": "kill", "once": str(marker)}
    surroundings = os.environ | {"NOPROP_FAULTS": json.dumps([fault])}
    process = subprocess.Popen(
        [sys.executable, "-m", "noprop_dist", *command("killed")], env=surroundings
    )
    with process:
        try:
            wait_until(lambda: bool(manifests(server, "killed")))
            marker.unlink()  # the next checkpoint dies after its first block
            assert process.wait(60) == -9
        finally:
            process.kill()
    whole = [path.parent.name for path in manifests(server, "killed")]
    assert len(Store(uri_of("killed")).list(CHECKPOINTS)) > len(whole)
    server.forget_holder(uri_of("killed"))
    result = train(remote_run("killed"))
    assert result.block_sha256 == here.block_sha256
    assert starts("killed") == [None, whole[-1]]


def test_second_run_on_one_folder_is_refused(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    with Store(uri_of("held")).lock(times=LockTimes(renew=0.5, stale=60, settle=0.2)):
        assert main(command("held")) == 2
    said = one_sentence(capsys)
    assert f"{uri_of('held')} is in use by a live run (process {os.getpid()} on " in said
    assert server.files(uri_of("held")) == []


class Outage:
    """From the second checkpoint on: uploads of block 2 break off halfway, then all is refused."""

    def __init__(self, server: Server, name: str, cuts: int, refusals: float) -> None:
        self._server, self._name = server, name
        self._left: dict[Fault, float] = {"cut": cuts, "503": refusals}

    def __call__(self, method: str, path: str) -> Fault:
        if not manifests(self._server, self._name):
            return "none"
        if self._left["cut"]:
            second = method == "PUT" and "block-002" in path
            self._left["cut"] -= second
            return "cut" if second else "none"
        if self._left["503"] > 0:
            self._left["503"] -= 1
            return "503"
        return "none"


def test_run_outlives_a_store_that_is_out_for_a_while(
    server: Server,
    here: TrainResult,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    breaker = Breaker(Outage(server, "brief", cuts=2, refusals=4))
    with proxy(server, breaker) as endpoint, monkeypatch.context() as patch:
        use(patch, endpoint)
        patch.setattr(remote, "ATTEMPTS", 1)  # those of the library, which waits for longer
        patch.setattr(remote, "AGAIN_S", 0.2)
        result = train(remote_run("brief"))
    assert (breaker.done.count("cut"), breaker.done.count("503")) == (2, 4)
    assert result.block_sha256 == here.block_sha256
    assert f"{uri_of('brief')} is out (" in capsys.readouterr().err
    newest = load_newest(Store(uri_of("brief")))
    assert newest is not None
    assert newest.problems == ()
    assert starts("brief") == [None]


def test_run_ends_in_a_sentence_when_the_store_stays_out_and_goes_on_later(
    server: Server,
    here: TrainResult,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "long"
    breaker = Breaker(Outage(server, name, cuts=1, refusals=float("inf")))
    with proxy(server, breaker) as endpoint, monkeypatch.context() as patch:
        use(patch, endpoint)
        patch.setattr(remote, "ATTEMPTS", 1)
        patch.setattr(remote, "PATIENCE_S", 0.3)
        assert main(command(name)) == 2
    assert "cut" in breaker.done
    assert f"{uri_of(name)} cannot be " in one_sentence(capsys)
    (whole,) = [path.parent.name for path in manifests(server, name)]
    assert Store(uri_of(name)).list(CHECKPOINTS)[-1] > whole  # what was begun is still there
    newest = load_newest(Store(uri_of(name)))
    assert newest is not None
    assert newest.name == whole
    assert len(newest.problems) == 1  # the torn one is passed over, and it is said
    server.forget_holder(uri_of(name))
    assert main(command(name)) == 0
    assert starts(name) == [None, whole]
    after = load_newest(Store(uri_of(name)))
    assert after is not None
    assert after.name > whole
    assert after.problems == ()
    result = json.loads(Store(uri_of(name)).read("result.json"))
    assert result["block_sha256"] == here.block_sha256


@pytest.mark.parametrize(
    ("uri", "changes", "says"),
    [
        ("s3://bucket/run", {"secret": "wrong"}, "cannot be reached .*ACCESS_DENIED"),
        ("s3://no-bucket/run", {}, "cannot be written to .*bucket does not exist"),
        ("s3://bucket/run", {"endpoint": "http://127.0.0.1:1"}, "cannot be reached .*connect"),
        ("s3:///run", {}, "no usable URI"),
        ("s3://bucket/run?what=1", {}, "no usable URI"),
        (
            "gs://anonymous@bucket/run?endpoint_override=127.0.0.1:1&scheme=http"
            "&retry_limit_seconds=1",
            {},
            "cannot be reached .*connect",
        ),
    ],
    ids=["secret", "bucket", "server", "no bucket", "option", "google"],
)
def test_store_that_cannot_be_used_is_told_in_a_sentence(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    uri: str,
    changes: dict[str, str],
    says: str,
) -> None:
    use(monkeypatch, **({"endpoint": server.endpoint} | changes))
    began = time.monotonic()
    assert main([*command("x")[:-1], f"--run-dir={uri}"]) == 2
    assert time.monotonic() - began < LIMIT_S
    assert re.search(says, one_sentence(capsys))


def test_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SILENT_S", 1.0)
    monkeypatch.setattr(remote, "ATTEMPTS", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(UserError, match=r"cannot be reached .*too slow"):
            Store("s3://bucket/run").exists("result.json")
    assert time.monotonic() - began < LIMIT_S


def test_network_of_the_store_is_used_and_what_comes_out_is_kept_there(
    server: Server,
    there: TrainResult,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    newest = Store(there.folder).list(CHECKPOINTS)[-1]
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    query = f"?scheme=http&endpoint_override={server.endpoint.removeprefix('http://')}"
    run = there.folder + query
    assert main(["evaluate", run, "--json"]) == 0
    evaluation = json.loads(capsys.readouterr().out)
    assert evaluation["accuracy_after_t"] == there.accuracy_after_t
    assert "evaluation.json" in server.files(there.folder)
    assert main(["visualize", run]) == 0
    assert "plots/timeline.png" in server.files(there.folder)
    picture = tmp_path / "picture.png"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(picture)
    for name in (there.folder, f"{there.folder}/model", f"{there.folder}/{CHECKPOINTS}/{newest}"):
        assert main(["predict", name + query, str(picture)]) == 0
        assert str(picture) in capsys.readouterr().out


@pytest.mark.ray
@pytest.mark.timeout(240)
def test_sweep_is_searched_and_kept_in_the_store(
    server: Server, repo: Path, tmp_path: Path
) -> None:
    (tmp_path / "space.yaml").write_text("lr: {loguniform: [1e-3, 1e-2]}\n")
    uri = "s3://bucket/sweep"
    options = "--max-train-images 400 --num-blocks 2 --batch-size 32 --epochs 2 --device cpu"
    search = f"--space {tmp_path}/space.yaml --samples 3 --max-concurrent 2 --run-dir {uri}"
    done = subprocess.run(
        [sys.executable, str(repo / "jobs/tune.py"), *options.split(), *search.split()],
        env={k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"},
        cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = server.files(uri)
    assert {"best_config.yaml", "results.csv", "results.parquet", "sweep.json"} <= set(files)
    assert [f"trials/{n:04d}/outcome.json" in files for n in range(3)] == [True] * 3
    assert not [name for name in files if name.startswith("tune/") or name.endswith(".pkl")]
