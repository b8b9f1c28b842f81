import json
import time
from pathlib import Path
from typing import Any

import pytest

from noprop_dist.record.events import EventLog
from noprop_dist.record.store import Store


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def test_event_is_one_line_of_json_with_its_time(tmp_path: Path) -> None:
    before = time.time()
    EventLog(Store(tmp_path)).write("checkpoint", name="step-1", note="two\nlines", blocks=[1, 2])
    (event,) = lines(tmp_path)
    assert before - 1 <= event.pop("time") <= time.time() + 1
    assert event == {
        "event": "checkpoint",
        "name": "step-1",
        "note": "two\nlines",
        "blocks": [1, 2],
    }


def test_resumed_run_adds_to_the_log_and_parts_a_torn_line_from_its_own(tmp_path: Path) -> None:
    EventLog(Store(tmp_path)).write("start")
    with (tmp_path / "events.jsonl").open("a") as log:
        log.write('{"time": 1, "ev')
    EventLog(Store(tmp_path)).write("resume")
    first, torn, last = (tmp_path / "events.jsonl").read_text().splitlines()
    assert json.loads(first)["event"] == "start"
    assert torn == '{"time": 1, "ev'
    assert json.loads(last)["event"] == "resume"


def test_object_store_gets_every_event_by_the_next_file_written() -> None:
    store = Store("mock:///bucket/run")
    for i in range(3):
        EventLog(store).write("round", number=i)
    store.write("training_history.json", b"{}")
    events = [json.loads(line) for line in store.read("events.jsonl").splitlines()]
    assert [event["number"] for event in events] == [0, 1, 2]


def test_field_that_json_cannot_hold_leaves_no_line(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        EventLog(Store(tmp_path)).write("start", folder=tmp_path)
    assert not (tmp_path / "events.jsonl").exists()
