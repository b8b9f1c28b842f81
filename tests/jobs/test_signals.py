"""Ctrl-C, SIGTERM and SIGHUP, as a terminal, a scheduler or a dropped connection sends them."""

import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from noprop_dist.cli import COMMANDS, main
from runs import events, local_model, result_of, small, wait_until

EPOCHS = 16
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def started(folder: Path, **options: Any) -> subprocess.Popen[str]:
    """A run of some seconds in a process of its own; the same again goes on with it."""
    file = folder.with_suffix(".yaml")
    file.write_text(small(folder, epochs=EPOCHS, save_every=EPOCHS, quiet=False).to_yaml())
    command = [sys.executable, "-m", "noprop_dist", "train", "--config", str(file)]
    return subprocess.Popen(command, text=True, **options)


def trains(folder: Path, times: int = 1) -> bool:
    """Whether a run that was started so often is under way."""
    starts = events(folder, "run_started")
    first = starts[-1]["time"] if len(starts) == times else None
    return first is not None and any(e["time"] > first for e in events(folder, "unit"))


def test_run_that_lost_its_connection_goes_on_to_the_same_model(tmp_path: Path) -> None:
    """The second time under nohup, which no lost connection ends."""
    folder = tmp_path / "run"
    with started(folder, stderr=subprocess.PIPE) as run:
        wait_until(lambda: trains(folder))
        run.send_signal(signal.SIGHUP)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 130
    assert said.splitlines()[-1] == f"stopped; the same command goes on from {folder}"
    assert events(folder, "checkpoint")
    assert not (folder / "result.json").exists()

    def nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    with started(folder, stderr=subprocess.PIPE, preexec_fn=nohup) as run:
        wait_until(lambda: trains(folder, 2))
        run.send_signal(signal.SIGHUP)
        _, said = run.communicate(timeout=60)
    assert run.returncode == 0, said
    assert events(folder, "run_started")[1]["checkpoint"] is not None
    assert result_of(folder)["block_sha256"] == local_model(EPOCHS).block_sha256


def test_run_whose_terminal_is_gone_leaves_a_checkpoint(tmp_path: Path) -> None:
    """The kernel sends SIGHUP, and nothing can be written any more."""
    folder = tmp_path / "run"
    master, slave = pty.openpty()

    def take_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    def seen() -> bool:
        shown.append(os.read(master, 1 << 16))  # or the live table would wait to be read
        return trains(folder)

    shown: list[bytes] = []
    ends = dict.fromkeys(("stdin", "stdout", "stderr"), slave)
    with started(folder, preexec_fn=take_terminal, start_new_session=True, **ends) as run:
        os.close(slave)
        wait_until(seen)
        os.close(master)
        assert run.wait(60) == 130
    assert b"block" in b"".join(shown)  # the live table
    assert events(folder, "checkpoint")


@pytest.mark.parametrize("number", SIGNALS)
def test_every_command_stops_on_every_signal(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed(argv: Sequence[str], prog: str, text: str) -> int:
        os.kill(os.getpid(), number)
        raise AssertionError("it went on")

    before = [signal.getsignal(number) for number in SIGNALS]
    for name, (_, text, says) in list(COMMANDS.items()):
        monkeypatch.setitem(COMMANDS, name, (killed, text, says))
        assert main(name.split()) == 130
        assert capsys.readouterr().err == f"{says}\n"
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_signal_within_an_import_is_an_exit_code_too(tmp_path: Path) -> None:
    """Python ends a module by SIGINT where a KeyboardInterrupt has passed through exec."""
    (tmp_path / "module.py").write_text(
        "import os, signal, sys\n"
        "from noprop_dist.cli import exit_code\n"
        "kill = 'os.kill(os.getpid(), signal.SIGTERM)'\n"
        "sys.exit(exit_code(lambda: exec(kill)))\n"
    )
    command = [sys.executable, "-m", "module"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (130, "stopped\n")
