"""Every command, where its standard output or standard error cannot be written."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from noprop_dist.cli import COMMANDS, main
from noprop_dist.training import train_blocks
from runs import result_of, small, wait_until

FULL = "error: standard output cannot be written (No space left on device): send it somewhere else;"
TRAIN = (
    "train --max-train-images 100 --num-blocks 2 --epochs 1 --batch-size 16 --executor local "
    "--device cpu --no-plots"
)
# By command, how it is called with a run folder {run} and room for files in {out}.
LINES: dict[str, str] = {
    "train": "train --config {out}/c.yaml",
    "merge": "merge {out}/part --run-dir {out}/whole --executor local",
    "compare": "compare --json",
    "tune": "tune",
    "visualize": "visualize --history {run}/training_history.json --output {out}/pictures",
    "evaluate": "evaluate {run} --draws 1 --output {out}/evaluated",
    "ablate": "ablate {run} --draws 1 --output {out}/ablation",
    "predict": "predict {run} {out}/a.png --draws 1",
    "export": "export {run} --draws 1 --output {out}/a.safetensors",
    "runs": "runs {run}/..",
    "show": "show {run}",
    "completion": "completion bash",
    "card": "card {run} --output {out}/card.md",
    "trace": "trace {run} --output {out}/trace.json",
}
STARTS = ["--help", "--version", *(f"{name} --help" for name in COMMANDS)]
JOBS = sorted(path.name for path in (Path(__file__).parents[2] / "jobs").glob("*.py"))
HOW = ("unread", "full", "closed")

Case = tuple[str, str, int]  # the command line, and what is wrong with which stream
Outcome = tuple[int, str]  # the exit code, and what was written to the other stream


def outcomes(cases: list[Case], repo: Path) -> list[Outcome]:
    """What becomes of each, in forks of one process that has imported what is heavy."""
    done = subprocess.run(
        [sys.executable, str(repo / "tests/forks.py")],
        input=json.dumps([(line.split(), how, number) for line, how, number in cases]),
        capture_output=True, text=True, timeout=240, env=os.environ | {"PYTHONPATH": str(repo)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [(code, said) for code, said in json.loads(done.stdout)]


def check(found: list[Outcome], line: str = "") -> None:
    """What is owed for a standard output of each kind in ``HOW``."""
    assert [code for code, _ in found] == [141, 2, 0], (line, found)
    said = [text for _, text in found]
    assert said[1].splitlines()[-1].startswith(FULL)
    for text in said:
        assert "Traceback" not in text
        assert "ignored" not in text


@contextmanager
def nobody_reads() -> Iterator[int]:
    """The end of a pipe whose other end is closed."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


def started_alone(command: list[str]) -> list[Outcome]:
    """What becomes of it as a shell starts it, with a standard output of each kind."""
    with nobody_reads() as writer:
        runs = [subprocess.Popen(command, stdout=writer, stderr=subprocess.PIPE, text=True)]
        for how in (">/dev/full", ">&-"):
            shell = ["sh", "-c", f'exec "$@" {how}', "sh", *command]
            runs.append(subprocess.Popen(shell, stderr=subprocess.PIPE, text=True))
    said = [run.communicate(timeout=60)[1] for run in runs]
    return [(run.returncode, text) for run, text in zip(runs, said, strict=True)]


def test_what_a_command_found_is_printed_or_a_sentence_says_why_not(
    pictured_run: Path, tmp_path: Path, repo: Path
) -> None:
    elsewhere = {name for name in COMMANDS if name.startswith("benchmark ")} | {"chaos", "push"}
    assert set(LINES) == set(COMMANDS) - elsewhere, "give each command a line here"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    same = small(pictured_run, epochs=2, embedding_type="prototype")
    (tmp_path / "c.yaml").write_text(same.to_yaml())
    train_blocks(small(tmp_path / "part", epochs=1, blocks="1-3"))
    lines = [line.format(run=pictured_run, out=tmp_path) for line in LINES.values()]
    lines.append(f"{TRAIN} --dry-run")
    found = outcomes([(line, how, 1) for line in lines for how in HOW], repo)
    for number, line in enumerate(lines):
        check(found[3 * number : 3 * number + 3], line)


def test_help_and_version_end_as_every_output_does(repo: Path) -> None:
    found = outcomes([(start, how, 1) for start in STARTS for how in HOW], repo)
    for number, start in enumerate(STARTS):
        check(found[3 * number : 3 * number + 3], start)
    check(started_alone([sys.executable, "-m", "noprop_dist", STARTS[0]]))


@pytest.mark.parametrize("name", JOBS)
def test_jobs_end_as_every_output_does(name: str, repo: Path) -> None:
    check(started_alone([sys.executable, str(repo / "jobs" / name), "--help"]))


def test_command_alone_says_what_there_is_on_standard_error() -> None:
    found = started_alone([sys.executable, "-m", "noprop_dist"])
    assert [code for code, _ in found] == [2, 2, 2]
    assert all(said.startswith("usage: ") for _, said in found)


def test_training_outlives_outputs_that_cannot_be_written(tmp_path: Path, repo: Path) -> None:
    """The results are in the run folder before anything is printed."""
    cases = [
        (f"{TRAIN} --run-dir {tmp_path}/{how}-{number}", how, number)
        for number in (1, 2)
        for how in HOW
    ]
    found = outcomes(cases, repo)
    check(found[:3])
    for code, printed in found[3:]:
        assert code == 0
        assert "results in" in printed
    for _, how, number in cases:
        assert result_of(tmp_path / f"{how}-{number}")["epochs"] == 1


def test_bad_input_keeps_its_exit_code_where_nobody_hears_of_it(repo: Path) -> None:
    lines = ("zzz", "train --lrr 1", "show none")
    found = outcomes([(line, how, 2) for line in lines for how in HOW], repo)
    assert found == [(2, "")] * 9


def test_characters_that_the_output_has_not_are_escaped(tmp_path: Path) -> None:
    """Umlauts, and bytes that are no text."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + "/l\u00e4ufe\u2713".encode() + b"\xff"))
    folder.mkdir()
    (folder / "training_history.json").write_text(json.dumps({"train_loss_history": [3, 2]}))
    line = ["visualize", "--history", str(folder / "training_history.json")]
    for encoding, shown in (
        ("ascii", r"l\xe4ufe\u2713\xff"),
        ("utf-8", "l\u00e4ufe\u2713" + r"\xff"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "noprop_dist", *line],
            capture_output=True, timeout=60, env=os.environ | {"PYTHONIOENCODING": encoding},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.decode(encoding) == f"{tmp_path}/{shown}/history.png\n"


def test_reader_that_is_slow_gets_all_of_an_output_that_does_not_block(
    pictured_run: Path, tmp_path: Path
) -> None:
    """As ssh and others leave a terminal: Python alone would lose what does not fit."""
    for number in range(600):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / f"{number}.png")
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    command = ["predict", str(pictured_run), str(tmp_path), "--draws", "1", "--format", "jsonl"]
    with subprocess.Popen([sys.executable, "-m", "noprop_dist", *command], stdout=writer) as run:
        os.close(writer)
        with os.fdopen(reader) as pipe:
            wait_until(lambda: len(select.select([pipe], [], [], 0)[0]) == 1)
            time.sleep(1)  # and it is full
            assert len(pipe.readlines()) == 600
        assert run.wait(60) == 0


def test_streams_that_somebody_else_put_there_stay(capsys: pytest.CaptureFixture[str]) -> None:
    theirs = sys.stdout, sys.stderr
    assert main(["--help"]) == 0
    assert (sys.stdout, sys.stderr) == theirs
    assert capsys.readouterr().out.startswith("usage: noprop COMMAND")
