"""What a sweep leaves: tables, the best settings and pictures."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch

from noprop_dist import TrainConfig, load_network, train
from noprop_dist.draw import trials
from noprop_dist.draw.style import COLOUR_OF, own_style
from noprop_dist.engine.splits import load_splits
from noprop_dist.options import parse_command
from noprop_dist.record.store import Store
from noprop_dist.tune.block_trial import train_block
from noprop_dist.tune.network_trial import trial_config
from noprop_dist.tune.per_block import PerBlock, middle
from noprop_dist.tune.reports import Report
from noprop_dist.tune.search import Search
from noprop_dist.tune.space import Dimension, Settings
from noprop_dist.tune.sweep_folder import (
    FAILED,
    FINISHED,
    STOPPED,
    Outcome,
    SweepFolder,
    trial_path,
)
from noprop_dist.tune.sweep_options import SweepConfig
from noprop_dist.tune.sweep_results import SweepResult, write_report
from noprop_dist.tune.sweep_summary import render
from runs import small, users_style

SPACE = {
    "lr": Dimension("loguniform", (1e-4, 1e-1)),
    "dropout": Dimension("uniform", (0.0, 0.5)),
    "embedding_type": Dimension("choice", ("one-hot", "learned")),
    "embedding_dim": Dimension("choice", (16, 20)),
}


def reached(
    status: str, accuracy: float, mean: float = 0.9, epochs: int = 3, **more: Any
) -> Outcome:
    best = {"epoch": 2, "val_accuracy": accuracy, "val_mean_softmax": mean, "train_loss": 1.0}
    return Outcome(status, epochs, 2.0, best, **more)


def drawn(number: int) -> Settings:
    kind = ("one-hot", "learned")[number % 2]
    return {"lr": 1e-3 * (number + 1), "dropout": 0.1, "embedding_type": kind, "embedding_dim": 16}


def searched(folder: Path, outcomes: dict[int, Outcome | None], **options: Any) -> Search:
    config = TrainConfig(run_dir=str(folder), epochs=3)
    sweep = SweepConfig(samples=5, **options)
    kept = SweepFolder(Store(folder))
    kept.open(config, sweep, SPACE)
    for number, outcome in outcomes.items():
        kept.add(number, drawn(number))
        if outcome is not None:
            kept.end(number, outcome)
    splits: Any = None
    return Search(config, sweep, SPACE, splits, kept)


OUTCOMES = {
    0: reached(STOPPED, 0.5, epochs=1),
    1: reached(FINISHED, 0.9, 0.95),
    2: reached(FINISHED, 0.9, 0.97),
    3: reached(FAILED, 0.99, reason="its loss became NaN"),
    4: None,
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> SweepResult:
    return write_report(searched(tmp_path_factory.mktemp("sweep"), OUTCOMES))


def test_trials_are_ranked_and_none_is_lost(found: SweepResult) -> None:
    assert [row["trial"] for row in found.rows] == [2, 1, 0, 3, 4]
    assert (found.best, found.val_accuracy, found.complete) == (2, 0.9, False)
    status = [row["status"] for row in found.rows]
    assert status == ["finished", "finished", "stopped", "failed", "unfinished"]


def test_tables_hold_every_trial(found: SweepResult) -> None:
    parquet = pyarrow.parquet.read_table(f"{found.folder}/results.parquet").to_pylist()
    assert [row["trial"] for row in parquet] == [2, 1, 0, 3, 4]
    assert parquet[0]["lr"] == pytest.approx(3e-3)
    assert parquet[0]["embedding_dim"] is None  # one-hot: it had no meaning
    assert parquet[1]["embedding_dim"] == 16
    assert parquet[3]["reason"] == "its loss became NaN"
    csv = pyarrow.csv.read_csv(f"{found.folder}/results.csv").to_pylist()
    assert [row["status"] for row in csv] == [row["status"] for row in parquet]


def test_best_config_is_what_the_trainer_takes(found: SweepResult) -> None:
    config = parse_command(["--config", f"{found.folder}/best_config.yaml"]).config
    assert (config.lr, config.embedding_type) == (pytest.approx(3e-3), "one-hot")
    assert config.epochs == 25  # how long to train is not what was searched
    assert config.run_dir is None
    head = Path(found.folder, "best_config.yaml").read_text().splitlines()[0]
    assert head == "# Trial 2 of 5: validation accuracy 90.00 % after epoch 2."


def test_people_are_told_the_best_the_failed_and_what_is_left(found: SweepResult) -> None:
    lines = render(found).splitlines()
    assert lines[0] == "2 finished, 1 stopped, 1 failed, 1 unfinished"
    assert lines[1].split() == ["mean", "embedding", "embedding"]
    assert " ".join(lines[2].split()) == "trial val z_T softmax epoch status lr dropout type dim"
    assert " ".join(lines[3].split()) == "2 90.00 % 97.00 % 2/3 finished 3.0e-3 0.1 one-hot -"
    assert "trial 3 failed: its loss became NaN" in lines
    assert "the same command goes on with the trials that are left" in lines
    table = Path(found.folder, "best.md").read_text().splitlines()
    assert table[2].startswith("| 2 | 90.00 % | 97.00 % |")


def test_pictures_are_drawn(found: SweepResult) -> None:
    for name in ("trials", "settings", "parallel"):
        assert Path(found.folder, f"plots/{name}.png").read_bytes()[:4] == b"\x89PNG"


def test_settings_with_one_value_in_all_trials_are_not_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    plot = trials.plot_parallel

    def noting(reached: Any, settings: Any) -> Any:
        told.extend(settings)
        return plot(reached, settings)

    monkeypatch.setattr(trials, "plot_parallel", noting)
    write_report(searched(tmp_path / "several", OUTCOMES))
    assert told == ["lr", "embedding_type", "embedding_dim"]  # which is none or 16
    write_report(searched(tmp_path / "one", {0: reached(FINISHED, 0.9)}))
    assert [path.name for path in (tmp_path / "one/plots").iterdir()] == ["trials.png"]


@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize("last", ["numbers", "names"])
def test_parallel_settings_take_the_whole_width(count: int, last: str) -> None:
    numbers = trials.Setting("loguniform", (1e-4, 1e-2), [1e-4, 1e-2])
    names = trials.Setting("choice", ("a", "prototypes"), ["a", "prototypes"])
    settings = {str(place): names for place in range(count)}
    settings[str(count - 1)] = numbers if last == "numbers" else names
    with own_style():
        axes, bar = trials.plot_parallel([0.9, 0.8], settings).axes
        axes.figure.draw_without_rendering()
        right = max(text.get_window_extent().x1 for text in axes.texts)
        left = axes.lines[0].get_window_extent().x0
        # Next to the bar of colours, and not over it.
        assert 0 < bar.get_window_extent().x0 - right < 0.7 * axes.figure.get_dpi()
        assert left < 0.6 * axes.figure.get_dpi()


def test_curves_of_trials_fill_an_axis_of_whole_epochs() -> None:
    with own_style():
        (axes,) = trials.plot_curves({1: [0.1, 0.3], 2: [0.2]}, {1: FINISHED, 2: STOPPED}, 1).axes
        axes.figure.draw_without_rendering()
        low, high = axes.get_ylim()
        assert low < 30 < high < 40
        left, right = axes.get_xlim()
        assert [tick for tick in axes.get_xticks() if left < tick < right] == [1, 2]
        assert axes.get_lines()[-1].get_color() == COLOUR_OF["best"]


def test_a_picture_that_cannot_be_drawn_costs_no_table_and_no_other_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        for name in ("results.csv", "results.parquet", "best_config.yaml", "best.md"):
            assert (tmp_path / name).exists()
        raise RuntimeError("no ink")

    monkeypatch.setattr(trials, "plot_settings", broken)
    with users_style():
        two = {0: reached(FINISHED, 0.9), 1: reached(FINISHED, 0.8)}
        result = write_report(searched(tmp_path, two))
    assert result.best == 0
    assert capsys.readouterr().err == f"not drawn: {tmp_path}/plots/settings.png (no ink)\n"
    drawn = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert drawn == ["parallel.png", "trials.png"]


def test_pictures_are_the_same_whatever_a_user_has_set(found: SweepResult, tmp_path: Path) -> None:
    with users_style():
        write_report(searched(tmp_path, OUTCOMES))
    for name in ("trials", "settings", "parallel"):
        theirs = (tmp_path / f"plots/{name}.png").read_bytes()
        assert theirs == Path(found.folder, f"plots/{name}.png").read_bytes()


def test_the_best_settings_are_read_again_whatever_the_data_are_called(tmp_path: Path) -> None:
    search = searched(tmp_path, {0: reached(FINISHED, 0.9)})
    for name in ("1e5", "null", "yes", ": a", "caf\udce9"):
        config = replace(search.config, dataset=name, data_dir=name, plots=False)
        write_report(replace(search, config=config))
        again = parse_command(["--config", str(tmp_path / "best_config.yaml")]).config
        assert (again.dataset, again.data_dir) == (name, name)


def test_why_a_trial_failed_may_name_any_file(tmp_path: Path) -> None:
    outcome = Outcome(FAILED, 0, 0.0, {}, "no file caf\udce9.png")
    write_report(searched(tmp_path, {0: outcome}))
    (row,) = pyarrow.parquet.read_table(tmp_path / "results.parquet").to_pylist()
    assert row["reason"] == r"no file caf\xe9.png"


def test_a_sweep_without_a_good_trial_has_a_table_and_no_best(tmp_path: Path) -> None:
    outcomes: dict[int, Outcome | None] = {
        n: Outcome(FAILED, 0, 0.0, {}, "it ran out of memory") for n in range(5)
    }
    result = write_report(searched(tmp_path, outcomes))
    assert (result.best, result.settings, result.complete) == (None, {}, True)
    assert (tmp_path / "results.csv").exists()
    assert not (tmp_path / "best_config.yaml").exists()
    assert "5 failed" in render(result)


LR = {"lr": Dimension("choice", (1e-3, 5e-3))}


@pytest.fixture(scope="module")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Search, SweepResult]:
    """Two settings on three blocks, really trained."""
    folder = tmp_path_factory.mktemp("blocks")
    config = small(folder, precision="fp32", epochs=2, plots=True)
    options = SweepConfig(samples=2, per_block=True, scheduler="none")
    kept = SweepFolder(Store(folder))
    kept.open(config, options, LR)
    splits = load_splits(config)
    for number in range(6):
        settings = {"lr": LR["lr"].values[number // 3], "t": number % 3 + 1}
        kept.add(number, settings)
        told: list[Report] = []
        run = trial_config(config, settings, str(folder), trial_path(number))
        train_block(run, splits, settings["t"], torch.device("cpu"), "fp32", told.append)
        best = min(told, key=lambda report: report["val_loss"])
        kept.end(number, Outcome(FINISHED, 2, 1.0, best))
    search = Search(config, options, LR, splits, kept)
    return search, write_report(search)


def test_the_best_of_each_block_is_assembled(blocks: tuple[Search, SweepResult]) -> None:
    search, result = blocks
    per_block = result.per_block
    assert per_block is not None
    for t, block in per_block.blocks.items():
        losses = {
            trial.number: trial.outcome.best["val_loss"]
            for trial in search.folder.ended
            if trial.outcome and trial.settings["t"] == t
        }
        assert block["trial"] == min(losses, key=lambda number: losses[number])
    assert per_block.best_of_each.test_accuracy.mean > 0.3  # chance is 0.1
    network = load_network(result.folder)
    answers = network.predict(np.zeros((3, 1, 8, 8), np.uint8))
    assert answers.labels.shape == (3,)
    assert "best of each block" in render(result)
    assert Path(result.folder, "plots/blocks.png").exists()
    assert Path(result.folder, "blocks.yaml").read_text().startswith("1:\n")


def test_one_setting_for_all_is_a_network_trained_with_it(
    blocks: tuple[Search, SweepResult], tmp_path: Path
) -> None:
    _, result = blocks
    per_block = result.per_block
    assert per_block is not None
    assert per_block.one_for_all is not None
    lr = per_block.one_for_all_settings["lr"]
    trained = train(small(tmp_path, precision="fp32", epochs=2, lr=lr))
    assert trained.test_accuracy["z_T"] == per_block.one_for_all.test_accuracy
    assert parse_command(["--config", f"{result.folder}/best_config.yaml"]).config.lr == lr


def test_where_no_setting_was_tried_on_all_the_middle_is_taken() -> None:
    blocks = {t: {"settings": {"lr": lr, "kind": kind}} for t, lr, kind in
              ((1, 1.0, "a"), (2, 5.0, "b"), (3, 2.0, "b"))}  # fmt: skip
    network: Any = None
    space = {"lr": Dimension("uniform", (0, 9)), "kind": Dimension("choice", ("a", "b"))}
    assert middle(PerBlock(network, None, {}, 3, 0, blocks), space) == {"lr": 2.0, "kind": "b"}


def test_one_setting_that_varied_has_no_parallel_axes(tmp_path: Path) -> None:
    search = searched(tmp_path, {})
    for number, lr in enumerate((1e-3, 2e-3)):
        search.folder.add(number, drawn(0) | {"lr": lr})
        search.folder.end(number, reached(FINISHED, 0.9))
    write_report(search)
    made = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert made == ["settings.png", "trials.png"]
