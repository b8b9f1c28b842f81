"""Pictures from the command line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from noprop_dist.cli import main

HISTORY = {"train_loss_history": [3, 2, None, 1], "something_else": "x"}
NAMES = [
    "history", "blocks", "denoising", "trajectories", "embedding", "prototypes", "confusion",
    "predictions", "confidence", "timeline",
]  # fmt: skip


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """A training history that a hand has written."""
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(HISTORY))
    return path


def test_all_pictures_are_drawn_into_the_run_folder(
    repo: Path, pictured_run: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(pictured_run, tmp_path / "run")
    job = [sys.executable, str(repo / "jobs/visualize.py"), str(folder)]
    done = subprocess.run(job, capture_output=True, text=True, timeout=120, check=True)
    drawn = done.stdout.splitlines()
    *pictures, page = drawn
    assert pictures == [f"{folder}/plots/{name}.png" for name in NAMES]
    assert page == f"{folder}/report.html"
    assert all(f"-{name}" in Path(page).read_text() for name in NAMES)
    assert Path(page).stat().st_size < 5_000_000
    assert done.stderr == ""
    for path in pictures:
        with Image.open(path) as picture:
            assert min(picture.size) > 200


def test_history_alone_is_drawn_beside_it(
    repo: Path, history: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = [sys.executable, str(repo / "jobs/visualize.py"), "--history", str(history)]
    done = subprocess.run(job, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [f"{history.parent}/history.png"]
    assert done.stderr == ""


@pytest.mark.parametrize(("form", "start"), [("svg", b"<?xml"), ("pdf", b"%PDF"), ("png", b"\x89")])
def test_pictures_come_in_the_format_and_folder_asked_for(
    history: Path, form: str, start: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    output = history.parent / "new/folder"
    argv = ["visualize", "--history", str(history), "--format", form, "--output", str(output)]
    assert main(argv) == 0
    assert capsys.readouterr().out.split() == [f"{output}/history.{form}"]
    assert (output / f"history.{form}").read_bytes().startswith(start)
    assert sorted(p.name for p in history.parent.iterdir()) == ["mine.json", "new"]


def test_notes_go_to_standard_error(
    pictured_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "live"
    folder.mkdir()
    for name in ("events.jsonl", "training_history.json"):
        shutil.copy(pictured_run / name, folder)
    assert main(["visualize", str(folder)]) == 0
    out, err = capsys.readouterr()
    drawn = ["history", "blocks", "timeline"]
    assert out.split() == [f"{folder}/plots/{name}.png" for name in drawn]
    left_out, no_report = err.splitlines()
    assert left_out.startswith("left out denoising, trajectories")
    assert "has no config.yaml" in no_report


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "there is no such file"),
        ("{", "is not what a run writes"),
        ("[1]", "is not what a run writes"),
        ('{"lr_history": ["x"]}', "which is no number"),
        ("{}", "holds no numbers to draw"),
    ],
)
def test_history_of_no_use_gets_one_sentence(
    history: Path, content: str | None, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    history.unlink() if content is None else history.write_text(content)
    assert main(["visualize", "--history", str(history)]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert not list(history.parent.glob("*.png"))


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        ([], "give either a run folder or --history FILE"),
        (["run", "--history", "mine.json"], "give either a run folder or --history FILE"),
        (["--history", "mine.json", "--dataset", "mnist"], "--dataset is for a run"),
        (["run", "--format", "gif"], "--format: invalid choice: 'gif'"),
        (["run", "--output", ""], "--output must not be empty"),
        (["run", "--outpt", "x"], "did you mean --output"),
        (["no/such/run"], "no/such/run: there is no such run folder"),
    ],
)
def test_bad_options_get_one_sentence(
    argv: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["visualize", *argv]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


def test_place_that_cannot_be_written_to_is_told(
    history: Path, pictured_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for source in (["--history", str(history)], [str(pictured_run)]):
        assert main(["visualize", *source, "--output", str(history / "below")]) == 2
        assert "another --output" in capsys.readouterr().err


def test_help_is_there_before_anything_heavy() -> None:
    code = (
        "import sys\n"
        "from noprop_dist.cli import main\n"
        "try:\n    main(['visualize', '--help'])\n"
        "finally:\n    assert not {'torch', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--history" in done.stdout
