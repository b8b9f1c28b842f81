"""Keep every other live run out of a run folder, on this machine or in an object store."""

import json
import os
import platform
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any, TextIO

from noprop_dist.errors import UserError
from noprop_dist.record.remote import delete, download, upload
from noprop_dist.run_files import LOCK

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

LOOK_S = 0.05  # far longer than a look at who holds a lock takes

Tell = Callable[[str], None]


class InUseError(UserError):
    """Another run holds the lock."""


@dataclass(frozen=True)
class LockTimes:
    """Of a lock in an object store, in seconds.

    Attributes:
        renew: how often its holder writes it again; about so long takes it to see that it lives.
        stale: whoever has not written it for so long is taken for dead; well above 2 ``renew``.
        settle: between writing it for the first time and looking who wrote it last.
    """

    renew: float = 8.0
    stale: float = 90.0
    settle: float = 2.0


DEFAULT_TIMES = LockTimes()


def lock_folder(folder: Path, name: str) -> TextIO:
    """Lock a local folder; the lock goes with the file, so with its process, however that ends.

    Args:
        folder: it exists.
        name: what the user calls it.

    Raises:
        UserError: another process holds it.
        OSError: the folder cannot be written to or locked.
    """
    import fcntl

    file = (folder / LOCK).open("a+")
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # perhaps by ``folder_holder``, for an instant
            time.sleep(LOOK_S)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        file.truncate(0)
        file.write(_process(os.getpid(), platform.node()))
        file.flush()
    except BaseException as error:
        with file:
            if not isinstance(error, BlockingIOError):
                raise
            file.seek(0)
            raise _in_use(name, file.read().strip() or "another process") from error
    return file


def folder_holder(folder: Path) -> str | None:
    """The process that holds the lock of a local folder, or None where nobody does.

    Raises:
        OSError: the lock is there and cannot be read.
    """
    import fcntl

    try:
        file = (folder / LOCK).open("rb")
    except (FileNotFoundError, NotADirectoryError):
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().decode(errors="replace").strip() or "another process"
    return None


def remote_holder(remote: "FileSystem", folder: Path, times: LockTimes) -> str | None:
    """The process that has renewed the lock of a folder in an object store lately, or None.

    Nothing is written, so the holder's clock is compared with this machine's: whoever is to decide
    by the answer has to take the lock instead.

    Raises:
        OSError: the store cannot be reached.
    """
    found = _read(remote, folder / LOCK)
    renewed = _about(found).get("time")
    if not isinstance(renewed, (int, float)) or time.time() - renewed > times.stale:
        return None
    return _holder(found)


class RemoteLock:
    """An object that its holder writes again and again: what is written no more is nobody's.

    PyArrow's file systems cannot create an object only where there is none, as S3 can. Whoever
    wants the lock writes it, waits, and has it if nobody wrote it since. No clock is compared with
    another machine's.

    Args:
        remote: the object store.
        folder: the run folder in it.
        name: what the user calls it.
        times: how long everything takes.
    """

    def __init__(self, remote: "FileSystem", folder: Path, name: str, times: LockTimes) -> None:
        self._remote, self._path, self._name, self._times = remote, folder / LOCK, name, times
        self._id = uuid.uuid4().hex
        self._lost: str | None = None  # how
        self._renewed_at = 0.0
        self._renewing = Lock()
        self._released = Event()

    def acquire(self, tell: Tell) -> None:
        """Take the lock and begin to renew it.

        Args:
            tell: is told that a dead run's lock is waited for, and taken over.

        Raises:
            UserError: another run holds it.
            OSError: the store cannot be reached or written to.
        """
        found = self._read()
        if found is not None:
            self._outlast(found, tell)
        asked_at = _clock()
        dead = self._read()
        if dead not in (None, found):
            raise _in_use(self._name, _holder(dead))
        try:
            self._renewed_at = self._write()
            # Whoever found the same and wrote it before has yet to look again, and gives up then;
            # but if this took too long, they have looked and give up when they renew it.
            swift = _clock() - asked_at < self._times.settle
            time.sleep(self._times.settle if swift else 2 * self._times.renew)
            now = self._read()
            if _owner(now) != self._id:
                raise _in_use(self._name, _holder(now))
            if dead is not None:
                tell(
                    f"took over {self._name}: {_holder(dead)} used it and is not heard of any more"
                )
        except BaseException:
            self.release()
            raise
        Thread(target=self._keep, name="lock", daemon=True).start()

    def check(self) -> None:
        """Make sure that the lock is still held; it asks the store only where renewal is overdue.

        Raises:
            UserError: another run has taken it over.
            OSError: the store cannot be reached.
        """
        if _clock() - self._renewed_at > 2 * self._times.renew:
            self._renew()  # this process was suspended, or the store could not be reached
        if self._lost:
            raise UserError(
                f"this run has lost {self._name} ({self._lost}), as one does that is suspended or "
                f"cut off for {self._times.stale:.0f} s: see that no other run uses it and give "
                "the same command again."
            )

    def release(self) -> None:
        """Give the lock back, where it is still held; if that fails it is stale in a while."""
        self._released.set()
        with self._renewing, suppress(OSError):
            if not self._lost and _owner(self._read()) == self._id:
                delete(self._remote, str(self._path))

    def _outlast(self, found: bytes, tell: Tell) -> None:
        """Return once the holder is known to be gone.

        Raises:
            UserError: it lives: it has renewed the lock.
        """
        left = min(self._times.stale, self._times.stale - self._age())
        if left > 0:
            tell(f"waiting up to {left:.0f} s to see if {_holder(found)} still uses {self._name}")
        until = _clock() + left
        while (left := until - _clock()) > 0:
            time.sleep(min(left, self._times.renew / 8))
            now = self._read()
            if now is None:
                return
            if now != found:
                raise _in_use(self._name, _holder(now))

    def _age(self) -> float:
        """Seconds by the store's own clock since the lock was written, 0 where it tells none."""
        probe = f"{self._path}.{self._id}"
        upload(self._remote, probe, b"now")
        try:
            infos = self._remote.get_file_info([probe, str(self._path)])
        finally:
            delete(self._remote, probe)
        now, then = (info.mtime_ns for info in infos)
        return 0.0 if now is None or then is None else float(now - then) / 1e9

    def _keep(self) -> None:
        while not self._lost and not self._released.wait(self._times.renew):
            with suppress(Exception):  # it may work the next time; else ``check`` says why
                self._renew()

    def _renew(self) -> None:
        with self._renewing:
            if self._lost or self._released.is_set():
                return
            now = self._read()
            if _owner(now) == self._id:
                written_at = self._write()
                if _clock() - self._renewed_at > self._times.stale:
                    # Another run may have found it stale a moment ago and write it now.
                    time.sleep(self._times.settle)
                    now = self._read()
            if _owner(now) == self._id:
                self._renewed_at = written_at
            else:
                self._lost = "its lock was deleted" if now is None else f"{_holder(now)} has it"

    def _write(self) -> float:
        """Write the lock; the time before."""
        started_at = _clock()
        about = {"owner": self._id, "host": platform.node(), "pid": os.getpid()}
        data = json.dumps(about | {"time": time.time()}).encode()  # never the same bytes twice
        upload(self._remote, str(self._path), data)
        return started_at

    def _read(self) -> bytes | None:
        return _read(self._remote, self._path)


def _read(remote: "FileSystem", path: Path) -> bytes | None:
    with suppress(FileNotFoundError):
        return download(remote, str(path))
    return None


def _in_use(name: str, holder: str) -> InUseError:
    return InUseError(
        f"{name} is in use by a live run ({holder}): wait for it, stop it, or give another --name "
        "or --run-dir."
    )


def _about(data: bytes | None) -> dict[str, Any]:
    """What a lock says, nothing where it is no lock of ours."""
    with suppress(ValueError):
        about = json.loads(data or b"")
        if isinstance(about, dict):
            return about
    return {}


def _owner(data: bytes | None) -> object:
    return _about(data).get("owner")


def _holder(data: bytes | None) -> str:
    about = _about(data)
    if "pid" not in about or "host" not in about:
        return "another process"
    return _process(about["pid"], about["host"])


def _process(pid: int, host: str) -> str:
    return f"process {pid} on {host}"


def _clock() -> float:
    """Seconds, those counted that this machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
