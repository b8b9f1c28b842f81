"""Files of a run folder on this machine, which survive a power failure."""

import errno
import os
from contextlib import suppress
from pathlib import Path


def open_log(target: Path) -> int:
    """A descriptor to append lines with; a line that a dead process left torn is ended."""
    make_folder(target.parent)
    descriptor = os.open(target, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        os.write(descriptor, b"\n")
    return descriptor


def make_folder(folder: Path) -> None:
    """Create a folder with its parents, so that they survive a power failure."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename durable; a file system that cannot sync folders has nothing to add."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def size_of(folder: Path) -> int:
    """Bytes of the files in a folder and in those inside it; 0 where there is none."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # a live run writes and deletes
                total += Path(place, name).lstat().st_size
    return total
