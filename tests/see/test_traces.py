"""Chrome traces of a run: of some steps, and of all its units."""

import json
from pathlib import Path

import pytest

from noprop_dist import train
from noprop_dist.cli import main
from runs import events, local_model, same, small


def test_a_run_is_profiled_and_traced_and_its_weights_stay_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert same(train(small(tmp_path, epochs=2, profile=True)), local_model(2))
    profile = json.loads((tmp_path / "profile.json").read_text())["traceEvents"]
    names = [str(event.get("name")) for event in profile]
    assert names.count("aten::_fused_adamw_") == 5

    assert main(["trace", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "trace.json")
    bars = [
        event
        for event in json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
        if event["ph"] == "X"
    ]
    units = [bar for bar in bars if bar["cat"] == "training"]
    logged = events(tmp_path, "unit")
    assert sorted((b["name"], b["args"]["step"]) for b in units) == sorted(
        (f"block {e['block']}", e["step"]) for e in logged
    )
    assert len(bars) - len(units) == len(events(tmp_path, "evaluation"))
    seconds = sum(e["seconds"] for e in logged)
    assert sum(bar["dur"] for bar in units) == pytest.approx(1e6 * seconds)


def test_a_folder_without_units_cannot_be_traced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", str(tmp_path)]) == 2
    assert "has no unit to trace" in capsys.readouterr().err
