"""The run folder: a local folder or a URI that ``pyarrow.fs`` knows, written atomically."""

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock, get_ident
from typing import TYPE_CHECKING, TypeVar
from weakref import finalize

from noprop_dist.errors import UserError
from noprop_dist.record.local_files import make_folder, open_log, size_of, sync_folder
from noprop_dist.record.lock import (
    DEFAULT_TIMES,
    LockTimes,
    RemoteLock,
    Tell,
    folder_holder,
    lock_folder,
    remote_holder,
)
from noprop_dist.record.remote import Patience, delete, download, open_remote, out_of_reach, upload
from noprop_dist.text import first_line

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


T = TypeVar("T")

REWRITE_EVERY_S = 5.0  # how often at most a growing file is uploaded again


class Store:
    """Files under one root, named by relative paths with forward slashes.

    Args:
        root: a folder, or a URI such as ``s3://bucket/run``.
        option: the option that named it, for error messages.

    Raises:
        UserError: the URI is of no use, or its store cannot be reached.
    """

    def __init__(self, root: str | Path, option: str = "--run-dir") -> None:
        self.root, self._option = str(root), option
        self._appending = Lock()  # checkpoints are written by a thread of their own
        self._remote: FileSystem | None = None
        self._appended: dict[str, bytes] = {}
        # Kept open, and closed with this object: a run may log thousands of lines a second.
        self._logs: dict[str, tuple[int, Callable[[], object]]] = {}
        self._unsaved: set[str] = set()
        self._rewritten_at = 0.0
        self._held: RemoteLock | None = None
        self._patience = Patience(self.root)
        self._base = Path(self.root).expanduser()
        if "://" in self.root:
            self._remote, self._base = open_remote(self.root)

    @property
    def local(self) -> Path | None:
        """The folder on this machine, or None for a remote store."""
        return None if self._remote else self._base

    def write(self, path: str, data: bytes) -> None:
        """Write a whole file so that a reader sees the old one or the new one, never a part.

        Raises:
            UserError: the disk is full or read-only, the folder may not be written to, or another
                run has taken it over.
        """
        if self._remote:
            self._save_appended()
            self._upload(self._remote, path, data)
            return
        with self._explained():
            target = self._base / path
            make_folder(target.parent)
            temporary = target.with_name(f".{target.name}.{os.getpid()}-{get_ident()}.tmp")
            try:
                with temporary.open("wb") as out:
                    out.write(data)
                    out.flush()
                    os.fsync(out.fileno())
                temporary.rename(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            sync_folder(target.parent)

    def append_line(self, path: str, line: str) -> None:
        """Add a line to a text file.

        An object store cannot append: the file is uploaded again, at most every few seconds and
        before anything else is written.

        Raises:
            UserError: as ``write``.
        """
        data = line.encode() + b"\n"
        if self._remote:
            with self._appending:
                if path not in self._appended:
                    self._appended[path] = self.read(path) if self.exists(path) else b""
                self._appended[path] += data
                self._unsaved.add(path)
            if time.monotonic() - self._rewritten_at > REWRITE_EVERY_S:
                self._save_appended()
            return
        with self._explained(), self._appending:
            if path not in self._logs:
                descriptor = open_log(self._base / path)
                self._logs[path] = descriptor, finalize(self, os.close, descriptor)
            descriptor, close = self._logs[path]
            try:
                while data:
                    data = data[os.write(descriptor, data) :]
            except OSError:  # the next line looks again at where this one ended
                del self._logs[path]
                close()
                raise

    def _save_appended(self) -> None:
        assert self._remote is not None
        with self._appending:
            for path in sorted(self._unsaved):
                self._upload(self._remote, path, self._appended[path])
            self._unsaved.clear()
            self._rewritten_at = time.monotonic()

    def _upload(self, remote: "FileSystem", path: str, data: bytes) -> None:
        def once() -> None:
            self._check_held()
            upload(remote, str(self._base / path), data)

        with self._explained():
            self._patience(once)

    def _check_held(self) -> None:
        if self._held:
            self._held.check()

    def _ask(self, action: "Callable[[FileSystem], T]") -> T:
        """What ``action`` makes of the object store.

        Raises:
            UserError: the store cannot be reached.
            FileNotFoundError: it is not there.
        """
        remote = self._remote
        assert remote is not None
        try:
            return self._patience(lambda: action(remote))
        except FileNotFoundError:
            raise
        except OSError as error:
            raise UserError(out_of_reach(self.root, error)) from error

    def check_writable(self) -> None:
        """Look whether a local folder can be written to, or made, without doing it.

        Raises:
            UserError: it cannot.
        """
        if self._remote:
            return
        with self._explained():
            there = next(p for p in (self._base, *self._base.absolute().parents) if p.exists())
            if not there.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, f"{there} is a file")
            if not os.access(there, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "Permission denied")

    @contextmanager
    def lock(self, tell: Tell = lambda _: None, times: LockTimes | None = None) -> Iterator[None]:
        """Keep every other run out; what is still to be uploaded is, at the end.

        The lock of a local folder goes with its process, however that ends; that of an object store
        is free a while after. Whoever loses the latter, suspended for too long, cannot write again.

        Args:
            tell: is told what to wait for, and that a dead run's lock is taken over.
            times: how long a lock of an object store lasts; None: ``DEFAULT_TIMES``.

        Raises:
            UserError: another process holds it, or has taken it over.
        """
        if not self._remote:
            with self._explained():
                make_folder(self._base)
                file = lock_folder(self._base, self.root)
            with file:
                yield
            return
        held = RemoteLock(self._remote, self._base, self.root, times or DEFAULT_TIMES)
        with self._explained():
            held.acquire(tell)
        self._held = held
        self._patience.begin(tell)
        try:
            yield
        finally:
            try:
                self._save_appended()
            finally:
                self._patience.end()
                held.release()

    def holder(self) -> str | None:
        """The process that holds the lock, in words; None where no live run does.

        Raises:
            OSError: a local lock cannot be read.
            UserError: the object store cannot be reached.
        """
        if self._remote:
            return self._ask(lambda remote: remote_holder(remote, self._base, DEFAULT_TIMES))
        return folder_holder(self._base)

    def read(self, path: str) -> bytes:
        """A file's bytes.

        Raises:
            OSError: it is not there (FileNotFoundError) or cannot be read.
            UserError: the object store cannot be reached.
        """
        if self._remote:
            return self._ask(lambda remote: download(remote, str(self._base / path)))
        return (self._base / path).read_bytes()

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder of this name."""
        if self._remote:
            from pyarrow import fs

            info = self._ask(lambda remote: remote.get_file_info(str(self._base / path)))
            return bool(info.type != fs.FileType.NotFound)
        return (self._base / path).exists()

    def written(self, path: str) -> float | None:
        """When a file was last written, in seconds since 1970; None where nothing tells."""
        if self._remote:
            at_ns = self._ask(lambda remote: remote.get_file_info(str(self._base / path)).mtime_ns)
            return None if at_ns is None else at_ns / 1e9
        return (self._base / path).stat().st_mtime

    def list(self, path: str) -> list[str]:
        """Sorted names in a folder; empty where there is none."""
        if self._remote:
            from pyarrow import fs

            selector = fs.FileSelector(str(self._base / path), allow_not_found=True)
            found = self._ask(lambda remote: remote.get_file_info(selector))
            return sorted(info.base_name for info in found)
        folder = self._base / path
        return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []

    def size(self, path: str) -> int:
        """Bytes of the files in a folder and in those inside it; 0 where there is none."""
        if self._remote is None:
            return size_of(self._base / path)
        from pyarrow import fs

        base = str(self._base / path)
        selector = fs.FileSelector(base, allow_not_found=True, recursive=True)
        found = self._ask(lambda remote: remote.get_file_info(selector))
        return sum(info.size or 0 for info in found)

    def delete_tree(self, path: str) -> None:
        """Delete a folder and all in it; nothing happens where there is none.

        Raises:
            UserError: another run has taken the store over, or it cannot be reached.
        """
        if self._remote:

            def once(remote: "FileSystem") -> None:
                self._check_held()
                delete(remote, str(self._base / path), folder=True)

            with suppress(FileNotFoundError):
                self._ask(once)
            return
        import shutil

        shutil.rmtree(self._base / path, ignore_errors=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            mend = dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "free some space")
            mend |= {errno.EACCES: "permit writing", errno.EROFS: "permit writing"}
            advice = f"{mend[error.errno]}, or give" if error.errno in mend else "give"
            raise UserError(
                f"{self.root} cannot be written to ({error.strerror or first_line(error)}): "
                f"{advice} another {self._option}."
            ) from error


def inside(root: str, path: str) -> str:
    """The root of a store inside another one; what stands behind a URI's question mark stays last.

    Args:
        root: a folder or URI.
        path: relative, with forward slashes.
    """
    base, query = _without_query(root)
    return f"{base.rstrip('/')}/{path}{query}"


def above(path: str) -> tuple[str, str]:
    """What a folder or URI lies in, empty where it is a mere name, and its name there."""
    base, query = _without_query(path)
    parent, slash, name = base.rstrip("/").rpartition("/")
    return parent + query if parent else slash, name


def _without_query(root: str) -> tuple[str, str]:
    base, mark, query = root.partition("?") if "://" in root else (root, "", "")
    return base, mark + query
