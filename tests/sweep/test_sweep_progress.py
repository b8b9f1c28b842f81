"""What whoever watches a sweep sees."""

import io

import pytest
from rich.console import Console
from rich.text import Text

from noprop_dist.sweep import sweep_progress
from noprop_dist.sweep.network_trial import Report
from noprop_dist.sweep.sweep_folder import FAILED, FINISHED, Outcome
from noprop_dist.sweep.sweep_progress import LiveView, PlainView, make_view
from noprop_dist.sweep.sweep_summary import heading, show


def report(epoch: int, accuracy: float) -> Report:
    return {"epoch": epoch, "val_accuracy": accuracy}


def made(*, terminal: bool, width: int = 100) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=terminal, width=width, height=20), text


def test_logs_get_a_line_per_trial_and_one_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    console, text = made(terminal=False)
    with PlainView(3, 8, console) as plain:
        plain.told(0, {"lr": 0.1}, report(1, 0.5), report(1, 0.5))
        plain.ended(1, {"lr": 0.2}, Outcome(FINISHED, 8, 1.0, report(7, 0.9)))
        plain.ended(2, {"lr": 0.3}, Outcome(FAILED, 0, 1.0, {}, "no memory"))
        monkeypatch.setattr(sweep_progress, "STATUS_EVERY_S", -1.0)
        plain.told(0, {"lr": 0.1}, report(2, 0.4), report(1, 0.5))
    assert text.getvalue().splitlines() == [
        "trial   1  finished   90.00 %  lr 0.2",
        "trial   2  failed           -  lr 0.3  (no memory)",
        "2 of 3 trials ended: trial 0 at epoch 2 40.00 %",
    ]


@pytest.mark.parametrize("width", [60, 100])
def test_a_terminal_shows_running_trials_first_and_never_cuts_results(width: int) -> None:
    console, text = made(terminal=True, width=width)
    live = LiveView(3, 8, console)
    settings = {"lr": 1.25e-4, "embedding_type": "learned", "augmentation": "standard"}
    live.ended(0, settings, Outcome(FINISHED, 8, 1.0, report(7, 0.99)))
    live.told(1, settings, report(3, 0.5), report(2, 0.6))
    live.told(2, {"t": 3}, {"epoch": 1, "val_loss": 0.25}, {"epoch": 1, "val_loss": 0.25})
    console.print(live._table())
    lines = text.getvalue().splitlines()
    assert "3 trials: 1 finished, 2 running" in lines[0]
    rows = lines[3:]  # below the headings, which take two lines
    assert ["60.00 %" in rows[0], "0.25" in rows[1], "99.00 %" in rows[2]] == [True] * 3
    assert "3/8" in rows[0]
    assert all(len(Text.from_ansi(line)) <= width for line in lines)


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with make_view(quiet=True, count=1, epochs=1) as nothing:
        nothing.told(0, {}, report(1, 0.5), report(1, 0.5))
        nothing.ended(0, {}, Outcome(FAILED, 0, 1.0, {}))
        nothing.message("x")
    assert capsys.readouterr() == ("", "")


def test_settings_are_short() -> None:
    assert [show(v) for v in (None, 3, 0.25, 1e-4, 0.00468, 0.0, "a", True)] == [
        "-", "3", "0.25", "1.0e-4", "4.7e-3", "0", "a", "True",
    ]  # fmt: skip
    assert heading("val z_T") == "val z_T"
    assert heading("weight_decay") == "weight\ndecay"
    assert heading("lr") == "lr"
