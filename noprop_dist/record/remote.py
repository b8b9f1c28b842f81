"""Object stores: opened with limits on time, written whole, asked again while they are out."""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qs, urlsplit

from noprop_dist.errors import UserError
from noprop_dist.text import first_line

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

# pyarrow's own limits let a store that takes connections and says nothing hold a call up for
# 100 s (S3) or 15 minutes (Google).
CONNECT_S = 3.0
SILENT_S = 6.0  # without a byte in either direction
ATTEMPTS = 3

# A run outlives a store that is out for so long; well below the time after which its lock is stale.
PATIENCE_S = 60.0
AGAIN_S = 1.0

T = TypeVar("T")


def open_remote(uri: str) -> tuple["FileSystem | None", Path]:
    """The object store of a URI, None where it names this machine's files; and the path in it.

    Raises:
        UserError: the URI is of no use, or the store that tells where a bucket lies is out.
    """
    import pyarrow as pa
    from pyarrow import fs

    # Else Amazon's library sends checksums in a framing that other makers' stores may not know, and
    # keep as part of the file. pyarrow has no option for it; our own files have checksums.
    os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
    try:
        found, base = fs.FileSystem.from_uri(uri)
    except (pa.ArrowInvalid, ValueError) as error:
        raise UserError(f"{uri} is no usable URI ({first_line(error)}).") from error
    except OSError as error:
        raise UserError(out_of_reach(uri, error)) from error
    remote = None if isinstance(found, fs.LocalFileSystem) else _with_limits(found, uri)
    return remote, Path(base)


def _with_limits(remote: "FileSystem", uri: str) -> "FileSystem":
    """The same store, given up sooner; a URI's own limit stands."""
    from pyarrow import fs

    if remote.type_name not in ("s3", "gcs"):
        return remote
    options = remote.__reduce__()[1][0]
    if not parse_qs(urlsplit(uri).query).keys() <= options.keys() | {"retry_limit_seconds"}:
        return remote  # it asks for something that only a URI can
    if remote.type_name == "gcs":
        limit = options["retry_time_limit"] or timedelta(seconds=ATTEMPTS * SILENT_S)
        return fs.GcsFileSystem(**options | {"retry_time_limit": limit})
    limits = {"connect_timeout": CONNECT_S, "request_timeout": SILENT_S}
    again = fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS)
    return fs.S3FileSystem(**options | limits, retry_strategy=again)


def has_no_folders(remote: "FileSystem") -> bool:
    """Whether a store keeps objects by name, among which folders are an appearance."""
    return remote.type_name in ("s3", "gcs", "abfs")


def download(remote: "FileSystem", path: str) -> bytes:
    """An object's bytes.

    Raises:
        OSError: it is not there (FileNotFoundError) or cannot be read.
    """
    with remote.open_input_stream(path) as source:
        data: bytes = source.read()
        return data


def upload(remote: "FileSystem", path: str, data: bytes) -> None:
    """Write a whole object: a store shows it only once its upload is complete.

    Raises:
        OSError: it cannot be written.
    """
    if not has_no_folders(remote):
        remote.create_dir(str(Path(path).parent), recursive=True)
    with remote.open_output_stream(path) as out:
        out.write(data)


def delete(remote: "FileSystem", path: str, *, folder: bool = False) -> None:
    """Delete an object, or a folder with all that is in it.

    Raises:
        OSError: it is still there; FileNotFoundError where it never was.
    """
    from pyarrow import fs

    try:
        if folder:  # delete_dir_contents would leave an empty folder's marker behind on S3
            remote.delete_dir(path)
        else:
            remote.delete_file(path)
    except FileNotFoundError:
        raise
    except OSError:
        # pyarrow also writes a marker of the folder above, an empty object whose name ends in a
        # slash, and some stores take no such name.
        if remote.get_file_info(path).type != fs.FileType.NotFound:
            raise


class Patience:
    """Does again what an object store refuses, for a while, between ``begin`` and ``end``.

    Once it was all in vain, nothing is tried twice until something works: a run that ends for it
    does not wait again for every file that it still wants to write.

    Args:
        name: what the user calls the store.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tell: Callable[[str], None] | None = None  # while there is patience
        self._in_vain = False

    def begin(self, tell: Callable[[str], None]) -> None:
        """Be patient from now on; ``tell`` is told that the store is out."""
        self._tell = tell

    def end(self) -> None:
        """Whatever fails from now on fails at once."""
        self._tell = None

    def __call__(self, action: Callable[[], T]) -> T:
        """What ``action`` returns, in the end.

        Raises:
            OSError: FileNotFoundError at once, others when patience is over.
        """
        until = time.monotonic() + PATIENCE_S
        told = False
        while True:
            try:
                result = action()
            except FileNotFoundError:
                raise
            except OSError as error:
                tell = self._tell
                if tell is None or self._in_vain or time.monotonic() > until:
                    self._in_vain = tell is not None
                    raise
                if not told:
                    tell(
                        f"{self._name} is out ({first_line(error)}): trying again for "
                        f"{PATIENCE_S:.0f} s"
                    )
                    told = True
                time.sleep(AGAIN_S)
            else:
                self._in_vain = False
                return result


def out_of_reach(name: str, error: Exception) -> str:
    """The sentence for a store that cannot be asked; libraries add lists of what they tried."""
    return (
        f"{name} cannot be reached ({first_line(error)}): check the URI, the network and "
        "the credentials."
    )
