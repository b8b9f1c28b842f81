"""What is known of a run, finished or not, from the files of its folder alone.

Nothing here imports PyTorch or Ray, so that many runs are listed in little time.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from noprop_dist.config import TrainConfig
from noprop_dist.errors import UserError, reading
from noprop_dist.record.events import WORK, Samples, read_events
from noprop_dist.record.folder import built, checkpoint_names, is_complete, names_in_run
from noprop_dist.record.history import History, read_history
from noprop_dist.record.result import TrainResult, read_result
from noprop_dist.record.run_config import config_of, read_config
from noprop_dist.record.store import Store
from noprop_dist.run_files import CHECKPOINTS, RESULT
from noprop_dist.text import last_part

State = Literal["finished", "running", "stopped"]


@dataclass(frozen=True)
class Lost:
    """A worker that died or hung.

    Attributes:
        worker: its name.
        time: when that was noticed, in seconds since 1970.
        reason: why.
        seconds: what it had spent on units that were lost.
    """

    worker: str
    time: float
    reason: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """A run, as its folder tells.

    Attributes:
        folder: as the user names it.
        state: "finished"; "running": a live process holds the folder; "stopped": neither.
        holder: which process, where it runs.
        config: the options.
        result: the numbers of a finished run.
        history: by epoch, with NaN for gaps; empty before the first one has ended.
        set_aside: by t, why a block was given up.
        sessions: how often training was begun or gone on with.
        lost: workers, in the order they were lost.
        num_workers: the most there were at one time, spares not counted; None where the log names
            none, as without Ray.
        warnings: what sessions were warned of when they began.
        data: what was read from where, as which split, as the last session says it; "" where no log
            does.
        samples: how many there are of which class; None where no log says.
        cost: parameters and memory, of a block and of all; see ``TrainResult``.
        peak_bytes: the most memory that a process had of its own while it trained, or of a GPU's;
            None where no log says.
        started: when the first session began, in seconds since 1970; None where no log says.
        last: when the run was last heard of.
        logged_seconds: of all sessions, without the time between them.
        checkpoint: the newest whole one.
        files: names in the folder.
    """

    folder: str
    state: State
    holder: str | None
    config: TrainConfig
    result: TrainResult | None
    history: History
    set_aside: dict[int, str] = field(default_factory=dict)
    sessions: int = 0
    lost: tuple[Lost, ...] = ()
    num_workers: int | None = None
    warnings: tuple[str, ...] = ()
    data: str = ""
    samples: Samples | None = None
    cost: dict[str, int] = field(default_factory=dict)
    peak_bytes: int | None = None
    started: float | None = None
    last: float | None = None
    logged_seconds: float = 0.0
    checkpoint: str | None = None
    files: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The folder's own name."""
        return last_part(self.folder)

    @property
    def epochs(self) -> int:
        """Epochs that every block has ended."""
        return self.result.epochs if self.result else self.history.num_epochs

    @property
    def train_seconds(self) -> float:
        """Of training: what a finished run measured, else how long its sessions are logged."""
        return self.result.train_seconds if self.result else self.logged_seconds

    @property
    def restarts(self) -> int:
        """How often the run was gone on with."""
        return max(self.sessions - 1, 0)

    @cached_property
    def disk_bytes(self) -> dict[str, int]:
        """What the folder takes on disk, "all" of it, and the "checkpoints" alone."""
        store = Store(self.folder, "RUN")
        return {"all": store.size(""), CHECKPOINTS: store.size(CHECKPOINTS)}

    def to_dict(self) -> dict[str, Any]:
        """The facts as plain values, for programs."""
        best = self.history.best
        result = self.result
        accuracy = {k: vars(v) for k, v in result.test_accuracy.items()} if result else None
        return {
            "kind": "run",
            "name": self.name,
            "folder": self.folder,
            "state": self.state,
            "holder": self.holder,
            "dataset": self.config.dataset,
            "num_blocks": self.config.num_blocks,
            "embedding_type": self.config.embedding_type,
            "epochs": self.epochs,
            "epochs_asked": self.config.epochs,
            "seed": self.config.seed,
            "test_accuracy": accuracy,
            "best_val_accuracy": best[1] if best else None,
            "best_epoch": best[0] if best else None,
            "train_seconds": self.train_seconds,
            "set_aside": {str(t): why for t, why in self.set_aside.items()},
            "executor": self.config.executor,
            "workers": self.num_workers,
            "restarts": self.restarts,
            "lost_workers": len(self.lost),
            "peak_memory_bytes": self.peak_bytes,
            "precision": result.precision if result else None,
            "versions": result.versions if result else None,
            "started": self.started,
            "last": self.last,
            "checkpoint": self.checkpoint,
        }


def read_run(folder: str) -> RunFacts:
    """What is known of a run.

    Args:
        folder: a run folder or its URI.

    Raises:
        UserError: there is no run there, or a file of it is damaged or of another version.
    """
    store = Store(folder, "RUN")
    with reading(folder):
        files = tuple(names_in_run(store))
        # Before the result is looked for: a run may finish meanwhile.
        holder = store.holder()
        events = read_events(store, without=WORK)  # of which the last times are enough here
    config, result = read_config(store), read_result(store)
    if config is None and result is not None:
        config = config_of(result.config, f"{folder}/{RESULT}")
    if config is None:
        raise UserError(f"{folder} has no config.yaml, which every run begins with: restore it.")
    names = reversed(checkpoint_names(store))
    state: State = "finished" if result else "running" if holder else "stopped"
    return RunFacts(
        folder=folder,
        state=state,
        holder=holder if state == "running" else None,
        config=config,
        result=result,
        history=read_history(store) or History(),
        checkpoint=next((n for n in names if is_complete(store, n)), None),
        files=files,
        **_from_log(events, result),
    )


def _from_log(events: Sequence[dict[str, Any]], result: TrainResult | None) -> dict[str, Any]:
    """The facts that only the log tells; lines that lack what theirs must have are passed over."""
    set_aside = {int(t): why for t, why in result.set_aside.items()} if result else {}
    found: dict[str, Any] = {"sessions": 0, "logged_seconds": 0.0, "set_aside": set_aside}
    found["cost"] = result.cost if result else {}
    lost: list[Lost] = []
    warnings: dict[str, None] = {}
    workers: set[str] = set()
    most, begun = 0, None
    times = [e["time"] for e in events if isinstance(e.get("time"), (int, float))]
    for event in events:
        kind, time, worker = event.get("event"), event.get("time"), event.get("worker")
        if not isinstance(time, (int, float)):
            continue
        if kind == "run_started":
            found["sessions"] += 1
            workers, begun = set(), time
            warnings |= dict.fromkeys(map(str, event.get("warnings") or ()))
            found["data"] = str(event.get("data") or "")
            with suppress(KeyError, TypeError, ValueError):  # older versions do not say
                found["samples"] = built(Samples, event["samples"])
                found["cost"] = built(dict[str, int], event["cost"]) | found["cost"]
        elif kind == "worker_started" and not event.get("spare"):
            workers.add(str(worker))
            most = max(most, len(workers))
        elif kind == "worker_lost":
            workers.discard(str(worker))
            seconds = event.get("seconds")
            spent = float(seconds) if isinstance(seconds, (int, float)) else 0.0
            lost.append(Lost(str(worker), time, str(event.get("reason", "unknown")), spent))
        elif kind == "peak_memory" and isinstance(event.get("bytes"), int):
            found["peak_bytes"] = max(found.get("peak_bytes", 0), event["bytes"])
        elif (
            kind == "set_aside"
            and isinstance(event.get("block"), int)
            and result is None  # else it may have been trained on from a checkpoint before that
        ):
            set_aside.setdefault(event["block"], str(event.get("reason", "unknown")))
        if begun is not None:
            found["logged_seconds"] += max(0.0, time - begun)
            begun = max(begun, time)
    return found | {
        "lost": tuple(lost),
        "warnings": tuple(warnings),
        "num_workers": most or None,
        "started": min(times, default=None),
        "last": max(times, default=None),
    }
