"""What takes long says how far it has come, on standard error, and what does not says nothing."""

import json
import re
from pathlib import Path

import pytest

from noprop_dist import TrainConfig
from noprop_dist.cli import main
from noprop_dist.engine.splits import load_splits
from pets import class_folders

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
Capture = pytest.CaptureFixture[str]


@pytest.fixture(params=["evaluate", "predict", "export"])
def command(
    request: pytest.FixtureRequest, run_folder: Path, pictures: Path, tmp_path: Path
) -> tuple[list[str], str, str]:
    """Each of the commands, what it calls its work, and how far that comes."""
    run = str(run_folder)
    file = str(tmp_path / "network.safetensors")
    long = ["--format", "jsonl", "--draws", "200"]
    return {
        "evaluate": (["evaluate", run, "--json", "--draws", "9"], "evaluating", "359/359"),
        "predict": (["predict", run, str(pictures), *long], "predicting", "━ 12 0:"),
        "export": (["export", run, "--json", "--output", file], "checking images", "359/359"),
    }[request.param]


@pytest.mark.filterwarnings("ignore")  # of drawing
def test_without_a_terminal_a_line_comes_now_and_then(
    command: tuple[list[str], str, str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    args, what, _ = command
    assert main(args) == 0
    plain = capsys.readouterr()
    assert what not in plain.err
    monkeypatch.setattr("noprop_dist.record.progress.HEARTBEAT_S", 0.002)
    assert main(args) == 0
    told = capsys.readouterr()
    assert re.search(rf"^{what}: .*\b\d+ s$", told.err, re.MULTILINE)
    assert [json.loads(line) for line in told.out.splitlines()] == [
        json.loads(line) for line in plain.out.splitlines()
    ]


@pytest.mark.filterwarnings("ignore")
def test_on_a_terminal_there_is_a_bar(
    command: tuple[list[str], str, str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    args, what, end = command
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main(args) == 0
    told = capsys.readouterr()
    bars = [line for line in re.split(r"[\r\n]+", ANSI.sub("", told.err)) if what in line]
    assert end in bars[-1]
    assert what not in told.out


@pytest.mark.parametrize("quiet", [False, True])
def test_decoding_says_how_many_of_the_pictures_are_done(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, quiet: bool
) -> None:
    folder = class_folders(tmp_path / "pets", per_class=30, size=160)
    monkeypatch.setattr("noprop_dist.record.progress.HEARTBEAT_S", 0.002)
    load_splits(TrainConfig(dataset=str(folder), quiet=quiet))
    said = capsys.readouterr().err
    line = r"^decoding images: \d+ of 90, \d+ s$"
    assert bool(re.search(line, said, re.MULTILINE)) != quiet
