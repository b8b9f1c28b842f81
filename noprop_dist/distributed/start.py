"""Starting Ray: what can go wrong, and where a private cluster keeps its files."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from noprop_dist.errors import UserError
from noprop_dist.host import environment
from noprop_dist.signals import kept, withheld
from noprop_dist.text import shown

VARIABLE = "RAY_TMPDIR"
SOCKET = "/np-abcdefgh/ray/session_2026-01-31_23-59-59_123456_4194304/sockets/plasma_store"
LONGEST_PLACE = 107 - len(SOCKET)  # what the path of a socket may have


@contextmanager
def starting(address: str | None = None) -> Iterator[None]:
    """Ray is started inside, or joined.

    Args:
        address: of a cluster that is joined; None where one is started on this machine.

    Raises:
        UserError: whatever Ray raises, as a sentence.
        KeyboardInterrupt: a signal to stop came meanwhile.
    """
    here = str(Path.cwd())
    if shown(here) != here:
        raise UserError(
            f"Ray cannot work in {here}, a folder whose name is not UTF-8: start from another one, "
            "or do without Ray."
        )
    try:
        # Ray puts its own handler of SIGTERM in the place of ours. SIGHUP comes to all processes of
        # a terminal that goes: those of a private cluster are needed for the last checkpoint.
        with kept(signal.SIGTERM), withheld(signal.SIGHUP):
            yield
    except SystemExit as left:  # of Ray's handler
        raise KeyboardInterrupt from left
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if address is not None:
            raise UserError(
                f"the Ray cluster at RAY_ADDRESS={address} cannot be joined ({reason}): start one, "
                "or leave RAY_ADDRESS out."
            ) from error
        raise UserError(
            f"Ray cannot be started on this machine ({reason}); most likely it lacks memory, also "
            "in /dev/shm, open files (ulimit -n) or room for temporary files: give it more, or do "
            "without, for which noprop train has --executor local."
        ) from error


@contextmanager
def own_folder() -> Iterator[None]:
    """A folder that nobody else can read, for all that Ray writes while this lasts.

    It lies in ``RAY_TMPDIR`` or ``TMPDIR``, or in ``/tmp`` where Ray cannot use those.

    Raises:
        UserError: there is no place for it.
    """
    with _make(os.environ.get(VARIABLE)) as folder, environment({VARIABLE: folder}):
        yield


def _make(asked: str | None) -> TemporaryDirectory[str]:
    if asked:
        with suppress(OSError):
            Path(asked).mkdir(parents=True, exist_ok=True)
    for place in (asked, os.environ.get("TMPDIR"), "/tmp", "/var/tmp", "/dev/shm"):
        path = str(Path(place or "/").absolute())
        if not place or not path.isascii() or len(path) > LONGEST_PLACE:
            continue  # Ray would end with an error
        with suppress(OSError):
            return TemporaryDirectory(prefix="np-", dir=path, ignore_cleanup_errors=True)
    raise UserError(
        f"Ray finds no place for its files: let it write to /tmp, or set {VARIABLE} to a folder "
        f"whose path has at most {LONGEST_PLACE} characters, all of them ASCII."
    )
