"""Numbers of a run for TensorBoard, Weights & Biases and MLflow, epoch by epoch.

Each is served by a thread of its own: training neither waits for a tracker nor ends with it. Steps
are epochs, counted from 1.
"""

import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory, gettempdir
from threading import Lock, Thread
from typing import Any, Self

from typing_extensions import override

from noprop_dist.config import TrainConfig
from noprop_dist.errors import UserError
from noprop_dist.record.folder import Reader
from noprop_dist.record.history import History
from noprop_dist.record.result import TrainResult
from noprop_dist.record.store import Store
from noprop_dist.run_files import TENSORBOARD, TRACKERS
from noprop_dist.text import first_line, last_part, shown

PROJECT = "noprop-dist"
CLOSE_S, STOPPED_S = 20.0, 2.0  # to send what is left, at the end of a run or where it is stopped

_noting = Lock()  # every tracker has a thread, and the file is all trackers'

Numbers = Mapping[str, float]
Tell = Callable[[str], None]


class Tracker(ABC):
    """Where numbers go; what it raises is told once, and it gets no more.

    Args:
        config: the options.
        store: the run folder, which keeps what identifies the run to a tracker.
        num_epochs: how many the run goes on from.

    Attributes:
        name: what the run folder notes of it stands under.
        last: the newest epoch that it has from an earlier session, 0 where it has none.
    """

    name: str

    def __init__(self, config: TrainConfig, store: Store, num_epochs: int) -> None:
        self._config, self._store = config, store
        # Of earlier sessions: the run's ``id`` at the tracker, the ``epochs`` it has.
        self._noted: dict[str, Any] = (Reader(store).json(TRACKERS) or {}).get(self.name, {})
        self.last = min(num_epochs, self._noted.get("epochs", 0))

    @abstractmethod
    def log(self, epoch: int, numbers: Numbers) -> None:
        """An epoch that every block has ended."""

    def result(self, epoch: int, numbers: Numbers) -> None:
        """The numbers of the finished run, of so many epochs."""
        self.log(epoch, numbers)

    @abstractmethod
    def close(self, finished: bool) -> None:
        """Send what is left; ``finished``: the run has come to its end."""

    def _note(self, **values: Any) -> None:
        with _noting:
            noted = Reader(self._store).json(TRACKERS) or {}
            noted[self.name] = noted.get(self.name, {}) | values
            self._store.write(TRACKERS, json.dumps(noted).encode())

    def _options(self) -> dict[str, Any]:
        """The options, their text as a server can be sent it."""
        values = self._config.to_dict().items()
        return {k: shown(v) if isinstance(v, str) else v for k, v in values}


class Trackers:
    """All trackers of a run.

    Args:
        makers: by name, what opens each; called in its thread, since that may ask a server.
        warn: is told, from those threads, what fails.
    """

    def __init__(self, makers: Mapping[str, Callable[[], Tracker]], warn: Tell) -> None:
        self._served = [_Served(name, make, warn) for name, make in makers.items()]
        self._given = 0
        self._finished = False

    def take(self, history: History) -> None:
        """Pass on the epochs that were not yet."""
        if not self._served:
            return
        for epoch in range(self._given + 1, history.num_epochs + 1):
            self._tell_all(partial(_log, epoch=epoch, numbers=history.numbers(epoch)))
            self._given = epoch

    def result(self, result: TrainResult) -> None:
        """Pass on what the test split said."""
        numbers = {f"test/accuracy_{k}": a.mean for k, a in result.test_accuracy.items()}
        for readout, measures in result.test_measures.items():
            numbers |= {f"test/{name}_{readout}": value for name, value in measures.items()}
        self._tell_all(lambda tracker: tracker.result(result.epochs, numbers))
        self._finished = True

    def _tell_all(self, action: Callable[[Tracker], None]) -> None:
        for served in self._served:
            served.queue.put(action)

    def __enter__(self) -> Self:
        """Nothing is left to do: the threads run."""
        return self

    def __exit__(self, *error: object) -> None:
        """Let every tracker send what is left, and wait for it for a while."""
        finished = self._finished
        self._tell_all(lambda tracker: tracker.close(finished))
        # Of a stopped run little is left to send, and who stopped it may not wait for long.
        until = time.monotonic() + (CLOSE_S if finished else STOPPED_S)
        for served in self._served:
            served.end(until)


class _Served:
    """A tracker and its thread, which dies with the process: a server that hangs keeps no run."""

    def __init__(self, name: str, make: Callable[[], Tracker], warn: Tell) -> None:
        self.queue: SimpleQueue[Callable[[Tracker], None] | None] = SimpleQueue()
        self._name, self._make, self._warn = name, make, warn
        self._thread = Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    def end(self, until: float) -> None:
        self.queue.put(None)
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            self._warn(f"{self._name} does not answer: it may lack numbers, the run folder has all")

    def _serve(self) -> None:
        try:
            tracker = self._make()
            while (action := self.queue.get()) is not None:
                action(tracker)
        except Exception as error:
            self._warn(
                f"{self._name} gets no more numbers ({first_line(error)}): the run goes on without "
                "it"
            )


def _log(tracker: Tracker, *, epoch: int, numbers: Numbers) -> None:
    if epoch > tracker.last:
        tracker.log(epoch, numbers)


def check_trackers(config: TrainConfig) -> None:
    """Look whether what the options ask for is installed, before anything is trained.

    Raises:
        UserError: a package is missing.
    """
    asked = [("--tensorboard", TENSORBOARD)] if config.tensorboard else []
    if config.tracker != "none":
        asked.append((f"--tracker {config.tracker}", config.tracker))
    for option, package in asked:
        if find_spec(package) is None:
            raise UserError(f'{option} needs {package}: pip install "{PROJECT}[{package}]".')


def open_trackers(config: TrainConfig, store: Store, num_epochs: int, warn: Tell) -> Trackers:
    """The trackers that the options name.

    Args:
        config: the options.
        store: the run folder, which keeps what identifies the run to a tracker.
        num_epochs: how many the run goes on from.
        warn: is told what fails.
    """
    asked = {
        "TensorBoard": (TensorBoard, config.tensorboard),
        "Weights & Biases": (WeightsAndBiases, config.tracker == "wandb"),
        "MLflow": (MLflow, config.tracker == "mlflow"),
    }
    makers = {
        name: partial(kind, config, store, num_epochs)
        for name, (kind, is_asked) in asked.items()
        if is_asked
    }
    return Trackers(makers, warn)


class TensorBoard(Tracker):
    """Event files in ``tensorboard/``, one a session; object stores get them after every epoch."""

    name = TENSORBOARD

    def __init__(self, config: TrainConfig, store: Store, num_epochs: int) -> None:
        super().__init__(config, store, num_epochs)
        earlier = store.list(TENSORBOARD)
        self.last = self.last if earlier else 0
        self._temporary: TemporaryDirectory[str] | None = None
        own = _writable(store)
        if own is not None:
            self._folder = own / TENSORBOARD
        else:
            self._temporary = TemporaryDirectory()
            self._folder = Path(self._temporary.name)
        library: Any = import_module("torch.utils.tensorboard")
        # What an earlier session logged of epochs that are now trained again does not count.
        purge = self.last + 1 if earlier else None
        self._writer = library.SummaryWriter(str(self._folder), purge_step=purge)
        self._writer.add_text("config", f"```\n{config.to_yaml()}```", self.last)

    @override
    def log(self, epoch: int, numbers: Numbers) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()
        self._upload()
        self._note(epochs=epoch)

    @override
    def result(self, epoch: int, numbers: Numbers) -> None:
        hparams = import_module("torch.utils.tensorboard.summary").hparams
        plain = {k: "" if v is None else v for k, v in self._options().items()}
        # SummaryWriter.add_hparams would put them into a run of their own.
        for part in hparams(plain, dict(numbers)):
            self._writer.file_writer.add_summary(part)
        self.log(epoch, numbers)

    @override
    def close(self, finished: bool) -> None:
        self._writer.close()
        self._upload()
        if self._temporary:
            self._temporary.cleanup()

    def _upload(self) -> None:
        if self._temporary:
            for path in self._folder.iterdir():
                self._store.write(f"{TENSORBOARD}/{path.name}", path.read_bytes())


class WeightsAndBiases(Tracker):
    """A run on Weights & Biases, told where to by the library's own variables."""

    name = "wandb"

    def __init__(self, config: TrainConfig, store: Store, num_epochs: int) -> None:
        super().__init__(config, store, num_epochs)
        wandb: Any = import_module("wandb")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=last_part(shown(store.root)),
            id=self._noted.get("id"),
            resume="allow",
            config=self._options(),
            dir=os.environ.get("WANDB_DIR", str(_writable(store) or gettempdir())),
            settings=wandb.Settings(console="off"),
        )
        self._note(id=self._run.id)

    @override
    def log(self, epoch: int, numbers: Numbers) -> None:
        # What the server has already of an epoch trained again it keeps.
        self._run.log(dict(numbers), step=epoch)
        self._note(epochs=epoch)

    @override
    def result(self, epoch: int, numbers: Numbers) -> None:
        self._run.summary.update(dict(numbers))

    @override
    def close(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)


class MLflow(Tracker):
    """A run on the MLflow server of ``MLFLOW_TRACKING_URI``."""

    name = "mlflow"

    def __init__(self, config: TrainConfig, store: Store, num_epochs: int) -> None:
        super().__init__(config, store, num_epochs)
        mlflow: Any = import_module("mlflow")
        self._client = mlflow.MlflowClient()
        self._metric = import_module("mlflow.entities").Metric
        known: str | None = self._noted.get("id")
        self._id = known or self._create(last_part(shown(store.root)))
        if known:
            self._client.update_run(known, status="RUNNING")
            # It would keep the numbers of an epoch twice.
            logged = self._client.get_metric_history(known, "train/loss")
            self.last = max((metric.step for metric in logged), default=0)
        else:
            self._note(id=self._id)

    def _create(self, name: str) -> str:
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self._client.get_experiment_by_name(experiment)
        where = found.experiment_id if found else self._client.create_experiment(experiment)
        run_id: str = self._client.create_run(where, run_name=name).info.run_id
        for key, value in self._options().items():
            self._client.log_param(run_id, key, value)
        return run_id

    @override
    def log(self, epoch: int, numbers: Numbers) -> None:
        now = int(time.time() * 1000)
        metrics = [self._metric(name, value, now, epoch) for name, value in numbers.items()]
        self._client.log_batch(self._id, metrics=metrics)

    @override
    def close(self, finished: bool) -> None:
        self._client.set_terminated(self._id, "FINISHED" if finished else "KILLED")


def _writable(store: Store) -> Path | None:
    """The run folder, where it is one that other libraries can write to: here, named in UTF-8."""
    return store.local if shown(store.root) == store.root else None
