import importlib.util
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from noprop_dist import TrainConfig, TrainResult, train
from noprop_dist.cli import main
from noprop_dist.record import trackers
from noprop_dist.record.history import BlockEpoch, History
from noprop_dist.record.store import Store
from noprop_dist.record.trackers import open_trackers
from noprop_dist.text import shown
from runs import small

EPOCHS = 3
RESULT: Any = SimpleNamespace(test_accuracy={}, test_measures={}, epochs=100)
VALUE = {"loss": 0.5, "accuracy": 0.25}


def history_of(num_epochs: int) -> History:
    """Numbers that tell their epoch."""
    history = History()
    for epoch in range(1, num_epochs + 1):
        history.record({1: BlockEpoch(epoch, epoch / 10, 1.0)}, epoch / 20, None, epoch / 1000)
    return history


def two_sessions(config: TrainConfig, store: Store) -> list[str]:
    """One logs three epochs and has a checkpoint of two; the next goes on. What both warn of."""
    said: list[str] = []
    with open_trackers(config, store, 0, said.append) as first:
        first.take(history_of(1))
        first.take(history_of(3))
    with open_trackers(config, store, 2, said.append) as second:
        second.take(history_of(2))
        second.take(history_of(4))
    return said


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values by name, as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder))
    found.Reload()
    names = found.Tags()["scalars"]
    return {name: [(e.step, e.value) for e in found.Scalars(name)] for name in names}


@pytest.fixture(autouse=True)
def quiet_reader() -> Iterator[None]:
    """TensorBoard logs that it purges."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    folder = tmp_path_factory.mktemp("tracked") / "run"
    return train(small(folder, epochs=EPOCHS, tensorboard=True))


def test_tensorboard_has_the_numbers_of_every_epoch_and_of_the_end(tracked: TrainResult) -> None:
    folder = Path(tracked.folder)
    history = json.loads((folder / "training_history.json").read_text())
    found = scalars(folder / "tensorboard")
    lists = {
        "train/loss": history["train_loss_history"],
        "train/accuracy": history["train_accuracy_history"],
        "val/accuracy_z_T": history["val_accuracy_history"],
        "val/accuracy_mean_softmax": history["val_accuracy_mean_softmax_history"],
        "lr": history["lr_history"],
        **{f"block_loss/00{t}": history["blocks"][str(t)]["loss"] for t in (1, 2, 3)},
        **{f"block_accuracy/00{t}": history["blocks"][str(t)]["accuracy"] for t in (1, 2, 3)},
    }
    ends = {f"test/accuracy_{k}": a.mean for k, a in tracked.test_accuracy.items()}
    for readout, measures in tracked.test_measures.items():
        ends |= {f"test/{name}_{readout}": value for name, value in measures.items()}
    assert set(found) == set(lists) | set(ends)
    for name, values in lists.items():
        assert [step for step, _ in found[name]] == [1, 2, 3]
        assert [value for _, value in found[name]] == pytest.approx(values, rel=1e-6)
    for name, value in ends.items():
        assert found[name] == [(EPOCHS, pytest.approx(value, rel=1e-6))]


def test_tensorboard_has_the_options_as_text_and_as_hyperparameters(tracked: TrainResult) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    found = EventAccumulator(str(Path(tracked.folder) / "tensorboard"))
    found.Reload()
    (text,) = found.Tensors("config/text_summary")
    assert b"num_blocks: 3" in text.tensor_proto.string_val[0]
    content = found.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    started = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert started.hparams["num_blocks"].number_value == 3
    assert started.hparams["embedding_type"].string_value == "one-hot"


def test_epochs_of_a_session_without_the_tracker_are_passed_on_later(tmp_path: Path) -> None:
    store = Store(tmp_path)
    config = TrainConfig(tensorboard=True)
    for num_epochs, until in ((0, 2), (4, 5)):  # another session trained 3 and 4
        with open_trackers(config, store, num_epochs, pytest.fail) as some:
            some.take(history_of(until))
    steps = [step for step, _ in scalars(tmp_path / "tensorboard")["train/loss"]]
    assert steps == [1, 2, 3, 4, 5]


def test_trackers_change_no_weight_and_may_be_changed_between_sessions(
    tracked: TrainResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = train(small(tmp_path / "run", epochs=EPOCHS))
    assert plain.block_sha256 == tracked.block_sha256
    again = train(small(Path(tracked.folder), epochs=EPOCHS, quiet=False))
    assert again.block_sha256 == tracked.block_sha256
    assert "nothing to train" in capsys.readouterr().err


@pytest.mark.parametrize("root", ["local", "mock:///bucket/run"])
def test_tensorboard_has_no_step_twice_where_a_run_goes_on(root: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "run" if root == "local" else root)
    assert two_sessions(TrainConfig(tensorboard=True), store) == []
    copied = tmp_path / "copied"
    copied.mkdir()
    assert len(store.list("tensorboard")) == 2
    for name in store.list("tensorboard"):
        (copied / name).write_bytes(store.read(f"tensorboard/{name}"))
    assert scalars(copied)["train/loss"] == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]


def test_mlflow_goes_on_with_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    import mlflow  # takes longer than a stopped run waits for its trackers

    store = Store(tmp_path / "name-of-run")
    assert two_sessions(TrainConfig(tracker="mlflow", num_blocks=7), store) == []
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("noprop-dist")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "name-of-run"
    assert run.data.params["num_blocks"] == "7"
    for name, values in {
        "train/loss": [1, 2, 3, 4],
        "block_accuracy/001": [0.1, 0.2, 0.3, 0.4],
    }.items():
        logged = client.get_metric_history(run.info.run_id, name)
        assert [(m.step, m.value) for m in logged] == list(enumerate(values, 1))


class Wandb:
    """What is used of the library, without a server."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, float]] = {}
        self.summary: dict[str, float] = {}
        self.asked: list[dict[str, Any]] = []
        self.ended: list[int] = []
        self.Settings = SimpleNamespace

    def init(self, **asked: Any) -> SimpleNamespace:
        self.asked.append(asked)
        return SimpleNamespace(
            id=asked["id"] or "made", log=self.log, summary=self.summary, finish=self.finish
        )

    def log(self, numbers: dict[str, float], step: int) -> None:
        self.rows[step] = numbers

    def finish(self, exit_code: int) -> None:
        self.ended.append(exit_code)


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Wandb:
    fake = Wandb()
    fake.__spec__ = importlib.util.spec_from_loader("wandb", None)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", fake)  # type: ignore[arg-type]
    return fake


def test_wandb_goes_on_with_its_run(wandb: Wandb, tmp_path: Path) -> None:
    assert two_sessions(TrainConfig(tracker="wandb"), Store(tmp_path / "run")) == []
    assert [asked["id"] for asked in wandb.asked] == [None, "made"]
    assert [asked["name"] for asked in wandb.asked] == ["run", "run"]
    assert {step: row["train/loss"] for step, row in wandb.rows.items()} == {1: 1, 2: 2, 3: 3, 4: 4}


def test_two_trackers_note_what_they_have_in_one_file(wandb: Wandb, tmp_path: Path) -> None:
    config, store = TrainConfig(tracker="wandb", tensorboard=True), Store(tmp_path / "run")
    with open_trackers(config, store, 0, pytest.fail) as both:
        both.take(history_of(100))
        both.result(RESULT)  # they get time to end
    noted = json.loads((tmp_path / "run/tracker.json").read_text())
    assert noted == {"wandb": {"id": "made", "epochs": 100}, "tensorboard": {"epochs": 100}}


def test_names_that_are_no_utf8_keep_no_tracker_from_a_run(wandb: Wandb, tmp_path: Path) -> None:
    config = TrainConfig(tensorboard=True, tracker="wandb", dataset="caf\udce9")
    store = Store(tmp_path / "run\udce9")
    with open_trackers(config, store, 0, pytest.fail) as both:
        both.take(history_of(2))
        both.result(RESULT)
    (log,) = (tmp_path / "run\udce9/tensorboard").iterdir()
    log.rename(tmp_path / log.name)  # TensorBoard itself reads no folder of such a name
    steps = [step for step, _ in scalars(tmp_path)["train/loss"]]
    assert steps == [1, 2]
    (asked,) = wandb.asked
    assert (asked["name"], asked["config"]["dataset"]) == (r"run\xe9", r"caf\xe9")
    assert shown(asked["dir"]) == asked["dir"]


def test_wandb_gets_the_end_of_a_run(wandb: Wandb, tmp_path: Path) -> None:
    result = train(small(tmp_path / "run", epochs=1, tracker="wandb"))
    assert sorted(wandb.rows) == [1]
    assert wandb.summary["test/accuracy_z_T"] == result.test_accuracy["z_T"].mean
    assert wandb.asked[0]["config"]["epochs"] == 1
    assert wandb.ended == [0]


def test_wandb_itself_takes_it_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_DIR", raising=False)
    assert two_sessions(TrainConfig(tracker="wandb"), Store(tmp_path / "run")) == []
    known = json.loads((tmp_path / "run/tracker.json").read_text())["wandb"]["id"]
    assert len(list((tmp_path / "run/wandb").glob(f"offline-run-*/run-{known}.wandb"))) == 2


def test_tracker_that_fails_is_told_once_and_training_goes_on(
    wandb: Wandb, tracked: TrainResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(numbers: dict[str, float], step: int) -> None:
        if step == 2:
            raise ConnectionError("the server is gone\nand more")

    wandb.log = fail  # type: ignore[method-assign]
    result = train(small(tmp_path / "run", epochs=EPOCHS, tracker="wandb"))
    assert result.block_sha256 == tracked.block_sha256
    said = capsys.readouterr().err
    assert said.count("Weights & Biases gets no more numbers (the server is gone)") == 1


def test_server_that_is_not_there_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (said,) = two_sessions_of_one(TrainConfig(tracker="mlflow"), Store(tmp_path))
    assert said.startswith("MLflow gets no more numbers (")


def two_sessions_of_one(config: TrainConfig, store: Store) -> list[str]:
    said: list[str] = []
    with open_trackers(config, store, 0, said.append) as one:
        one.take(history_of(2))
    return said


def test_tracker_that_hangs_keeps_no_run(
    wandb: Wandb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "CLOSE_S", 0.2)
    end = Event()
    wandb.init = lambda **_: end.wait(60)  # type: ignore[assignment, method-assign, return-value]
    (said,) = two_sessions_of_one(TrainConfig(tracker="wandb"), Store(tmp_path))
    assert said.startswith("Weights & Biases does not answer")
    end.set()


@pytest.mark.parametrize(
    ("options", "package"),
    [(["--tensorboard"], "tensorboard"), (["--tracker", "mlflow"], "mlflow")],
)
def test_package_that_is_missing_is_told_before_training(
    options: list[str],
    package: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert main(["train", *options, "--run-dir", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert f'{" ".join(options)} needs {package}: pip install "noprop-dist[{package}]".' in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["tune", "compare"])
def test_sweeps_and_comparisons_refuse_trackers(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in (["--tensorboard"], ["--tracker", "mlflow"]):
        assert main([command, *option, "--run-dir", str(tmp_path / "run")]) == 2
        assert option[0] in capsys.readouterr().err
