"""What is read of the folder of a run that has finished, was stopped, runs, or is damaged."""

import fcntl
import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from made_runs import SHA, make_run, make_sweep
from noprop_dist import UserError, train
from noprop_dist.record import lock
from noprop_dist.record.events import EventLog
from noprop_dist.record.lock import LockTimes
from noprop_dist.record.store import Store
from noprop_dist.see.facts import read_run
from noprop_dist.see.run_text import block_rows, told
from runs import small


def test_facts_of_a_real_run_are_what_training_said(tmp_path: Path) -> None:
    result = train(small(tmp_path / "run", max_train_images=100, num_blocks=2, epochs=2, seed=5))
    facts = read_run(str(tmp_path / "run"))
    assert facts.result == result
    assert (facts.state, facts.name, facts.epochs, facts.restarts) == ("finished", "run", 2, 0)
    assert facts.config.seed == 5
    assert facts.train_seconds == result.train_seconds
    assert facts.history.best is not None
    assert facts.history.best[1] == max(
        v for v in facts.history.val_accuracy_history if v is not None
    )
    assert facts.started is not None
    assert facts.last is not None
    assert facts.last > facts.started
    assert facts.checkpoint is not None
    assert dict(block_rows(facts))[2]["sha256"] == result.block_sha256["2"]


def test_stopped_run_gives_what_is_there(tmp_path: Path) -> None:
    make_run(tmp_path, finished=False, epochs=4, executor="ray", lr=0.5)
    log = EventLog(Store(tmp_path))
    log.write("worker_started", worker="w0", node_id="n", spare=False)
    log.write("worker_started", worker="w1", node_id="n", spare=False)
    log.write("worker_started", worker="w2", node_id="n", spare=True)
    log.write("worker_lost", worker="w1", blocks=[2], reason="it died", seconds=1.5)
    log.write("set_aside", block=3, step=7, reason="its loss is not finite")
    log.write("run_started", checkpoint="step-1", warnings=["beware"], steps={})
    with (tmp_path / "events.jsonl").open("a") as torn:
        torn.write('{"time": 1, "event": "worker_lo')
    facts = read_run(str(tmp_path))
    assert (facts.state, facts.result, facts.epochs, facts.history.best) == (
        "stopped",
        None,
        4,
        (2, 0.9),
    )
    assert (facts.restarts, facts.num_workers, facts.checkpoint) == (1, 2, "step-00000004")
    assert [(e.worker, e.reason, e.seconds) for e in facts.lost] == [("w1", "it died", 1.5)]
    assert facts.set_aside == {3: "its loss is not finite"}
    assert facts.warnings == ("beware",)
    _, block = next(block_rows(facts))
    assert block["loss"] == 1.5 / 4
    assert block["after_t"] is None


def test_run_that_has_just_begun_is_told_of(tmp_path: Path) -> None:
    make_run(tmp_path, finished=False)
    for name in ("training_history.json", "events.jsonl"):
        (tmp_path / name).unlink()
    facts = read_run(str(tmp_path))
    assert (facts.epochs, facts.history.best, facts.started, facts.sessions) == (0, None, None, 0)


def test_time_between_sessions_is_not_training(tmp_path: Path) -> None:
    make_run(tmp_path, finished=False)
    lines: list[dict[str, Any]] = [
        {"time": 100.0, "event": "run_started"},
        {"time": 103.0, "event": "checkpoint"},
        {"time": 900.0, "event": "run_started"},
        {"time": 905.0, "event": "checkpoint"},
    ]
    (tmp_path / "events.jsonl").write_text("\n".join(map(json.dumps, lines)))
    facts = read_run(str(tmp_path))
    assert (facts.started, facts.last, facts.train_seconds) == (100.0, 905.0, 8.0)


def test_training_within_an_epoch_counts(tmp_path: Path) -> None:
    make_run(tmp_path, finished=False)
    (tmp_path / "training_history.json").unlink()
    lines: list[dict[str, Any]] = [
        {"time": 100.0, "event": "run_started"},
        {"time": 103.0, "event": "unit"},
        {"time": 110.0, "event": "unit"},
        {"time": 900.0, "event": "run_started"},
        {"time": 905.0, "event": "unit"},
        {"time": 906.0, "event": "evaluation"},
    ]
    (tmp_path / "events.jsonl").write_text(
        "\n".join(map(json.dumps, lines)) + '\n{"time": 907.0, "event": "unit", "blo'
    )
    with Store(tmp_path).lock():
        facts = read_run(str(tmp_path))
    assert (facts.last, facts.train_seconds) == (906.0, 16.0)
    assert ("epochs", f"0 of {facts.config.epochs}, in its first") in told(facts)
    assert ("trained for", "16 s") in told(facts)


def test_live_run_is_known_by_its_lock(tmp_path: Path) -> None:
    make_run(tmp_path, finished=False)
    with Store(tmp_path).lock():
        facts = read_run(str(tmp_path))
        assert facts.state == "running"
        assert facts.holder is not None
        assert facts.holder.startswith("process ")
    assert (tmp_path / ".lock").exists()  # it stays, but nobody holds it
    assert read_run(str(tmp_path)).state == "stopped"


def test_a_look_at_the_lock_does_not_keep_a_run_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path)
    looking = (tmp_path / ".lock").open("w")
    fcntl.flock(looking, fcntl.LOCK_SH)
    monkeypatch.setattr(lock.time, "sleep", lambda _: looking.close())
    with Store(tmp_path).lock():
        assert looking.closed


def test_live_run_in_an_object_store_is_known_by_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(tmp_path, finished=False)
    uri = f"fsspec+memory:///{uuid.uuid4().hex}/run"
    store = Store(uri)
    for path in ("config.yaml", "training_history.json", "events.jsonl"):
        store.write(path, (tmp_path / path).read_bytes())
    with store.lock(times=LockTimes(renew=30, stale=60, settle=0.01)):
        facts = read_run(uri)
        assert (facts.state, facts.name, facts.epochs) == ("running", "run", 2)
        assert facts.holder is not None
        monkeypatch.setattr("noprop_dist.record.store.DEFAULT_TIMES", LockTimes(stale=0.0))
        assert read_run(uri).state == "stopped"  # its lock was not renewed for too long
    assert read_run(uri).state == "stopped"


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        ("result.json", "{", "result.json is not what a run writes"),
        ("result.json", "[]", "no JSON object"),
        ("result.json", '{"epochs": 3}', "it lacks test_accuracy"),
        ("training_history.json", "{\x00", "training_history.json is not what"),
        ("training_history.json", '{"lr_history": ["1"]}', "lr_history holds '1', which is no"),
        ("training_history.json", '{"blocks": {"1": 2}}', "its block 1 must be an object"),
        ("config.yaml", "lr: fast", "--lr must be float, got 'fast'"),
        ("config.yaml", "from_the_future: 1", "the field 'from_the_future' is unknown"),
        ("config.yaml", "- 1", "is not what a run writes"),
    ],
)
def test_damaged_files_are_told_in_one_sentence(
    tmp_path: Path, file: str, text: str, says: str
) -> None:
    make_run(tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(UserError, match=says) as caught:
        read_run(str(tmp_path))
    assert "\n" not in str(caught.value)
    assert str(tmp_path / file) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"epochs": "two"}, "epochs is not of its type"),
        ({"epochs": True}, "epochs is not of its type"),
        ({"test_accuracy": {"z_T": {"mean": 1.0}}}, "it lacks test_accuracy.z_T.stderr"),
        ({"test_accuracy": {}}, "it lacks test_accuracy.z_T"),
        ({"accuracy_after_t": [None]}, "accuracy_after_t is not of its type"),
        ({"block_sha256": {"1": 7}}, "block_sha256.1 is not of its type"),
    ],
)
def test_result_of_other_types_is_refused(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    make_run(tmp_path)
    path = tmp_path / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=says):
        read_run(str(tmp_path))


def test_fields_that_a_later_version_adds_are_passed_over(tmp_path: Path) -> None:
    make_run(tmp_path)
    path = tmp_path / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"added": 1}))
    facts = read_run(str(tmp_path))
    assert facts.result is not None
    assert facts.result.block_sha256["1"] == SHA


def test_folders_without_a_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such run folder"):
        read_run(str(tmp_path / "no"))
    with pytest.raises(UserError, match="holds no run: give a folder"):
        read_run(str(tmp_path))
    make_run(tmp_path, finished=False)
    (tmp_path / "config.yaml").unlink()
    with pytest.raises(UserError, match=r"has no config\.yaml"):
        read_run(str(tmp_path))


def test_reading_runs_imports_no_pytorch_and_no_ray(tmp_path: Path) -> None:
    package = tmp_path / "code/of_mine"
    package.mkdir(parents=True)
    for name in ("__init__.py", "blocks.py"):
        (package / name).write_text("raise SystemExit('it was run')")
    make_run(tmp_path / "run", block="of_mine.blocks:Own")
    (tmp_path / "run/block.py").write_bytes((package / "blocks.py").read_bytes())
    make_sweep(tmp_path / "sweep", [0.5])
    code = (
        "import sys; sys.path.append(sys.argv[1] + '/code'); "
        "from noprop_dist.cli import main; main(['runs', sys.argv[1]]); "
        "main(['show', sys.argv[1] + '/run']); main(['show', sys.argv[1] + '/sweep']); "
        "print({'torch', 'ray', 'matplotlib'} & {*sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "its source is as it was" in done.stdout
    assert done.stdout.splitlines()[-1] == "set()"
