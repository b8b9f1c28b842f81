"""Where there is no Linux, and where there is no terminal."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from noprop_dist.record import live_table, progress
from noprop_dist.record.progress import Steps
from pets import PER_CLASS, class_folders

WITHOUT_LINUX = """
import os, sys
from pathlib import Path
from noprop_dist import host, load_network, training  # PyTorch reads /proc when it is imported
from noprop_dist.cli import main
from noprop_dist.data import decoding

ONLY_THERE = "sched_", "posix_fa", "copy_file_range", "memfd_create", "eventfd"
for name in [name for name in dir(os) if name.startswith(ONLY_THERE)]:
    delattr(os, name)
host.MEMINFO, host.CONTROL_GROUPS = Path("/proc/none"), ()

def refuse(event, args):
    if event == "open" and str(args[0]).startswith(("/proc", "/sys")):
        raise FileNotFoundError(args[0])

sys.addaudithook(refuse)
small = "--max-train-images 200 --num-blocks 2 --epochs 1 --batch-size 32 --executor local"
assert main(["train", *small.split(), "--run-dir", sys.argv[1], "--no-plots", "--quiet"]) == 0
assert main(["evaluate", sys.argv[1], "--output", sys.argv[1]]) == 0
run, photos = sys.argv[2:]
decoding.MEMORY_SHARE = 0  # so that images are decoded to the cache on disk
assert main(["train", "--dataset", photos, *small.split(), "--batch-size", "8",
             "--run-dir", run, "--no-plots", "--quiet"]) == 0
assert main(["predict", run, photos, "--format", "jsonl"]) == 0
assert main(["compare"]) == main(["chaos"]) == 2
"""


def test_training_evaluating_and_predicting_need_no_linux(repo: Path, tmp_path: Path) -> None:
    photos, cache = class_folders(tmp_path / "photos"), tmp_path / "cache"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LINUX, *map(str, (tmp_path / "a", tmp_path / "b", photos))],
        capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": str(repo), "NOPROP_CACHE": str(cache)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained 1 epoch in") == 2
    assert sum(line.startswith("{") for line in done.stdout.splitlines()) == 3 * PER_CLASS
    assert any(path.is_dir() for path in cache.iterdir())
    refused = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(refused) == 2
    assert all(line.endswith("run it there.") for line in refused)


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> bool:
    """Standard error is a notebook, and whether that has widgets."""
    for module in (live_table, progress):
        monkeypatch.setattr(module, "Console", partial(Console, force_jupyter=True))
    monkeypatch.setattr(progress, "find_spec", lambda _: True if request.param else None)
    return bool(request.param)


@pytest.mark.parametrize("notebook", [True, False], indirect=True)
def test_a_notebook_shows_a_table_where_it_can(notebook: bool) -> None:
    made = live_table.make_progress(Steps(1, 1, {1: 0}), quiet=False)
    assert type(made).__name__ == ("LiveProgress" if notebook else "PlainProgress")


@pytest.mark.parametrize("notebook", [True, False], indirect=True)
def test_a_notebook_shows_a_bar_where_it_can(
    notebook: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    class Unseen(progress.Bar):
        """Draws nothing, for which there would have to be a notebook."""

        def __init__(self, *columns: Any, **options: Any) -> None:
            super().__init__(*columns, **options, disable=True)
            made.append(self)

    monkeypatch.setattr(progress, "Bar", Unseen)
    with progress.shown_work("counting", 5) as done:
        done(2)
    assert [task.completed for bar in made for task in bar.tasks] == [2] * notebook
