"""What this machine gives to this process: cores, memory and environment."""

import os
import re
import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
OWN_GROUPS = Path("/proc/self/cgroup")
CONTROL_GROUPS = (  # of version 2 and 1: their controllers, what may be taken, and what is
    (Path("/sys/fs/cgroup"), "", "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def count_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_bytes() -> int:
    """Memory that may still be taken: what the machine can give, or a control group if less.

    Where the system does not tell it, as macOS does not, all that the machine has.
    """
    if not on_linux():
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", MEMINFO.read_text(), re.MULTILINE)
    assert found
    free = 1024 * int(found[1])
    for group, most, used in _control_groups():
        if (limit := (group / most).read_text().strip()).isdecimal():
            # Files that were read are counted as taken, and given away at need.
            stat = (group / "memory.stat").read_text()
            files = re.findall(r"^(?:total_)?inactive_file (\d+)$", stat, re.MULTILINE)
            given_away = max(map(int, files), default=0)
            free = min(free, int(limit) - int((group / used).read_text()) + given_away)
    return free


def _control_groups() -> Iterator[tuple[Path, str, str]]:
    """The groups that bound this process's memory, and the names of their two files.

    They are its own, as a batch system makes one for a job, and all that hold that one. A container
    sees its own as the topmost, under whatever name the system outside has for it.
    """
    lines = OWN_GROUPS.read_text().splitlines() if OWN_GROUPS.exists() else []
    own = {names: path for _, names, path in (line.split(":", 2) for line in lines)}
    for top, controllers, most, used in CONTROL_GROUPS:
        inner = top / own.get(controllers, "").lstrip("/")
        for group in (inner, *inner.parents):
            if group.is_relative_to(top) and (group / most).exists():
                yield group, most, used


def status_bytes(*names: str) -> int:
    """Memory of this process, summed over lines of what Linux tells of its status."""
    status = Path("/proc/self/status").read_text()
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB$", status, re.MULTILINE))
    return 1024 * sum(int(found[name]) for name in names)


def peak_bytes() -> int:
    """The most memory that this process has had resident."""
    if on_linux():  # which counts what a process was started from, in ru_maxrss
        return status_bytes("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def on_linux() -> bool:
    """Whether the kernel tells of its processes in /proc."""
    return MEMINFO.exists()


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """These variables of the environment while this lasts, and then what they were before."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
