"""Pictures of a run folder from the command line."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from noprop_dist import train
from noprop_dist.cli import main
from runs import small


def test_history_and_timeline_are_drawn_from_a_run_folder(repo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(small(folder, max_train_images=100, num_blocks=2, epochs=2))
    assert not (folder / "plots").exists()
    job = [sys.executable, str(repo / "jobs/visualize.py"), str(folder)]
    done = subprocess.run(job, capture_output=True, text=True, timeout=60, check=True)
    drawn = done.stdout.split()
    assert drawn == [f"{folder}/plots/timeline.png", f"{folder}/plots/history.png"]
    for path in drawn:
        with Image.open(path) as picture:
            assert min(picture.size) > 200


@pytest.mark.parametrize(
    ("history", "says"),
    [(None, "holds nothing to draw"), ("[1]", "is not what a run writes"), ("{", "is not what")],
)
def test_folder_without_a_run_gets_one_sentence(
    history: str | None, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if history is not None:
        (tmp_path / "training_history.json").write_text(history)
    assert main(["visualize", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
    assert not (tmp_path / "plots").exists()


def test_visualize_needs_one_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["visualize"]) == 2
    assert main(["visualize", "--help"]) == 0
    assert "usage: noprop visualize RUN" in "".join(capsys.readouterr())
