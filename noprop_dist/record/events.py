"""A line per event: what a run did, when, and where."""

import json
import time
from typing import Any

from noprop_dist.record.store import Store


class EventLog:
    """Appends to ``events.jsonl`` of a run folder."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def write(self, event: str, **fields: Any) -> None:
        """Add a line with ``time`` (seconds since 1970), ``event`` and the fields."""
        line = json.dumps({"time": round(time.time(), 6), "event": event, **fields})
        self._store.append_line("events.jsonl", line)
