"""What a process measures of itself: its memory at most, and the bytes it has sent. Linux."""

import os
import socket
import stat
import struct
import time
from functools import cache
from pathlib import Path
from threading import Thread

import torch

from noprop_dist.distributed.worker_status import Memory
from noprop_dist.host import status_bytes

_BYTES_ACKED = 120  # where tcpi_bytes_acked, 8 bytes, lies in Linux's struct tcp_info
_TCP_INFO_BYTES = 256
LOOK_S = 0.05  # between looks at memory: each takes some 50 us, a step of training no less than ms


def memory_of(device: torch.device) -> Memory:
    """What this process has needed so far, computing on ``device``.

    On a CPU the first call begins to watch what the process has for itself: to be called where
    training begins.
    """
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        return Memory(peak, peak)
    watched = watch_memory()
    watched.look()
    return Memory(status_bytes("VmHWM"), watched.most_bytes)


class OwnMemory:
    """Looks now and then, in a thread, at what is resident of this process's own memory.

    The kernel keeps the peak of all that is resident (VmHWM) and none of the part that is not
    shared. That peak less what is shared at another moment would be neither.

    Attributes:
        most_bytes: the most that was seen: private memory and mapped files (RssAnon + RssFile).
    """

    def __init__(self) -> None:
        self.most_bytes = 0
        self.look()
        Thread(target=self._watch, name="own-memory", daemon=True).start()

    def look(self) -> None:
        """Look now."""
        self.most_bytes = max(self.most_bytes, status_bytes("RssAnon", "RssFile"))

    def _watch(self) -> None:
        while True:
            time.sleep(LOOK_S)
            self.look()


@cache
def watch_memory() -> OwnMemory:
    """This process's, which looks from the first call on."""
    return OwnMemory()


class SentBytes:
    """Counts the bytes that this process sends over TCP, from when it is made.

    The kernel counts them for every connection (tcpi_bytes_acked: what the other side has
    received). A connection that was opened and closed between two looks is missed.
    """

    def __init__(self) -> None:
        self._before = _acked_by_socket()

    def take(self) -> int:
        """The bytes since the last look."""
        now = _acked_by_socket()
        sent = sum(acked - self._before.get(inode, 0) for inode, acked in now.items())
        self._before = now
        return sent


def _acked_by_socket() -> dict[int, int]:
    """By inode of each TCP connection of this process, the bytes that its other side has."""
    found = {}
    for path in Path("/proc/self/fd").iterdir():
        descriptor = int(path.name)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISSOCK(status.st_mode):
                continue
            # A copy: closing it leaves the connection open.
            opened = socket.socket(fileno=os.dup(descriptor))
        except OSError:  # closed by another thread meanwhile
            continue
        with opened:
            if opened.family in (socket.AF_INET, socket.AF_INET6) and (
                opened.type == socket.SOCK_STREAM
            ):
                info = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
                (found[status.st_ino],) = struct.unpack_from("<Q", info, _BYTES_ACKED)
    return found
