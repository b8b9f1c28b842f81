"""Whatever happens to a picture, the numbers are there and whoever asked for them gets them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from made_runs import make_run
from noprop_dist import train
from noprop_dist.cli import main
from noprop_dist.draw.style import drawn
from noprop_dist.see import run_pictures
from noprop_dist.see.material import gather
from runs import small, users_style

BROKEN = "no ink,\nno paper"


def broken(*_: object, **__: object) -> None:
    raise RuntimeError(BROKEN)


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture
def run(pictured_run: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be written to."""
    return Path(shutil.copytree(pictured_run, tmp_path / "run"))


def test_evaluation_is_told_and_written_whatever_is_set_up_for_pictures(
    run: Path, tmp_path: Path, repo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run)]) == 0
    told = capsys.readouterr().out
    drawn = (run / "plots/evaluation.png").read_bytes()
    (run / "plots/evaluation.png").unlink()
    (run / "evaluation.json").unlink()
    (tmp_path / "no-text").write_bytes(b"\xff\xfe")
    (tmp_path / "a-file").touch()
    variables = {"MPLBACKEND": "nonsense", "MATPLOTLIBRC": "no-text", "MPLCONFIGDIR": "a-file"}
    done = subprocess.run(
        [sys.executable, "-m", "noprop_dist", "evaluate", str(run)], capture_output=True,
        text=True, timeout=120, check=False, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(repo)} | variables,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == told
    assert told.endswith(
        f"written to {run}/evaluation.json\npicture in {run}/plots/evaluation.png\n"
    )
    assert (run / "plots/evaluation.png").read_bytes() == drawn
    assert json.loads((run / "evaluation.json").read_text())["images"] == 359


@pytest.mark.parametrize("how", ["table", "json"])
def test_evaluation_without_its_picture_is_one(
    how: str, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("noprop_dist.use.evaluate.plot_evaluation", broken)
    args = ["evaluate", str(run), *(["--json"] if how == "json" else [])]
    assert main(args) == 0
    out, err = capsys.readouterr()
    assert err == f"not drawn: {run}/plots/evaluation.png (no ink, no paper)\n"
    written = json.loads((run / "evaluation.json").read_text())
    if how == "json":
        assert json.loads(out) == written
    else:
        assert out.endswith(f"written to {run}/evaluation.json\n")
    monkeypatch.setattr("noprop_dist.use.evaluate.plot_evaluation", interrupted)
    (run / "evaluation.json").unlink()
    assert main(args) == 130  # while it draws: the numbers came before
    assert capsys.readouterr().out == out
    assert json.loads((run / "evaluation.json").read_text()) == written


def test_a_run_ends_with_all_pictures_but_the_one_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_pictures, "plot_confusion", broken)
    folder = tmp_path / "run"
    result = train(small(folder, epochs=1, plots=True, dataset="digits"))
    assert result.epochs == 1
    assert capsys.readouterr().err == "not drawn: confusion (no ink, no paper)\n"
    files = {path.stem for path in (folder / "plots").iterdir()}
    assert files == run_pictures.MAKERS.keys() - {"confusion", "embedding", "prototypes"}
    page = (folder / "report.html").read_text()
    assert "not drawn: confusion (no ink, no paper)" in page
    assert page.count("<figure") == len(files)


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """A run of which the numbers are left: five pictures are made of them."""
    make_run(tmp_path / "numbers")
    return tmp_path / "numbers"


def told(capsys: pytest.CaptureFixture[str]) -> tuple[list[str], list[str]]:
    """What stands on standard output, and on standard error but for pictures that need more."""
    out, err = capsys.readouterr()
    return out.splitlines(), [line for line in err.splitlines() if not line.startswith("left out")]


def test_visualize_draws_the_others_and_fails_where_nothing_could_be_drawn(
    numbers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_pictures, "plot_confusion", broken)
    monkeypatch.setattr(run_pictures, "plot_timeline", broken)
    assert main(["visualize", str(numbers)]) == 0
    out, err = told(capsys)
    assert err == ["not drawn: confusion and timeline (no ink, no paper)"]
    files = [f"{numbers}/plots/{name}.png" for name in ("history", "blocks", "denoising")]
    assert out == [*files, f"{numbers}/report.html"]
    monkeypatch.setattr("noprop_dist.see.visualize.drawn", broken)
    monkeypatch.setattr("noprop_dist.see.run_page.drawn", pytest.fail)  # nothing is tried twice
    assert main(["visualize", str(numbers)]) == 2
    out, err = told(capsys)
    assert out == [f"{numbers}/report.html"]
    missing = "not drawn: history, blocks, denoising, confusion and timeline (no ink, no paper)"
    assert err == [missing, "error: no picture could be drawn."]
    assert missing in (numbers / "report.html").read_text()
    assert main(["visualize", "--history", str(numbers / "training_history.json")]) == 2
    _, err = told(capsys)
    assert err[0] == "not drawn: history and blocks (no ink, no paper)"


def test_a_drawing_that_only_the_page_fails_to_take_is_told(
    numbers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails_once(*_: Any, **__: Any) -> bytes:
        monkeypatch.setattr("noprop_dist.see.run_page.drawn", drawn)
        raise RuntimeError(BROKEN)

    monkeypatch.setattr("noprop_dist.see.run_page.drawn", fails_once)
    assert main(["visualize", str(numbers)]) == 0
    out, err = told(capsys)
    assert err == ["not drawn: history in report.html (no ink, no paper)"]
    assert f"{numbers}/plots/history.png" in out
    assert err[0] in (numbers / "report.html").read_text()


def test_pages_are_the_same_whatever_a_user_has_set(numbers: Path) -> None:
    def page() -> str:
        assert main(["visualize", str(numbers)]) == 0
        return re.sub(r"Made by .* on .*\. This", "", (numbers / "report.html").read_text())

    page()  # a page tells what its folder takes on disk, pictures and an older page with it
    plain = page()
    with users_style():
        assert page() == plain


def test_pictures_are_the_same_whatever_a_user_has_set(pictured_run: Path) -> None:
    def all_of_them() -> dict[str, bytes]:
        made, notes = run_pictures.pictures_of(gather(str(pictured_run)))
        assert notes == []
        return {picture.name: drawn(picture.make, "svg") for picture in made}

    plain = all_of_them()
    assert plain.keys() == run_pictures.MAKERS.keys()
    with users_style():
        assert all_of_them() == plain
