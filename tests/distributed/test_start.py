"""A private Ray: where its files lie, and what is said where it cannot be started."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from noprop_dist import UserError
from noprop_dist.distributed.start import LONGEST_PLACE, own_folder, starting
from runs import small

LONG = "x" * 60


def place_for(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Path:
    """Where the folder lies that Ray is given with these variables; gone by now."""
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with own_folder():
        folder = Path(os.environ["RAY_TMPDIR"])
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert list(folder.iterdir()) == []
        (folder / "ray").mkdir()
    assert not folder.exists()
    assert os.environ.get("RAY_TMPDIR") == variables.get("RAY_TMPDIR")
    return folder.parent


def test_ray_s_files_lie_where_temporary_files_do(monkeypatch: pytest.MonkeyPatch) -> None:
    assert place_for(monkeypatch) == Path("/tmp")
    assert place_for(monkeypatch, TMPDIR="/var/tmp") == Path("/var/tmp")
    assert place_for(monkeypatch, TMPDIR="/tmp", RAY_TMPDIR="/var/tmp") == Path("/var/tmp")


@pytest.mark.parametrize("name", ["TMPDIR", "RAY_TMPDIR"])
@pytest.mark.parametrize("value", ["", LONG, "file", "/proc", "\u00e4"])
def test_place_that_ray_cannot_use_is_not_used(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / LONG).mkdir()
    assert place_for(monkeypatch, **{name: value}) == Path("/tmp")


def test_no_place_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(*_: object, **__: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr("noprop_dist.distributed.start.TemporaryDirectory", nowhere)
    with pytest.raises(UserError, match=f"whose path has at most {LONGEST_PLACE} characters"):
        place_for(monkeypatch)


@pytest.mark.ray
@pytest.mark.parametrize("command", ["train.py", "tune.py", "compare.py"])
def test_ray_that_cannot_be_started_is_one_sentence(
    command: str, tmp_path: Path, repo: Path
) -> None:
    """Its token cannot be written."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_A")}
    environment |= {"HOME": "/proc/nowhere", "RAY_AUTH_MODE": "token"}
    (tmp_path / "c.yaml").write_text(small(tmp_path / "run", executor="ray").to_yaml())
    done = subprocess.run(
        [sys.executable, str(repo / "jobs" / command), "--config", str(tmp_path / "c.yaml")],
        env=environment, capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: Ray cannot be started on this machine (")
    assert "--executor local" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_folder_whose_name_is_not_utf_8_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    monkeypatch.chdir(folder)
    with (
        pytest.raises(UserError, match=r"Ray cannot work in .*/caf\\xe9, .* not UTF-8"),
        starting(),
    ):
        raise AssertionError("it was tried")
