"""What tests of whole runs share: a small run, a block, a look into its log, and waiting."""

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any
from unittest.mock import patch

import torch

from noprop_dist import TrainConfig, TrainResult, train
from noprop_dist.engine.coordinator import Coordinator
from noprop_dist.engine.job import Job, make_job
from noprop_dist.engine.resume import start_afresh
from noprop_dist.engine.rounds import Rounds
from noprop_dist.engine.snapshot import Snapshot
from noprop_dist.engine.splits import Splits, load_splits
from noprop_dist.record.events import read_events
from noprop_dist.record.store import Store

SMALL: dict[str, Any] = {
    "max_train_images": 400,
    "num_blocks": 3,
    "batch_size": 32,
    "epochs": 3,
    "quiet": True,
    "plots": False,
    "device": "cpu",
    "executor": "local",
}

IN_PACKAGE = """
import torch
from noprop_dist.model.block import Block
from .layers import Linear

class Own(Block):
    def __init__(self, shape):
        super().__init__(shape)
        self.out = Linear(64 + shape.embed_dim, shape.num_classes)

    def classify(self, z, features, generator=None, level=None):
        return self.out(torch.cat([features.flatten(1), z], dim=1))
"""


def small(folder: Path, **changes: Any) -> TrainConfig:
    """A run of some seconds on digits: 3 blocks of 11 steps an epoch, in this process."""
    return TrainConfig(run_dir=str(folder), **(SMALL | changes))


def block_in_package(place: Path) -> str:
    """The name of a block whose package, written into a folder, has a relative import."""
    package = place / "of_blocks/inner"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "layers.py").write_text("from torch.nn import Linear\n")
    (package / "blocks.py").write_text(IN_PACKAGE)
    return "of_blocks.inner.blocks:Own"


def prepared(**changes: Any) -> tuple[Job, Splits, Rounds]:
    """The job of ``small``, its data, and every block before its first step."""
    options = TrainConfig(**(SMALL | changes))
    splits = load_splits(options)
    job = make_job(options, splits, torch.device("cpu"))
    return job, splits, start_afresh(job, splits)


@cache
def local_model(epochs: int, embedding_type: str = "one-hot", objective: str = "dt") -> TrainResult:
    """What one process makes of ``small``; trained once for all tests that compare with it."""
    kind = {"embedding_type": embedding_type, "objective": objective}
    with TemporaryDirectory() as folder:
        return train(small(Path(folder), epochs=epochs, save_every=epochs, **kind))


def events(folder: Path, name: str) -> list[dict[str, Any]]:
    """The lines of ``events.jsonl`` of one name; none while there is no file."""
    return [event for event in read_events(Store(folder)) if event["event"] == name]


def steps_trained(folder: Path) -> int:
    """The steps of all units of a run."""
    return sum(unit["num_steps"] for unit in events(folder, "unit"))


def result_of(folder: Path) -> dict[str, Any]:
    """What a finished run reports."""
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def same(a: TrainResult, b: TrainResult) -> bool:
    """Whether two runs made the same model and the same predictions."""
    return a.block_sha256 == b.block_sha256 and a.test_accuracy == b.test_accuracy


@contextmanager
def shuffled_order() -> Iterator[None]:
    """Runs that offer ready blocks in an order of chance."""

    def by_chance(found: Iterable[Snapshot]) -> list[Snapshot]:
        return sorted(found, key=lambda _: random.random())

    with patch("noprop_dist.training.Coordinator", partial(Coordinator, order=by_chance)):
        yield


@contextmanager
def users_style() -> Iterator[None]:
    """What a user may have set up for pictures of their own, in matplotlib's own state."""
    import matplotlib

    theirs = {
        "text.usetex": True, "figure.dpi": 37, "savefig.dpi": 20, "savefig.format": "pdf",
        "savefig.bbox": "tight", "font.family": ["monospace"], "axes.facecolor": "red",
        "lines.linewidth": 9.0, "image.cmap": "hot", "svg.fonttype": "path", "path.simplify": False,
    }  # fmt: skip
    with matplotlib.rc_context(theirs):
        yield


def wait_until(condition: Callable[[], bool], limit_s: float = 60) -> None:
    """Look again and again, up to the limit."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


class Meanwhile(Thread):
    """Does things to a run from outside, each once ``every`` more events of one name are there."""

    def __init__(
        self, folder: Path, every: int, things: list[Callable[[], None]], event: str = "unit"
    ) -> None:
        super().__init__(daemon=True)
        self.folder, self.every, self.things, self.event = folder, every, things, event
        self.num_done = 0
        self.over = Event()
        self.start()

    def run(self) -> None:
        for number, thing in enumerate(self.things, start=1):
            while not self.over.is_set() and self.count() < self.every * number:
                self.over.wait(0.05)
            if self.over.is_set():
                return
            thing()
            self.num_done = number

    def count(self) -> int:
        return len(events(self.folder, self.event))

    def pid_of_newest_worker(self) -> int:
        return int(events(self.folder, "worker_started")[-1]["pid"])

    def __enter__(self) -> "Meanwhile":
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join(30)
