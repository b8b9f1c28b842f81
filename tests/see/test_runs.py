"""``noprop runs`` and ``noprop show`` as people and programs meet them."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from made_runs import SHA, make_run, make_sweep
from noprop_dist import train
from noprop_dist.cli import main
from noprop_dist.record.events import EventLog
from noprop_dist.record.store import Store
from noprop_dist.text import size
from runs import small

Capture = pytest.CaptureFixture[str]


def begun(folder: Path, time: float) -> None:
    """Say that a run began then."""
    (folder / "events.jsonl").write_text(f'{{"time": {time}, "event": "run_started"}}\n')


@pytest.fixture
def several(tmp_path: Path) -> Path:
    """Runs of every state, a sweep, a comparison, and files that are none of these."""
    home = tmp_path / "checkpoints_run"
    make_run(home / "old", set_aside={"2": "its loss is not finite"})
    make_run(home / "new", finished=False, embedding_type="learned", dataset="some/where/shapes")
    begun(home / "old", 1000.0)
    begun(home / "new", 2000.0)
    make_run(home / "bad")
    (home / "bad/result.json").write_text("{")
    make_sweep(home / "sweep", [0.75, None])
    (home / "both/measured").mkdir(parents=True)
    (home / "both/comparison-of.json").write_text('{"config": {"dataset": "digits"}}')
    (home / "both/measured/noprop-0.json").write_text("{}")
    (home / "both/comparison.json").write_text("{}")
    (home / "empty").mkdir()
    (home / "notes.txt").write_text("mine")
    return home


def listed(capsys: Capture, *args: str) -> list[dict[str, Any]]:
    """What ``noprop runs --json`` says."""
    assert main(["runs", *args, "--json"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_runs_are_listed_newest_first_with_what_they_reached(
    several: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(several.parent)
    found = listed(capsys)
    names = [entry["name"] for entry in found]
    assert names.index("new") < names.index("old") < names.index("bad")
    assert set(names) == {"old", "new", "bad", "sweep", "both"}
    by_name = {entry["name"]: entry for entry in found}
    assert by_name["old"]["test_accuracy"]["z_T"]["mean"] == pytest.approx(0.98)
    assert by_name["old"]["set_aside"] == {"2": "its loss is not finite"}
    assert by_name["new"]["state"] == "stopped"
    assert by_name["new"]["best_val_accuracy"] == 0.9
    assert by_name["bad"]["state"] == "damaged"
    assert "result.json is not what a run writes" in by_name["bad"]["about"]
    assert (by_name["sweep"]["state"], by_name["sweep"]["about"]) == (
        "stopped",
        "1 of 2 trials ended",
    )
    assert by_name["sweep"]["best_val_accuracy"] == 0.75
    assert (by_name["both"]["kind"], by_name["both"]["state"]) == ("comparison", "finished")


def test_table_tells_runs_apart_by_their_options(tmp_path: Path, capsys: Capture) -> None:
    for name, options in (("a", {}), ("b", {"lr": 0.002}), ("c", {"lr": 0.002, "eta": 0.5})):
        make_run(tmp_path / name, **options)
    assert main(["runs", str(tmp_path)]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "options" in rows["run"]
    assert "--lr 0.002, --eta 0.5" in rows["c"]
    assert "--lr 0.002" in rows["b"]
    assert "--" not in rows["a"]


def test_table_shows_a_row_per_run_and_says_what_is_damaged(several: Path, capsys: Capture) -> None:
    assert main(["runs", str(several)]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line for line in lines if line.split()}
    assert "finished, 1 set aside" in rows["old"]
    assert "98.00 +- 2.15" in rows["old"]
    assert "99.50 +- 1.09" in rows["old"]
    assert "shapes  T = 3, learned" in rows["new"]
    assert "90.00 %" in rows["new"]
    assert "stopped sweep " in rows["sweep"]
    assert "shapes" in rows["sweep"]
    assert "1 of 2 trials ended" in rows["sweep"]
    assert "75.00 %" in rows["sweep"]
    assert "finished comparison" in rows["both"]
    assert "damaged" in rows["bad"]
    assert lines[-1].startswith("bad: ")
    assert "delete it" in lines[-1]


@pytest.mark.parametrize("width", [60, 80, 110, 140, 160])
def test_table_has_the_columns_that_fit_on_the_terminal(
    width: int, several: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(several / "bad")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert main(["runs", str(several)]) == 0
    head, _, *rows = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert {row.split()[0] for row in rows} == {"old", "new", "sweep", "both"}
    assert len(rows) == 4  # and none is broken into several lines
    assert max(map(len, [head, *rows])) <= width
    assert "z_T, %" in head
    assert ("seed" in head) == (width >= 140)
    assert ("best val." in head) == (width >= 110)
    assert ("network" in head) == (width >= 80)  # T and embeddings are not the same in all


def test_narrow_table_keeps_what_differs(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (3, 4):
        make_run(tmp_path / f"run-{seed}", seed=seed)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main(["runs", str(tmp_path)]) == 0
    rows = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert "seed" in rows[0].split()
    assert [row.split()[0][-1] for row in rows[2:]] == [row.split()[-1] for row in rows[2:]]


def test_narrow_table_keeps_the_network_where_runs_differ_in_it(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for num_blocks in (2, 3):
        options = {"num_blocks": num_blocks, "lr": num_blocks / 1000}
        make_run(tmp_path / f"digits-of-{num_blocks}-blocks", **options)
    monkeypatch.setenv("FORCE_COLOR", "1")
    for width, there in ((80, {"network"}), (120, {"network", "options"})):
        monkeypatch.setenv("COLUMNS", str(width))
        assert main(["runs", str(tmp_path)]) == 0
        told = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
        assert there <= set(told.splitlines()[0].split()), told
        assert "T = 2" in told
        assert "T = 3" in told


def test_live_sweep_is_told_from_a_stopped_one(several: Path, capsys: Capture) -> None:
    with Store(several / "sweep").lock():
        states = {entry["name"]: entry["state"] for entry in listed(capsys, str(several))}
    assert states["sweep"] == "running"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (None, "there is no such folder"),
        ("empty", "holds no runs"),
        ("run", "is itself a run's folder"),
    ],
)
def test_folder_without_runs_gets_one_sentence(
    make: str | None, says: str, tmp_path: Path, capsys: Capture
) -> None:
    if make == "empty":
        (tmp_path / "home").mkdir()
    elif make == "run":
        make_run(tmp_path / "home")
    assert main(["runs", str(tmp_path / "home")]) == 2
    said = capsys.readouterr()
    assert says in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)


def test_show_tells_all_about_a_finished_run(tmp_path: Path, capsys: Capture) -> None:
    make_run(tmp_path / "run", lr=0.25, dataset="a\x1b[31m")
    assert main(["show", str(tmp_path / "run")]) == 0
    text = capsys.readouterr().out
    for part in ("98.00 +- 2.15", "90.00 % (epoch 2)", "1 min 15 s", "--lr", "0.25", SHA[:12]):
        assert part in text
    assert "noprop export" in text
    assert "noprop train" not in text
    assert "\x1b" not in text
    assert "a\\x1b[31m" in text


def test_show_gives_programs_the_same(tmp_path: Path, capsys: Capture) -> None:
    make_run(tmp_path / "run", lr=0.25)
    assert main(["show", str(tmp_path / "run"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["test_accuracy"]["mean_softmax"]["draws"] == [0.99, 1.0]
    assert shown["blocks"]["3"]["after_t"] == 0.98
    assert shown["blocks"]["3"]["sha256"] == SHA
    assert shown["changed_options"]["lr"] == 0.25
    assert "epochs" in shown["changed_options"]
    assert "seed" not in shown["changed_options"]


def test_show_and_page_tell_of_samples_sizes_and_disk(tmp_path: Path, capsys: Capture) -> None:
    run = tmp_path / "run"
    train(small(run, max_train_images=100, num_blocks=2, epochs=1, plots=True))
    assert main(["show", str(run), "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    counts = known["samples"]["counts"]
    assert {split: (len(of), sum(of)) for split, of in counts.items()} == {
        "train": (10, 90), "val": (10, 10), "test": (10, 359),
    }  # fmt: skip
    cost = json.loads((run / "result.json").read_text())["cost"]
    assert known["cost"] == cost
    # More than a tenth of it, PyTorch's libraries, is always there; and no process has the machine.
    assert 100 * 2**20 < known["peak_memory_bytes"] < os.sysconf("SC_PHYS_PAGES") * 4096
    files = [path for path in run.rglob("*") if path.is_file()]
    assert known["disk_bytes"]["all"] == sum(path.stat().st_size for path in files)
    assert 0 < known["disk_bytes"]["checkpoints"] < known["disk_bytes"]["all"]
    assert main(["show", str(run)]) == 0
    text = capsys.readouterr().out
    for told in (
        "90 training, 10 validation, 359 test; 10 classes; 8x8 grey",
        f"{cost['network_parameters']:,}, of a block {cost['block_parameters']:,}",
        f"{size(known['peak_memory_bytes'])} at most in one process",
    ):
        assert told in text
        assert told in (run / "report.html").read_text()
    assert ["7", *(str(counts[split][7]) for split in counts)] in [
        line.split() for line in text.splitlines()
    ]
    assert 'id="class-table"' in (run / "report.html").read_text()


def test_of_many_classes_the_smallest_and_the_largest_are_shown(
    tmp_path: Path, capsys: Capture
) -> None:
    make_run(tmp_path, finished=False)
    counts = [5] * 40 + [2, 900]
    names = [f"class{k}" for k in range(42)]
    samples = {"shape": [64], "class_names": names, "counts": {"train": counts, "test": counts}}
    EventLog(Store(tmp_path)).write("run_started", samples=samples, steps={})
    assert main(["show", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    told = [line.split() for line in lines if line.startswith("class")]
    assert told == [["class", "training", "test"], ["class40", "2", "2"], ["class41", "900", "900"]]
    assert "1,102 training, 1,102 test; 42 classes; vectors of 64" in "\n".join(lines)


def test_show_tells_what_a_sweep_has_found(tmp_path: Path, capsys: Capture) -> None:
    make_sweep(tmp_path / "sweep", [0.5, 0.75, None, 0.25])
    assert main(["show", str(tmp_path / "sweep")]) == 0
    text = capsys.readouterr().out
    for told in (
        "stopped sweep",
        "3 of 4 trials ended: 3 finished, 1 unfinished",
        "1: validation accuracy of z_T 75.00 %, epoch 2",
        "--lr 0.02  --embedding-type one-hot",
        "1.0e-3 to 0.1, loguniform",
        "one-hot, learned",
    ):
        assert told in text
    table = text.partition("best trials")[2].splitlines()[3:7]
    assert [line.split()[0] for line in table] == ["1", "0", "3", "2"]
    assert f"noprop show {tmp_path}/sweep/trials/0001" in text
    assert main(["show", str(tmp_path / "sweep"), "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert (known["kind"], known["best_val_accuracy"]) == ("sweep", 0.75)
    assert [trial["trial"] for trial in known["trials"]] == [1, 0, 3, 2]
    assert known["settings"]["lr"] == {"loguniform": [0.001, 0.1]}


def test_show_tells_the_best_of_every_block(tmp_path: Path, capsys: Capture) -> None:
    make_sweep(tmp_path, [0.5, 0.75, 0.25, 0.125], per_block=2)
    assert main(["show", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    table = text.partition("best trials")[2].splitlines()[3:]
    assert [line.split()[:3] for line in table[:2]] == [["2", "1", "0.25"], ["3", "2", "0.125"]]
    assert "every block alone" in text
    assert "best trial " not in text


def test_damaged_sweep_gets_one_sentence(tmp_path: Path, capsys: Capture) -> None:
    make_sweep(tmp_path / "sweep", [0.5])
    (tmp_path / "sweep/trials/0000/outcome.json").write_text("{")
    assert main(["show", str(tmp_path / "sweep")]) == 2
    err = capsys.readouterr().err
    assert "outcome.json is not what a sweep writes" in err
    assert err.count("\n") == 1
    assert listed(capsys, str(tmp_path))[0]["state"] == "damaged"


def test_show_tells_of_a_comparison_that_was_stopped(several: Path, capsys: Capture) -> None:
    (several / "both/comparison.json").unlink()
    assert main(["show", str(several / "both")]) == 0
    text = capsys.readouterr().out
    assert "stopped comparison" in text
    assert "1 measurement" in text


def test_what_happened_is_told(tmp_path: Path, capsys: Capture) -> None:
    make_run(tmp_path / "run", set_aside={"2": "its loss is not finite"})
    with (tmp_path / "run/events.jsonl").open("a") as log:
        log.write('{"time": 5, "event": "run_started", "warnings": ["a file is gone"]}\n')
        log.write('{"time": 6, "event": "worker_lost", "worker": "w1", "reason": "killed"}\n')
    assert main(["show", str(tmp_path / "run")]) == 0
    text = capsys.readouterr().out
    assert "Training was stopped and gone on with once." in text
    assert "Block 2 was set aside (its loss is not finite)" in text
    assert "Worker w1 was lost" in text
    assert "Warning: a file is gone." in text


def test_command_of_a_stopped_run_goes_on_with_it_wherever_it_was_moved(
    tmp_path: Path, capsys: Capture
) -> None:
    first, moved = tmp_path / "first", tmp_path / "a place"
    done = train(small(first, max_train_images=100, num_blocks=2, epochs=2, lr=0.002))
    (first / "result.json").unlink()
    shutil.rmtree(first / "model")
    first.rename(moved)
    assert main(["show", str(moved), "--json"]) == 0
    command = shlex.split(json.loads(capsys.readouterr().out)["next"][0])
    assert command[:2] == ["noprop", "train"]
    assert main([*command[1:], "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["folder"] == str(moved)
    assert again["block_sha256"] == done.block_sha256
    assert not first.exists()


def test_run_may_be_named_as_a_folder_in_a_run(tmp_path: Path, capsys: Capture) -> None:
    make_run(tmp_path / "model")
    assert main(["runs", str(tmp_path)]) == 0
    assert "model" in capsys.readouterr().out


def test_trial_of_a_sweep_is_not_trained_on(tmp_path: Path, capsys: Capture) -> None:
    make_run(tmp_path / "0001", finished=False)
    (tmp_path / "0001/trial.json").write_text("{}")
    assert main(["show", str(tmp_path / "0001")]) == 0
    assert "noprop train" not in capsys.readouterr().out
    assert main(["train", "--run-dir", str(tmp_path / "0001")]) == 2
    assert "holds a trial of a sweep" in capsys.readouterr().err


def test_block_that_finished_after_all_is_not_told_of_as_set_aside(
    tmp_path: Path, capsys: Capture
) -> None:
    make_run(tmp_path)
    EventLog(Store(tmp_path)).write("set_aside", block=2, step=5, reason="its loss is not finite")
    assert main(["show", str(tmp_path)]) == 0
    assert "set aside" not in capsys.readouterr().out


@pytest.mark.parametrize("command", ["runs", "show"])
def test_reader_that_has_seen_enough_causes_no_traceback(command: str, tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    reader, writer = os.pipe()
    os.close(reader)
    folder = tmp_path if command == "runs" else tmp_path / "run"
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "noprop_dist", command, str(folder)],
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["show"], "RUN"),
        (["show", ""], "must not be empty"),
        (["runs", "a", "b"], "--help lists the options"),
        (["runs", "--jsn"], "did you mean --json"),
    ],
)
def test_wrong_arguments_get_one_sentence(argv: list[str], says: str, capsys: Capture) -> None:
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


def test_options_are_shown_as_they_are_given(tmp_path: Path, capsys: Capture) -> None:
    make_run(tmp_path / "run", plots=False, batch_size=32)
    assert main(["show", str(tmp_path / "run")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "--no-plots" in lines
    assert ["--batch-size", "32"] in [line.split() for line in lines]
    make_run(tmp_path / "other", skip_bad_images=True)
    assert main(["runs", str(tmp_path)]) == 0
    words = capsys.readouterr().out.split()
    assert "--skip-bad-images" in words
    assert "True" not in words
