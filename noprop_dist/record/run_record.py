"""Where a run is recorded, all in one."""

import json
from dataclasses import dataclass
from pathlib import Path

from noprop_dist.record.events import EventLog
from noprop_dist.record.history import History
from noprop_dist.record.progress import Progress
from noprop_dist.record.store import Store
from noprop_dist.record.trackers import Trackers
from noprop_dist.run_files import HISTORY


@dataclass(frozen=True)
class Record:
    """Where a run is recorded.

    Attributes:
        store: the run folder.
        events: its log.
        progress: the live view.
        history_file: where the history is also written, or None.
        trackers: what else is told of every epoch, or None.
    """

    store: Store
    events: EventLog
    progress: Progress
    history_file: str | None = None
    trackers: Trackers | None = None

    def write_history(self, history: History) -> None:
        """The history so far, as a whole file each time; trackers get what is new in it."""
        # Not indented: with many blocks and epochs that would take seconds.
        data = json.dumps(history.to_dict()).encode()
        self.store.write(HISTORY, data)
        if self.history_file is not None:
            path = Path(self.history_file)
            Store(path.parent, "--history").write(path.name, data)
        if self.trackers is not None:
            self.trackers.take(history)
