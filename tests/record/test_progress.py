import io
import re
import time
from pathlib import Path
from threading import Thread

import pytest
from rich.console import Console

from noprop_dist import train
from noprop_dist.record.history import BlockEpoch, History
from noprop_dist.record.live_table import LiveProgress, make_progress
from noprop_dist.record.progress import SHORTER, PlainProgress, Steps, UnitProgress
from runs import small, wait_until

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def terminal(width: int = 100, height: int = 30) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=height)


def frames(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return ANSI.sub("", console.file.getvalue())


def live(console: Console, num_blocks: int = 3, first: int = 0) -> LiveProgress:
    steps = dict.fromkeys(range(1, num_blocks + 1), first)
    return LiveProgress(Steps(4, 10, steps), console)


def history(*epochs: tuple[float | None, float | None, float]) -> History:
    """Of epochs with the validation accuracies of z_T and the mean softmax, and their loss."""
    made = History()
    for end, mean, loss in epochs:
        made.record({1: BlockEpoch(loss, 0.5, 9.0)}, end, mean, 1e-3)
    return made


def cells(text: str, block: str) -> list[str]:
    """The last drawn row of a block, without its bar."""
    rows = [line.split() for line in text.splitlines() if line.split()[:1] == [block]]
    return [cell for cell in rows[-1] if not set(cell) <= set("\u2501\u2578\u257a")]


def test_live_table_has_a_row_per_block_and_validation_on_top() -> None:
    console = terminal()
    with live(console) as progress:
        progress.unit_progress(UnitProgress(1, 15, 0.5, 0.875, 1234.0))
        progress.unit_progress(UnitProgress(2, 40, 0.25, 0.9, 1000.0))
        progress.round_done(history((0.99, 0.98, 0.5), (0.9871, 0.9925, 0.4)))
    text = frames(console)
    assert cells(text, "1")[:6] == ["1", "2/4", "0.500", "87.50", "%", "1,234"]
    assert cells(text, "3") == ["3", "-", "-", "-", "-"]
    top, come = text.splitlines()[-6:-4]
    assert come.startswith("45.8% trained, ")
    assert "epoch 2/4  validation: z_T 98.71 %  mean softmax 99.25 %  best 99.00 %" in top


def test_live_table_names_workers_where_there_are_any() -> None:
    console = terminal()
    with live(console) as progress:
        progress.unit_progress(UnitProgress(1, 15, 0.5, 0.875, 1234.0), "w3")
        progress.worker_lost(1)
        progress.worker_lost(2)
    text = frames(console)
    assert cells(text, "1")[-2:] == ["w3", "1"]
    assert cells(text, "2")[-2:] == ["-", "1"]
    assert cells(text, "3")[-2:] == ["-", "0"]


@pytest.mark.parametrize(("width", "num_blocks"), [(60, 12), (80, 120)])
def test_live_table_fits_a_small_terminal_and_ends_with_every_block(
    width: int, num_blocks: int
) -> None:
    console = terminal(width, height=12)
    with live(console, num_blocks) as progress:
        for t in range(1, num_blocks + 1):
            progress.unit_progress(UnitProgress(t, 20, float(t), 0.5, 100.0))
        deadline = time.monotonic() + 10
        while "2/4" not in (shared := frames(console)) and time.monotonic() < deadline:
            time.sleep(0.05)
    text = frames(console)
    assert all(len(line) <= width for line in text.replace("\r", "\n").splitlines())
    means = cells(shared, f"7-{num_blocks}")
    assert means[1:3] == ["2/4", f"{(7 + num_blocks) / 2:.3f}"]
    assert [cells(text, str(t))[0] for t in (1, num_blocks)] == ["1", str(num_blocks)]


@pytest.mark.parametrize("kind", ["live", "plain"])
def test_time_left_of_a_resumed_run_counts_only_what_it_did(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all blocks together; without a terminal in a line now and then."""
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    console = terminal()
    view = LiveProgress if kind == "live" else PlainProgress
    with view(Steps(4, 10, {1: 20, 2: 20}, after=12.0), console) as progress:
        for clock[0], step in ((1000.0, 21), (1010.0, 22), (1045.0, 23)):
            progress.unit_progress(UnitProgress(1, step, 0.5, 0.5, 10.0))
    told = frames(console)
    # 43 of 80 steps; 37 and what takes as long as 12, at the pace since the first, 2 in 45 s.
    left = "18 min 22 s left"
    assert f"53.8% trained{',' if kind == 'live' else ''}" in told
    assert left in told
    if kind == "plain":
        *_, last = told.splitlines()
        assert last == (
            "53.8% trained  blocks at steps 20 to 23 of 40  loss 0.5000  0.0 steps/s  " + left
        )


def test_a_plain_view_speaks_also_where_no_block_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noprop_dist.record.progress.HEARTBEAT_S", 0.5)
    console = terminal()
    with PlainProgress(Steps(4, 10, {1: 0}), console) as progress:
        wait_until(lambda: "0.0% trained  no step yet" in frames(console))
        progress.unit_progress(UnitProgress(1, 40, 0.5, 0.5, 10.0))
        wait_until(lambda: "100.0% trained  evaluating" in frames(console))


def test_pictures_that_take_long_are_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("noprop_dist.record.progress.HEARTBEAT_S", 0.2)
    options = {"max_train_images": 200, "num_blocks": 1, "epochs": 1, "plots": True, "quiet": False}
    train(small(tmp_path, **options))
    assert re.search(r"^drawing pictures: \d+ s$", capsys.readouterr().err, re.MULTILINE)


def test_a_run_of_hours_is_told_of_once_with_what_would_be_shorter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    console = terminal()
    with PlainProgress(Steps(1000, 100, {1: 0}), console) as progress:
        for clock[0], step in ((70.0, 0), (71.0, 1), (80.0, 2), (90.0, 3)):
            progress.unit_progress(UnitProgress(1, step, 0.5, 0.5, 10.0))
    (told,) = (line for line in frames(console).splitlines() if line.startswith("this run"))
    assert told.startswith("this run takes")
    assert told.endswith(SHORTER)


def test_the_time_left_does_not_wander(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a tenth is done it is within a third of the truth, though each epoch ends in a pause."""
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("noprop_dist.record.progress.HEARTBEAT_S", 0.0)
    moments = []
    now = 12.0  # to start
    for step in range(1, 401):
        now += 1.0 if step % 2 else 3.0
        now += 20.0 if step % 100 == 0 else 0.0  # it is evaluated
        moments.append((now, step))
    for clock[0], step in moments:
        console = terminal()
        if step == 1:
            progress = PlainProgress(Steps(4, 100, {1: 0}), console)
        progress._console = console
        progress.unit_progress(UnitProgress(1, step, 0.5, 0.5, 10.0))
        if 40 <= step < 360:
            left = re.search(r"steps/s  (?:(\d+) min )?(\d+) s left", frames(console))
            assert left
            seconds = 60 * int(left[1] or 0) + int(left[2])
            assert seconds == pytest.approx(now - clock[0], rel=1 / 3)


def test_the_warning_of_hours_meets_a_view_that_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wants what the other has, were it to print while it holds the rows."""
    monkeypatch.setattr("noprop_dist.record.progress.WARN_AFTER_S", 0.0)
    console = terminal()
    progress = live(console)

    def warn() -> None:
        for _ in range(300):
            progress._warned = False
            progress.unit_progress(UnitProgress(1, 1, 0.5, 0.5, 1e-6))

    monkeypatch.setattr("noprop_dist.record.progress.HOUR_S", 0.0)
    warning = Thread(target=warn, daemon=True)
    with progress:
        warning.start()
        deadline = time.monotonic() + 60
        while warning.is_alive() and time.monotonic() < deadline:
            progress._live.refresh()
            time.sleep(0.001)  # or whoever waits for the view may never get it
        assert not warning.is_alive()
    assert "this run takes" in frames(console)


def test_live_view_takes_reports_from_several_threads() -> None:
    console = terminal()
    with live(console, 8) as progress:

        def report(t: int) -> None:
            for step in range(1, 41):
                progress.unit_progress(UnitProgress(t, step, 1.0, 0.5, 100.0))

        threads = [Thread(target=report, args=(t,)) for t in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    text = frames(console)
    assert [cells(text, str(t))[1] for t in range(1, 9)] == ["4/4"] * 8


def test_plain_view_prints_a_line_per_epoch() -> None:
    console = Console(file=io.StringIO(), width=40)
    with PlainProgress(Steps(4, 10, {1: 0}), console) as progress:
        progress.unit_progress(UnitProgress(1, 5, 0.5, 0.5, 100.0))
        progress.round_done(history((None, None, 0.51234)))
        progress.round_done(history((None, None, 0.51234), (0.5, 0.75, 0.4)))
    lines = frames(console).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("epoch 1/4  loss 0.5123  val z_T -  mean softmax -  best -")
    assert "val z_T 50.00 %  mean softmax 75.00 %" in lines[1]


@pytest.mark.parametrize("kind", ["live", "plain"])
def test_message_with_brackets_is_printed_as_it_is(kind: str) -> None:
    text = "checkpoint in [bold]a[/x] is damaged"
    console = terminal()
    made = live(console) if kind == "live" else PlainProgress(Steps(4, 10, {1: 0}), console)
    with made as progress:
        progress.message(text)
    assert text in frames(console)


def test_view_fits_where_it_writes(capsys: pytest.CaptureFixture[str]) -> None:
    for quiet, lines in [(True, 0), (False, 1)]:
        with make_progress(Steps(1, 1, {1: 0}), quiet=quiet) as progress:
            progress.unit_progress(UnitProgress(1, 1, 0.5, 0.5, 1.0))
            progress.round_done(history((0.5, 0.5, 0.5)))
        out, err = capsys.readouterr()
        assert out == ""
        assert err.count("\n") == lines
