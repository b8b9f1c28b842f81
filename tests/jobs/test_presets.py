"""Options to begin with, by name."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from noprop_dist import TrainConfig, UserError
from noprop_dist.cli import main
from noprop_dist.config.presets import PRESETS
from noprop_dist.options import Around, parse_command
from runs import result_of

SHORT = [
    "train", "--max-train-images", "100", "--num-blocks", "2", "--epochs", "1", "--batch-size",
    "16", "--executor", "local", "--device", "cpu", "--no-plots", "--quiet",
]  # fmt: skip


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_options_that_files_and_flags_change(name: str, tmp_path: Path) -> None:
    config = parse_command(["--preset", name]).config
    assert config == TrainConfig(**PRESETS[name])
    file = tmp_path / "c.yaml"
    file.write_text("epochs: 3\nlr: 0.5\n")
    changed = parse_command([f"--preset={name}", "--config", str(file), "--lr", "0.25"]).config
    assert changed == replace(config, epochs=3, lr=0.25)
    assert name in str(Around.__dataclass_fields__["preset"].type)


def test_a_preset_that_there_is_not_gets_one_sentence() -> None:
    with pytest.raises(UserError, match=r"invalid choice: 'slow' \(choose from 'paper-mnist'"):
        parse_command(["--preset", "slow"])


def test_an_array_is_refused_without_being_printed_whole() -> None:
    with pytest.raises(UserError, match="--dataset must be str, got array") as refused:
        TrainConfig(dataset=np.zeros((1000, 8, 8)))  # type: ignore[arg-type]
    assert len(str(refused.value)) < 200


def test_a_dry_run_counts_seeds_and_says_what_takes_less_than_hours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    short_tries: None,
) -> None:  # fmt: skip
    command = [*SHORT, "--run-dir", str(tmp_path / "run"), "--dry-run"]
    assert main([*command, "--json"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert (one["seeds"], one["advice"]) == (None, None)
    monkeypatch.setattr("noprop_dist.plan.HOUR_S", 1.0)
    assert main([*command, "--seeds", "50", "--json"]) == 0
    many = json.loads(capsys.readouterr().out)
    assert many["seeds"] == 50
    # Other work on the machine makes what is timed differ from try to try.
    assert many["estimated_seconds"] > 5 * one["estimated_seconds"]
    assert "--preset quick" in many["advice"]


def test_seeds_train_runs_of_their_own_and_tell_their_mean(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*SHORT, "--run-dir", str(tmp_path / "run"), *["--seed", "3", "--seeds", "2"]]
    assert main([*command, "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""  # as --quiet asks
    told = json.loads(out)
    means = [
        result_of(tmp_path / f"run-seed-{seed}")["test_accuracy"]["z_T"]["mean"] for seed in (3, 4)
    ]
    assert told["test_accuracy"]["z_T"]["mean"] == pytest.approx(sum(means) / 2)
    assert [run["config"]["seed"] for run in told["seeds"]] == [3, 4]
    command.remove("--quiet")
    assert main(command) == 0  # they are finished
    out, err = capsys.readouterr()
    assert "seed 3: run 1 of 2\n" in err
    assert re.search(r"^seed 4: run 2 of 2, \d+ s left by the pace", err, re.MULTILINE)
    said = out.splitlines()
    assert said[0].startswith("test accuracy, %, of 2 seeds")
    assert [line.split()[0] for line in said[2:]] == ["3", "4", "mean"]
    assert main([*command, "--history", "h.json"]) == 2
    assert "--history is of one run" in capsys.readouterr().err
