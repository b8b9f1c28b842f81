"""What a process measures of itself."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from noprop_dist.distributed.process_usage import SentBytes


@contextmanager
def connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection on loopback."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()) as out:
            inside, _ = listener.accept()
            with inside:
                yield out, inside


def test_bytes_sent_by_tcp_are_counted_to_the_last_one() -> None:
    with connected() as (out, inside):
        send(out, inside, 1000)
        sent = SentBytes()
        assert sent.take() == 0
        send(out, inside, 123_456)
        send(inside, out, 44)
        assert sent.take() == 123_500
        assert sent.take() == 0
        left, right = socket.socketpair()  # not TCP
        with left, right:
            send(left, right, 999)
            assert sent.take() == 0


def send(out: socket.socket, into: socket.socket, count: int) -> None:
    """Send so many bytes and read them all: by then the kernel has seen them acknowledged."""
    out.sendall(bytes(count))
    while count:
        count -= len(into.recv(65536))


def test_counting_leaves_descriptors_open_and_none_behind() -> None:
    with connected() as (out, inside):
        before = out.fileno(), inside.fileno()
        for _ in range(3):
            SentBytes().take()
        probe = socket.socket()
        probe.close()
        out.sendall(b"still open")
        assert inside.recv(100) == b"still open"
        assert (out.fileno(), inside.fileno()) == before


HOLD = """
import mmap, time
import torch
from noprop_dist.distributed.process_usage import memory_of, watch_memory

cpu, size = torch.device("cpu"), 200 * 2**20
before = memory_of(cpu)
shared = mmap.mmap(-1, size)  # as the object store's is: others could map it too
for place in range(0, size, mmap.PAGESIZE):
    shared[place] = 1
mapped = memory_of(cpu)
shared.close()
held = torch.ones(size // 2, dtype=torch.uint8)
while watch_memory().most_bytes < mapped.own_bytes + 0.9 * size / 2:  # its thread has seen it
    time.sleep(0.01)
held = None
after = memory_of(cpu)
for memory in (before, mapped, after):
    print(memory.peak_bytes, memory.own_bytes)
"""


def test_memory_counts_what_was_held_for_a_moment_and_tells_apart_what_is_shared() -> None:
    """In a process of its own, which has not held more before."""
    done = subprocess.run(
        [sys.executable, "-c", HOLD], capture_output=True, text=True, check=True, timeout=100
    )
    mib = 2**20
    before, mapped, after = (
        [int(word) / mib for word in line.split()] for line in done.stdout.splitlines()
    )
    assert mapped[0] - before[0] == pytest.approx(200, rel=0.05)
    assert mapped[1] - before[1] == pytest.approx(0, abs=10)
    assert after[0] - mapped[0] == pytest.approx(0, abs=10)  # less than was shared
    assert after[1] - mapped[1] == pytest.approx(100, rel=0.1)
    assert before[1] <= before[0]
