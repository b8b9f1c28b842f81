"""What a process measures of itself: its memory at most, and the bytes it has sent. Linux."""

import os
import re
import socket
import stat
import struct
from pathlib import Path

import torch

from noprop_dist.distributed.look import Memory

_BYTES_ACKED = 120  # where tcpi_bytes_acked, 8 bytes, lies in Linux's struct tcp_info
_TCP_INFO_BYTES = 256


def memory_of(device: torch.device) -> Memory:
    """What this process has needed so far, computing on ``device``."""
    if device.type == "cuda":
        return Memory(torch.cuda.max_memory_allocated(device), 0)
    status = Path("/proc/self/status").read_text()
    found = dict(re.findall(r"^(VmHWM|RssShmem):\s+(\d+) kB$", status, re.MULTILINE))
    return Memory(1024 * int(found["VmHWM"]), 1024 * int(found["RssShmem"]))


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
