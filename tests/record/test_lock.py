import io
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import IO, Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from noprop_dist.errors import UserError
from noprop_dist.record import lock
from noprop_dist.record.lock import LockTimes
from noprop_dist.record.store import Store

PATIENT = LockTimes(renew=0.1, stale=60, settle=0.1)  # a test that waits for it fails
HASTY = LockTimes(renew=0.2, stale=1.5, settle=0.1)
NO_THREAD = LockTimes(renew=1000, stale=3000, settle=0.1)


class Upload(io.BytesIO):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = Path(path)

    def close(self) -> None:
        if not self.closed:
            temporary = self._path.with_name(f"{uuid.uuid4().hex}.tmp")
            temporary.write_bytes(self.getvalue())
            temporary.rename(self._path)
        super().close()


class Objects(LocalFileSystem):
    """Local files as an object store shows them: an object is there whole, the last one stands."""

    protocol = "objects"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path.rpartition("://")[2]

    def open(self, path: str, mode: str = "rb", **_: object) -> IO[bytes]:
        return Upload(path) if mode == "wb" else Path(path).open("rb")


class Timeless(Objects):
    """A store that does not tell when an object was written.

    fsspec's own in memory gives all who read an object one file, where they miss what others read.
    """

    protocol = "timeless"

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        about = super().info(path, **options)
        return {name: value for name, value in about.items() if name not in ("mtime", "created")}


for kind in (Objects, Timeless):
    fsspec.register_implementation(kind.protocol, kind, clobber=True)


@pytest.fixture
def objects(tmp_path: Path) -> str:
    """A URI of an object store that this test shares with other processes."""
    return f"fsspec+objects://{tmp_path}/run"


@pytest.fixture(params=["objects", "timeless"])
def remote(request: pytest.FixtureRequest, objects: str) -> str:
    """That, or a store that tells no times."""
    return objects.replace("objects", request.param, 1)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def hold(root: str, *times: str) -> None:
    """Hold the lock and write the files whose names are read."""
    store = Store(root)
    with store.lock(times=LockTimes(*map(float, times))):
        say("held")
        for line in sys.stdin:
            store.write(line.strip(), b"written by the child")
            say("written")


@contextmanager
def holder(root: str, times: LockTimes) -> Iterator[subprocess.Popen[str]]:
    """A process that does."""
    arguments = [root, *map(str, (times.renew, times.stale, times.settle))]
    with subprocess.Popen(
        [sys.executable, __file__, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def in_use(root: str, pid: int) -> str:
    who = rf"process {pid} on {re.escape(platform.node())}"
    return (
        rf"^{re.escape(root)} is in use by a live run \({who}\): wait for it, stop it, or give "
        r"another --name or --run-dir\.$"
    )


def write_lock(store: Store, owner: str = "another", **fields: object) -> bytes:
    """As another run does that was not looked for."""
    about = {"owner": owner, "host": "elsewhere", "pid": 7, "time": 0.0} | fields
    store.write(".lock", json.dumps(about).encode())
    return store.read(".lock")


def test_local_folder_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    with holder(str(tmp_path), PATIENT) as process:
        with (
            pytest.raises(UserError, match=in_use(str(tmp_path), process.pid)),
            Store(tmp_path).lock(),
        ):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert str(process.pid) in (tmp_path / ".lock").read_text()
    with Store(tmp_path).lock():
        assert str(os.getpid()) in (tmp_path / ".lock").read_text()


def test_local_folder_that_cannot_be_locked_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(UserError, match="No locks available"), Store(tmp_path).lock():
        pass


def test_second_run_is_refused_and_the_first_goes_on(remote: str) -> None:
    first = Store(remote)
    with first.lock(times=PATIENT):
        for _ in range(2):
            started = time.monotonic()
            with (
                pytest.raises(UserError, match=in_use(remote, os.getpid())),
                Store(remote).lock(times=PATIENT),
            ):
                pass
            assert time.monotonic() - started < 10
        first.write("a", b"mine")
        assert first.list("") == [".lock", "a"]
    assert first.list("") == ["a"]
    with Store(remote).lock(times=PATIENT):
        pass


def test_run_that_fails_gives_the_lock_back(remote: str) -> None:
    with pytest.raises(ZeroDivisionError), Store(remote).lock(times=PATIENT):
        raise ZeroDivisionError
    with Store(remote).lock(times=PATIENT):
        pass


def test_run_that_is_interrupted_while_it_takes_the_lock_gives_it_back(remote: str) -> None:
    def interrupt(text: str) -> None:
        if text.startswith("took over"):
            raise KeyboardInterrupt

    write_lock(Store(remote))
    times = LockTimes(renew=0.2, stale=0.5, settle=0.1)
    with pytest.raises(KeyboardInterrupt), Store(remote).lock(interrupt, times):
        pass
    assert not Store(remote).exists(".lock")


@pytest.mark.parametrize("clock", [-1e6, 1e6], ids=["slow", "fast"])
def test_dead_runs_lock_is_taken_over_whatever_its_clock_said(remote: str, clock: float) -> None:
    write_lock(Store(remote), time=time.time() + clock)
    told: list[str] = []
    with Store(remote).lock(told.append, LockTimes(renew=0.2, stale=1, settle=0.1)):
        assert told == [
            f"waiting up to 1 s to see if process 7 on elsewhere still uses {remote}",
            f"took over {remote}: process 7 on elsewhere used it and is not heard of any more",
        ]


def test_lock_that_the_store_knows_to_be_old_is_not_waited_for(
    objects: str, tmp_path: Path
) -> None:
    write_lock(Store(objects))
    os.utime(tmp_path / "run/.lock", (time.time() - 100,) * 2)
    told: list[str] = []
    with Store(objects).lock(told.append, LockTimes(settle=0.1)):
        assert len(told) == 1
    assert Store(objects).list("") == []


def test_lock_of_some_age_is_watched_until_it_is_renewed(objects: str, tmp_path: Path) -> None:
    write_lock(Store(objects))
    os.utime(tmp_path / "run/.lock", (time.time() - 30,) * 2)
    told: list[str] = []

    def renew(text: str) -> None:
        told.append(text)
        write_lock(Store(objects), time=1.0)

    with pytest.raises(UserError, match="process 7 on elsewhere"), Store(objects).lock(renew):
        pass
    assert re.match(r"waiting up to (59|60) s .*process 7 on elsewhere", told[0])


@pytest.mark.parametrize("data", [b"", b"[1]", b"\xff{"])
def test_unreadable_lock_goes_stale_like_any_other(objects: str, data: bytes) -> None:
    Store(objects).write(".lock", data)
    told: list[str] = []
    with Store(objects).lock(told.append, LockTimes(renew=0.2, stale=0.5, settle=0.1)):
        assert "another process used it" in told[-1]


def test_lock_is_renewed_as_long_as_it_is_held(remote: str) -> None:
    times = LockTimes(renew=0.1, stale=2, settle=0.1)
    with Store(remote).lock(times=times):
        time.sleep(2.5)
        with pytest.raises(UserError, match="in use"), Store(remote).lock(times=times):
            pass


def test_store_that_is_cut_off_for_a_while_costs_no_lock(
    remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, failed = Store(remote), Event()
    with store.lock(times=PATIENT):
        before = store.read(".lock")

        def refuse(*_: object) -> None:
            failed.set()
            raise OSError("network down")

        with monkeypatch.context() as patch:
            patch.setattr(lock, "upload", refuse)
            assert failed.wait(10)
        wait_until(lambda: store.read(".lock") not in (before, b""))
        store.write("a", b"mine")


def test_run_that_lost_the_lock_writes_and_deletes_nothing_more(remote: str) -> None:
    store, other = Store(remote), Store(remote)
    store.write("kept/file", b"theirs")
    ended = pytest.raises(UserError, match=r"lost .*\(process 7 on elsewhere has it\)")
    with ended, store.lock(times=PATIENT):
        while not has_lost(store):
            taken = write_lock(other)  # again if a renewal came between
            time.sleep(0.3)
        for step in (
            lambda: store.write("kept/file", b"mine"),
            lambda: store.delete_tree("kept"),
        ):
            with pytest.raises(UserError, match="this run has lost"):
                step()
        store._rewritten_at = time.monotonic()  # the line waits for the end
        store.append_line("log", "line")
    assert other.read("kept/file") == b"theirs"
    assert other.read(".lock") == taken
    assert other.list("") == [".lock", "kept"]
    with pytest.raises(UserError, match="this run has lost"):
        store.write("late", b"from a thread that outlives the lock")


def test_deleted_lock_is_lost(remote: str) -> None:
    store = Store(remote)
    with store.lock(times=PATIENT):
        store._remote.delete_file(str(store._base / ".lock"))
        wait_until(lambda: has_lost(store))
        with pytest.raises(UserError, match=r"\(its lock was deleted\)"):
            store.write("a", b"mine")


def test_suspended_process_finds_out_before_it_writes(objects: str) -> None:
    times = LockTimes(renew=0.5, stale=2, settle=0.1)
    with holder(objects, times) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("before\n")
        process.stdin.flush()
        assert process.stdout.readline() == "written\n"
        process.send_signal(signal.SIGSTOP)
        with Store(objects).lock(times=times):
            process.stdin.write("after\n")
            process.stdin.flush()
            process.send_signal(signal.SIGCONT)
            _, errors = process.communicate(timeout=60)
        assert f"this run has lost {objects} (process {os.getpid()} on" in errors
        assert Store(objects).list("") == ["before"]


def test_overdue_renewal_is_made_by_the_next_write(
    remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(remote)
    with store.lock(times=NO_THREAD):
        first = store.read(".lock")
        store.write("a", b"mine")
        assert store.read(".lock") == first
        now = lock._clock()
        monkeypatch.setattr(lock, "_clock", lambda: now + 5000)  # as after a sleep
        store.write("a", b"mine")
        second = store.read(".lock")
        assert second != first
        monkeypatch.setattr(lock, "_clock", lambda: now + 10000)
        write_lock(Store(remote))
        with pytest.raises(UserError, match="this run has lost"):
            store.write("a", b"mine")


def test_overdue_renewal_sees_who_takes_over_at_that_moment(
    remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, upload, now = Store(remote), lock.upload, lock._clock()
    with store.lock(times=NO_THREAD):

        def others_next(*arguments: object) -> None:
            upload(*arguments)
            write_lock(Store(remote))

        monkeypatch.setattr(lock, "upload", others_next)
        monkeypatch.setattr(lock, "_clock", lambda: now + 5000)
        with pytest.raises(UserError, match="this run has lost"):
            store.write("a", b"mine")


def test_killed_process_leaves_a_lock_that_others_take_over(objects: str) -> None:
    with holder(objects, HASTY) as process:
        with (
            pytest.raises(UserError, match=in_use(objects, process.pid)),
            Store(objects).lock(times=PATIENT),
        ):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    told: list[str] = []
    with Store(objects).lock(told.append, HASTY):
        assert f"process {process.pid} on" in told[-1]


@pytest.mark.parametrize("stale", [False, True], ids=["free", "stale"])
def test_of_many_at_once_one_gets_the_lock_at_most(remote: str, stale: bool) -> None:
    times = LockTimes(renew=0.5, stale=2, settle=1)
    if stale:
        write_lock(Store(remote))
        time.sleep(2.1)
    barrier, done = Barrier(4), Event()
    held: list[Store] = []
    refused: list[str] = []

    def contend() -> None:
        store = Store(remote)
        barrier.wait()
        try:
            with store.lock(times=times):
                held.append(store)
                done.wait(60)
        except UserError as error:
            refused.append(str(error))

    threads = [Thread(target=contend) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(held) + len(refused) == 4)
    assert [store for store in held if not has_lost(store)] == held
    done.set()
    for thread in threads:
        thread.join()
    assert len(held) == 1, refused
    assert all("is in use by a live run" in text for text in refused)


def test_slow_writer_goes_on_only_when_the_other_knows(
    remote: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    times, upload = LockTimes(renew=0.5, stale=30, settle=0.1), lock.upload
    slow, swift = Store(remote), Store(remote)
    with ExitStack() as stack:

        def others_first(*arguments: object) -> None:
            monkeypatch.setattr(lock, "upload", upload)
            stack.enter_context(swift.lock(times=times))
            upload(*arguments)

        monkeypatch.setattr(lock, "upload", others_first)
        with slow.lock(times=times):
            assert has_lost(swift)
            slow.write("a", b"mine")


def has_lost(store: Store) -> bool:
    try:
        store.delete_tree("no such folder")
    except UserError:
        return True
    return False


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


if __name__ == "__main__":
    hold(*sys.argv[1:])
