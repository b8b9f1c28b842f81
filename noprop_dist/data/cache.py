"""The folder of decoded images: where it is, what it may hold, and who may make an entry of it."""

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from noprop_dist.data.account import Shown, not_shown
from noprop_dist.errors import UserError
from noprop_dist.text import size

PLACE = "NOPROP_CACHE"  # environment variables: the folder,
LIMIT = "NOPROP_CACHE_GIB"  # and what it may hold
SHARE = 0.5  # of the disk's room, where nothing else is said
NO_PLACE = {
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM, errno.EEXIST, errno.ENOTDIR,
}  # fmt: skip
PARTIAL, LOCKED = ".partial", ".lock"
GIB = 2**30


def cache_folder() -> Path:
    """Where this machine keeps decoded images."""
    return Path(os.environ.get(PLACE) or "~/.cache/noprop_dist/decoded").expanduser()


def files_key(files: Iterable[str], *what: object) -> str:
    """A key of files as they are now, by path, size and time of change, and of what is read."""
    digest = hashlib.sha256(repr(what).encode())
    for file in files:
        path = Path(file).absolute()
        stat = None
        with suppress(OSError):  # of a file that is not there is told when it is read
            stat = path.stat()
        told = (str(path), stat and stat.st_size, stat and stat.st_mtime_ns)
        digest.update(repr(told).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


@contextmanager
def made_in_cache(
    key: str, shown: Shown = not_shown, waiting: str = ""
) -> Iterator[Callable[[int], Path]]:
    """Make the entry of a key while no other process does.

    Args:
        key: of the entry.
        shown: tells what was removed for the new entry, and that another process is at it.
        waiting: what that process does.

    Yields:
        Called with the entry's bytes it makes room for them and a folder to write to, which
        becomes the entry when this ends without an exception.

    Raises:
        UserError: the cache cannot be written to, or its disk is full.
    """
    root = cache_folder()
    partial = root / (key + PARTIAL)

    def begin(num_bytes: int) -> Path:
        removed = make_room(num_bytes, root)
        if removed:
            most = size(room(root))
            with shown(f"removed {size(removed)} of older entries of {root}, at most {most}", 0):
                pass
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        return partial

    with _told_of(root, errno.ENOENT):
        root.mkdir(parents=True, exist_ok=True)
    with _told_of(root), (root / (key + LOCKED)).open("w") as lock:
        if not _locked(lock):
            with shown(f"waiting for another process that {waiting}", 0):
                fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield begin
            if partial.exists():
                shutil.rmtree(root / key, ignore_errors=True)  # it was found broken
                partial.rename(root / key)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _told_of(root: Path, *more: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in {*NO_PLACE, *more}:
            raise
        raise UserError(
            f"decoded images cannot be kept in {root} ({error.strerror}): set {PLACE} to a folder "
            "on a disk with room."
        ) from error


def room(root: Path) -> int:
    """Bytes that the cache may hold."""
    given = os.environ.get(LIMIT)
    if given is None:
        return int(SHARE * (shutil.disk_usage(root).free + sum(map(_size, _entries(root)))))
    try:
        limit = int(float(given) * GIB)
    except (ValueError, OverflowError):
        limit = -1
    if limit < 0:
        raise UserError(f"{LIMIT}={given} is no size: give it a number of GiB.")
    return limit


def make_room(num_bytes: int, root: Path) -> int:
    """Remove what was used longest ago, and is not in use, until so much more fits.

    Returns:
        Bytes that were removed.

    Raises:
        UserError: it does not fit.
    """
    for partial in root.glob("*" + PARTIAL):  # of processes that have died
        with partial.with_suffix(LOCKED).open("w") as lock:
            if _locked(lock):
                shutil.rmtree(partial)
    limit = room(root)
    entries = sorted(_entries(root), key=lambda entry: entry.stat().st_mtime)
    used = before = sum(map(_size, entries))
    for entry in entries if num_bytes <= limit else ():
        if used + num_bytes > limit and not _in_use(entry):
            used -= _size(entry)
            shutil.rmtree(entry)
    if used + num_bytes > limit:
        in_use = f", of which {size(used)} are in use" if num_bytes <= limit else ""
        raise UserError(
            f"the decoded images take {size(num_bytes)}, and {root} may hold "
            f"{size(limit)}{in_use}: give a smaller --image-size, set {PLACE} to a folder "
            f"on a larger disk, or {LIMIT} to what it may hold."
        )
    return before - used


def _entries(root: Path) -> list[Path]:
    return [path for path in root.iterdir() if path.is_dir() and path.suffix != PARTIAL]


def _size(entry: Path) -> int:
    return sum(path.stat().st_size for path in entry.iterdir())


def _in_use(entry: Path) -> bool:
    """Whether a process has a file of the entry mapped."""
    for path in entry.iterdir():
        with path.open("rb") as file:
            if not _locked(file):
                return True
    return False


def _locked(file: IO[Any]) -> bool:
    """Whether the file could be locked; it is until it is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
