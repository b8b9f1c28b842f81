"""What whoever watches a sweep sees."""

import io
from typing import Any

import pytest
from rich.console import Console
from rich.text import Text

from noprop_dist import TrainConfig
from noprop_dist.record.store import Store
from noprop_dist.tune.search import Search
from noprop_dist.tune.space import Dimension
from noprop_dist.tune.sweep_folder import FAILED, FINISHED, RUNNING, Outcome, SweepFolder, Trial
from noprop_dist.tune.sweep_options import SweepConfig
from noprop_dist.tune.sweep_progress import SweepProgress, make_progress
from noprop_dist.tune.trial_table import Row, heading, row_of, show
from runs import wait_until

LEARNED = TrainConfig(embedding_type="learned")


def row(number: int, status: str, epochs: int, reached: Any, reason: str = "", **more: Any) -> Row:
    """Of a trial that was best at its first epoch."""
    name = "val_loss" if "t" in more else "val_accuracy"
    best = {} if reached is None else {"epoch": 1, name: reached}
    outcome = Outcome(status, epochs, 1.0, best, reason)
    return row_of(Trial(number, more, outcome), LEARNED)


def made(*, terminal: bool, width: int = 100) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=terminal, width=width, height=20), text


def test_logs_get_a_line_per_trial_and_one_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    console, text = made(terminal=False)
    with SweepProgress(4, 8, ["lr"], console) as plain:
        plain.update(row(0, RUNNING, 1, 0.5, lr=0.1))
        plain.update(row(1, FINISHED, 8, 0.9, lr=0.2))
        plain.update(row(2, FAILED, 0, None, "no memory", lr=0.3))
        plain.update(row(3, FINISHED, 8, 0.25, lr=0.3, t=2))
        plain.update(row(0, RUNNING, 2, 0.5, lr=0.1))
        monkeypatch.setattr("noprop_dist.record.progress.HEARTBEAT_S", 0.5)
        wait_until(lambda: "trials ended" in text.getvalue())
        monkeypatch.setattr("noprop_dist.record.progress.HEARTBEAT_S", 60.0)
    first, second, third, *now_and_then = text.getvalue().splitlines()
    assert [first, second, third] == [
        "trial   1  finished   90.00 %  lr 0.2",
        "trial   2  failed           -  lr 0.3  (no memory)",
        "trial   3  finished      0.25  block 2  lr 0.3",
    ]
    assert set(now_and_then) == {"3 of 4 trials ended: trial 0 at epoch 2, best 50.00 %"}


@pytest.mark.parametrize("width", [60, 100])
def test_a_terminal_shows_running_trials_first_and_never_cuts_results(width: int) -> None:
    console, text = made(terminal=True, width=width)
    settings = {"lr": 1.25e-4, "embedding_type": "learned", "augmentation": "standard"}
    live = SweepProgress(3, 8, list(settings), console)
    live.update(row(0, FINISHED, 8, 0.99, **settings))
    live.update(row(1, RUNNING, 3, 0.6, **settings))
    console.print(live.table(20))
    lines = text.getvalue().splitlines()
    assert "3 trials of at most 8 epochs: 1 finished, 1 running" in lines[0]
    rows = lines[3:]  # below the headings, which take two lines
    assert ["60.00 %" in rows[0], "99.00 %" in rows[1]] == [True] * 2
    assert "1/3" in rows[0]
    assert all(len(Text.from_ansi(line)) <= width for line in lines)


def test_blocks_are_shown_by_their_loss() -> None:
    console, text = made(terminal=True)
    live = SweepProgress(3, 8, ["lr"], console)
    live.update(row(2, RUNNING, 1, 0.25, lr=0.1, t=3))
    console.print(live.table(20))
    assert text.getvalue().splitlines()[3].split() == ["2", "3", "0.25", "1/1", "running", "0.1"]


def test_quiet_shows_nothing(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    space = {"lr": Dimension("choice", (0.1,))}
    splits: Any = None
    folder = SweepFolder(Store(tmp_path))
    search = Search(TrainConfig(quiet=True), SweepConfig(), space, splits, folder)
    with make_progress(search) as nothing:
        nothing.update(row(0, RUNNING, 1, 0.5))
        nothing.update(row(0, FAILED, 0, None))
        nothing.message("x")
    assert capsys.readouterr() == ("", "")


def test_settings_are_short() -> None:
    assert [show(v) for v in (None, 3, 0.25, 1e-4, 0.00468, 0.0, "a", True)] == [
        "-", "3", "0.25", "1.0e-4", "4.7e-3", "0", "a", "True",
    ]  # fmt: skip
    assert heading("val z_T") == ("", "val z_T")
    assert heading("weight_decay") == ("weight", "decay")
    assert heading("lr") == ("", "lr")
