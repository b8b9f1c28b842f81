"""A line per event: what a run did, when, and where."""

import json
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from noprop_dist.record.folder import Reader
from noprop_dist.record.store import Store
from noprop_dist.run_files import EVENTS

WORK = ("unit", "evaluation")  # most lines of a log


@dataclass(frozen=True)
class Samples:
    """What a run has to learn from, to choose by and to be tested on.

    Attributes:
        shape: (C, H, W) of an image or (F,) of a vector, as the network is given it.
        class_names: K names, by label.
        counts: by split, "train", "val" and "test", the samples of every class.
    """

    shape: list[int]
    class_names: list[str]
    counts: dict[str, list[int]]


class EventLog:
    """Appends to ``events.jsonl`` of a run folder."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, event: str, **fields: Any) -> None:
        """Add a line with ``time`` (seconds since 1970), ``event`` and the fields."""
        line = json.dumps({"time": round(time.time(), 6), "event": event, **fields})
        self._store.append_line(EVENTS, line)


def read_events(store: Store, without: Collection[str] = ()) -> list[dict[str, Any]]:
    """The lines of ``events.jsonl`` in order, without torn ones; none where there is no log.

    Args:
        store: the run folder.
        without: events to leave out, unparsed: most lines are units. The last whole one before
            another event, and the log's last, stay: they tell how long there was work.

    Raises:
        UserError: the log is there and cannot be read.
    """
    lines = (Reader(store).read(EVENTS) or b"").split(b"\n")
    events = []
    left_out = [f'"event": "{name}"'.encode() for name in without]
    passed = b""
    for line in (*lines, b""):
        if any(mark in line for mark in left_out):
            passed = line if line.endswith(b"}") else passed
            continue
        for text in (passed, line):
            try:
                event = json.loads(text) if text else None
            except ValueError:  # its writer died, or is still at it
                continue
            if isinstance(event, dict):
                events.append(event)
        passed = b""
    return events
