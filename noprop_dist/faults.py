"""Faults on purpose, for tests: a process that dies, stops or fails where it is told to.

Armed by ``NOPROP_FAULTS`` in the environment of the driver, which tells its workers. It is a JSON
list such as ``[{"at": "unit", "block": 2, "step": 30, "do": "kill", "once": "/tmp/marker"}]``.
"""

import json
import os
import signal
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Fault:
    """What happens where.

    Attributes:
        at: the point in the code: after a training step, or before a file of a checkpoint.
        do: SIGKILL or SIGSTOP to this process, or an exception.
        block: t, or None for every block.
        step: of the block, or the sum over blocks for a checkpoint; None for every one.
        once: a file that is made when it happens; while it is there it does not happen again.
    """

    at: Literal["unit", "checkpoint"]
    do: Literal["kill", "stop", "fail"]
    block: int | None = None
    step: int | None = None
    once: str | None = None


_armed: tuple[Fault, ...] = ()


def from_environment() -> tuple[Fault, ...]:
    """What ``NOPROP_FAULTS`` holds; nothing in every ordinary run."""
    return tuple(Fault(**fields) for fields in json.loads(os.environ.get("NOPROP_FAULTS") or "[]"))


def arm(faults: tuple[Fault, ...]) -> None:
    """From now on these happen in this process."""
    global _armed
    _armed = faults


def reach(at: str, *, block: int, step: int) -> None:
    """A fault point: whatever is armed for it happens.

    Raises:
        RuntimeError: for "fail".
    """
    for fault in _armed:
        if (
            fault.at == at
            and fault.block in (None, block)
            and fault.step in (None, step)
            and (fault.once is None or _first_time(fault.once))
        ):
            _happen(fault)


def _first_time(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _happen(fault: Fault) -> None:
    if fault.do == "fail":
        raise RuntimeError(f"a fault armed for block {fault.block}")
    os.kill(os.getpid(), signal.SIGKILL if fault.do == "kill" else signal.SIGSTOP)
