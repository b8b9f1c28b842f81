"""Which settings come next, and which trials a scheduler lets go on; no cluster is needed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import TrialScheduler

from noprop_dist import TrainConfig, UserError
from noprop_dist.engine.splits import load_splits
from noprop_dist.record.store import Store
from noprop_dist.tune.on_ray.callbacks import TrialRecorder, TrialSearcher
from noprop_dist.tune.on_ray.samplers import OptunaSampler, Sampler, by_chance
from noprop_dist.tune.on_ray.schedulers import (
    AshaByBlock,
    Limits,
    SweepEndedError,
    scheduler_of,
)
from noprop_dist.tune.reports import AGAIN
from noprop_dist.tune.search import Search
from noprop_dist.tune.space import Dimension, Settings
from noprop_dist.tune.sweep_folder import FAILED, FINISHED, Outcome, SweepFolder, Trial
from noprop_dist.tune.sweep_options import SweepConfig
from noprop_dist.tune.sweep_progress import SweepProgress

SPACE = {"lr": Dimension("loguniform", (1e-4, 1e-1)), "block": Dimension("choice", ("conv", "mlp"))}
WIDE = {"x": Dimension("uniform", (0.0, 1.0))}
GOOD = Outcome(FINISHED, 1, 1.0, {"val_accuracy": 0.9})
CONTROLLER: Any = None


def anything(_: Settings) -> None:
    """Nothing is refused."""


def searched(path: Path, config: TrainConfig | None = None, **options: Any) -> Search:
    """A sweep of WIDE, without data."""
    config, sweep = config or TrainConfig(epochs=4), SweepConfig(**options)
    folder = SweepFolder(Store(path))
    folder.open(config, sweep, WIDE)
    splits: Any = None
    return Search(config, sweep, WIDE, splits, folder)


def ended(number: int, settings: Settings, value: float, status: str = FINISHED) -> Trial:
    return Trial(number, settings, Outcome(status, 1, 1.0, {"val_accuracy": value}))


def test_random_settings_depend_on_seed_and_number_alone() -> None:
    drawn = [by_chance(SPACE, 3, number, anything) for number in range(5)]
    again = [by_chance(SPACE, 3, number, anything) for number in reversed(range(5))]
    assert again == drawn[::-1]
    assert len({settings["lr"] for settings in drawn}) == 5
    assert by_chance(SPACE, 4, 0, anything) != drawn[0]


def test_settings_that_contradict_each_other_are_drawn_again() -> None:
    def only_small(settings: Settings) -> None:
        if settings["x"] > 0.1:
            raise UserError("x is too large.")

    assert all(by_chance(WIDE, 0, number, only_small)["x"] <= 0.1 for number in range(20))

    def never(_: Settings) -> None:
        raise UserError("nothing fits.")

    with pytest.raises(UserError, match="no settings of the space can be trained: nothing fits"):
        by_chance(WIDE, 0, 0, never)


def test_optuna_learns_from_trials_of_this_call_and_of_earlier_ones() -> None:
    sampler = OptunaSampler(WIDE, 0, "val_accuracy", "max", anything)
    for number in range(15):  # drawn by an earlier process
        x = number / 15
        sampler.learn(ended(number, {"x": x}, 1 - abs(x - 0.8)))
    sampler.learn(ended(15, {"x": 0.5}, 0.0, FAILED))
    found = []
    for number in range(16, 46):
        settings = sampler.draw()
        found.append(settings["x"])
        sampler.learn(ended(number, settings, 1 - abs(settings["x"] - 0.8)))
    assert sum(abs(x - 0.8) < 0.15 for x in found) > 15  # by chance it would be 9


def test_trials_that_were_left_come_first_then_new_ones(tmp_path: Path) -> None:
    search = searched(tmp_path, samples=5)
    for number in (0, 1, 3):
        search.folder.add(number, {"x": number / 10})
    search.folder.end(1, GOOD)
    failures: list[UserError] = []
    searcher = TrialSearcher(search, lambda number: {"x": number / 10}, failures.append)
    given = [searcher.suggest(str(i)) for i in range(5)]
    assert given[:4] == [{"trial": n, "x": n / 10} for n in (0, 3, 2, 4)]
    assert given[4] == TrialSearcher.FINISHED
    assert sorted(searched(tmp_path).folder.trials) == [0, 1, 2, 3, 4]


def test_what_cannot_be_drawn_or_written_ends_the_sweep(tmp_path: Path) -> None:
    def broken(_: int) -> Settings:
        raise UserError("the disk is full.")

    failures: list[UserError] = []
    assert TrialSearcher(searched(tmp_path), broken, failures.append).suggest("a") is None
    assert [str(error) for error in failures] == ["the disk is full."]
    limits = Limits(None)
    assert limits.stop_all() is False
    limits.fail(failures[0])
    with pytest.raises(SweepEndedError):
        limits.stop_all()
    assert limits.failure is failures[0]


def test_a_trial_s_end_is_what_it_said(tmp_path: Path) -> None:
    search = searched(tmp_path)
    failures: list[UserError] = []
    learned: list[Trial] = []
    progress = SweepProgress(5, 4, ["x"])
    recorder = TrialRecorder(search, learned.append, failures.append, progress)
    last: dict[int, dict[str, Any]] = {
        0: {"epoch": 4, "val_accuracy": 0.5},  # stopped at the last epoch: it has ended
        1: {"epoch": 2, "val_accuracy": 0.5},
        2: {"epoch": 2, "ended": True},  # out of patience
        3: {"epoch": 1, "failed": "NaN"},
        4: {"epoch": 1, "broken": "the disk is full."},
    }
    for number, result in last.items():
        search.folder.add(number, {"x": 0.1})
        config = {"trial": number, "x": 0.1}
        trial = SimpleNamespace(custom_trial_name=str(number), config=config)
        for told in ({"epoch": 1, "val_accuracy": 0.6}, result):
            recorder.on_trial_result(0, [], trial, told)
        recorder.on_trial_complete(0, [], trial)
    outcomes = {number: trial.outcome for number, trial in search.folder.trials.items()}
    found = [outcome and outcome.status for outcome in outcomes.values()]
    assert found == ["finished", "stopped", "finished", "failed", None]
    assert [trial.number for trial in learned] == [0, 1, 2, 3]
    assert [row["status"] for row in progress.rows.values()] == [*found[:4], "running"]
    assert [str(error) for error in failures] == ["the disk is full."]
    first = outcomes[0]
    assert first is not None
    assert (first.best["epoch"], first.best["val_accuracy"], first.epochs) == (1, 0.6, 4)


def test_blocks_get_the_same_settings_in_turn(tmp_path: Path) -> None:
    config = TrainConfig(num_blocks=3, max_train_images=400, run_dir=str(tmp_path))
    space = {"lr": Dimension("uniform", (1e-3, 1e-2))}
    splits = load_splits(config)
    options = SweepConfig(per_block=True, samples=2)
    search = Search(config, options, space, splits, SweepFolder(Store(tmp_path)))
    assert search.count == 6
    drawn = [Sampler(search).draw(number) for number in range(6)]
    assert [settings["t"] for settings in drawn] == [1, 2, 3, 1, 2, 3]
    values = [settings["lr"] for settings in drawn]
    assert values[:3] == [values[0]] * 3
    assert values[3:] == [values[3]] * 3
    assert values[0] != values[3]


def asha(path: Path) -> AshaByBlock:
    made = scheduler_of(searched(path, reduction=2))
    assert isinstance(made, AshaByBlock)
    return made


def told(
    scheduler: TrialScheduler, name: str, value: float, *, again: bool = False, **settings: Any
) -> str:
    trial: Any = SimpleNamespace(trial_id=name, config=settings)
    scheduler.on_trial_add(CONTROLLER, trial)
    report = {"epoch": 1, "val_accuracy": value} | ({AGAIN: True} if again else {})
    return scheduler.on_trial_result(CONTROLLER, trial, report)


def test_successive_halving_compares_blocks_with_their_own_kind(tmp_path: Path) -> None:
    scheduler = asha(tmp_path)
    assert told(scheduler, "a", 0.9, t=1) == "CONTINUE"
    assert told(scheduler, "b", 0.1, t=2) == "CONTINUE"  # the first of its block
    assert told(scheduler, "c", 0.5, t=1) == "STOP"
    assert told(scheduler, "d", 0.2, t=2) == "CONTINUE"


def test_successive_halving_remembers_trials_of_an_earlier_call(tmp_path: Path) -> None:
    assert told(asha(tmp_path), "new", 0.5) == "CONTINUE"
    folder = searched(tmp_path, reduction=2).folder
    folder.add(0, {"x": 0.1})
    folder.store.write("trials/0000/reports.json", b'[{"epoch": 1, "val_accuracy": 0.9}]')
    folder.end(0, GOOD)
    assert told(asha(tmp_path), "new", 0.5) == "STOP"


def test_what_was_decided_before_a_sweep_was_killed_is_not_decided_again(tmp_path: Path) -> None:
    scheduler = asha(tmp_path)
    assert told(scheduler, "ended", 0.9) == "CONTINUE"
    assert told(scheduler, "begun", 0.5, again=True) == "CONTINUE"
    assert told(scheduler, "new", 0.6) == "STOP"  # less than the better half
