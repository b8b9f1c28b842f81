"""The sweep's command: what it refuses, and how."""

import subprocess
import sys
from pathlib import Path

import pytest

from noprop_dist import TrainConfig
from noprop_dist.cli import main
from noprop_dist.options import parse_with
from noprop_dist.tune.run_sweep import SweepStoppedError
from noprop_dist.tune.sweep_options import SweepConfig
from noprop_dist.tune.sweep_results import SweepResult


def test_flags_of_trials_and_of_the_sweep_stand_side_by_side() -> None:
    argv = ["--dataset", "mnist", "--epochs", "8", "--samples", "12"]
    argv += ["--scheduler", "none", "--per-block", "--json"]
    config, options, as_json = parse_with(argv, "noprop tune", "text", SweepConfig)
    assert (config.dataset, config.epochs) == ("mnist", 8)
    assert (options.samples, options.scheduler, options.per_block) == (12, "none", True)
    assert as_json


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ("--samples 0", "--samples must be at least 1"),
        ("--schedulr asha", "did you mean --scheduler"),
        ("--scheduler hyperband", "--scheduler"),
        ("--space none.yaml", "--space none.yaml cannot be read"),
        ("--space bad.yaml", "--space bad.yaml: the field 'weight_decy' is unknown; did you mean"),
        ("--space down.yaml", "lr has a range upside down"),
        ("--executor local", "--executor local has no meaning for a sweep"),
        ("--val-fraction 0", "a sweep chooses by validation images"),
        ("--dataset ./missing", "no such file or folder"),
        ("--max-train-images 10", "leaves no validation image"),
        ("--space never.yaml --run-dir x", "no settings of the space can be trained: "),
        ("--run-dir run", "holds a run, not a sweep"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    args: str,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_text("weight_decy: {uniform: [0, 1]}")
    (tmp_path / "down.yaml").write_text("lr: {uniform: [1, 0.1]}")
    (tmp_path / "never.yaml").write_text("batch_size: {choice: [100000]}")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/result.json").write_text("{}")
    assert main(["tune", *args.split()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert says in error


def test_a_missing_search_library_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["tune", "--search", "optuna", "--run-dir", str(tmp_path)]) == 2
    assert "pip install 'noprop-dist[optuna]'" in capsys.readouterr().err


def test_help_answers_without_the_heavy_packages(repo: Path) -> None:
    code = (
        "import runpy, sys; sys.argv = ['tune.py', '--help']\n"
        "try:\n    runpy.run_path('jobs/tune.py', run_name='__main__')\n"
        "except SystemExit as left:\n    assert left.code == 0\n"
        "assert not {'torch', 'ray', 'optuna', 'pyarrow'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=repo, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "--samples" in done.stdout


def test_a_stopped_sweep_says_what_it_has_and_leaves_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = SweepResult("there", None, {}, None, [], ["lr"], False, 1.0, None, TrainConfig())

    def stopped(*_: object) -> None:
        raise SweepStoppedError(result)

    monkeypatch.setattr("noprop_dist.tune.run_sweep.sweep", stopped)
    assert main(["tune"]) == 130
    said = capsys.readouterr().err
    assert "the same command goes on with the trials that are left" in said
    assert said.endswith("stopped; the same command goes on from there\n")
