"""The run folder: a local folder or a URI that ``pyarrow.fs`` knows, written atomically."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from noprop_dist.errors import UserError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


class Store:
    """Files under one root, named by relative paths with forward slashes.

    Args:
        root: a folder, or a URI such as ``s3://bucket/run``.

    Raises:
        UserError: the URI's scheme is unknown.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = str(root)
        self._remote: FileSystem | None = None
        self._base = Path(self.root).expanduser()
        if "://" in self.root:
            import pyarrow as pa
            from pyarrow import fs

            try:
                remote, base = fs.FileSystem.from_uri(self.root)
            except (pa.ArrowInvalid, ValueError) as error:
                raise UserError(f"{self.root} is no usable URI ({error}).") from error
            self._base = Path(base)
            if not isinstance(remote, fs.LocalFileSystem):
                self._remote = remote

    @property
    def local(self) -> Path | None:
        """The folder on this machine, or None for a remote store."""
        return None if self._remote else self._base

    def write(self, path: str, data: bytes) -> None:
        """Write a whole file so that a reader sees the old one or the new one, never a part.

        Raises:
            UserError: the disk is full or read-only, or the folder may not be written to.
        """
        with self._explained():
            if self._remote:
                # An object store shows an object only once its upload is complete.
                with self._remote.open_output_stream(str(self._base / path)) as out:
                    out.write(data)
                return
            target = self._base / path
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
            try:
                with temporary.open("wb") as out:
                    out.write(data)
                    out.flush()
                    os.fsync(out.fileno())
                temporary.rename(target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            _sync_folder(target.parent)

    def append_line(self, path: str, line: str) -> None:
        """Add a line to a text file; an object store, which cannot append, rewrites it."""
        if self._remote:
            before = self.read(path) if self.exists(path) else b""
            self.write(path, before + line.encode() + b"\n")
            return
        with self._explained():
            target = self._base / path
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("a", encoding="utf-8") as out:
                out.write(line + "\n")

    def read(self, path: str) -> bytes:
        """A file's bytes.

        Raises:
            OSError: it is not there or cannot be read.
        """
        if self._remote:
            with self._remote.open_input_stream(str(self._base / path)) as source:
                data: bytes = source.read()
                return data
        return (self._base / path).read_bytes()

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder of this name."""
        if self._remote:
            from pyarrow import fs

            info = self._remote.get_file_info(str(self._base / path))
            return bool(info.type != fs.FileType.NotFound)
        return (self._base / path).exists()

    def list(self, path: str) -> list[str]:
        """Sorted names in a folder; empty where there is none."""
        if self._remote:
            from pyarrow import fs

            selector = fs.FileSelector(str(self._base / path), allow_not_found=True)
            return sorted(info.base_name for info in self._remote.get_file_info(selector))
        folder = self._base / path
        return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []

    def delete_tree(self, path: str) -> None:
        """Delete a folder and all in it; nothing happens where there is none."""
        if self._remote:
            self._remote.delete_dir_contents(str(self._base / path), missing_dir_ok=True)
            return
        import shutil

        shutil.rmtree(self._base / path, ignore_errors=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise UserError(
                f"{self.root} cannot be written to ({reason}): free some space or permit writing, "
                "or give another --checkpoint-dir."
            ) from error


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; a file system that cannot sync folders has nothing to add."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
