"""Which settings come next, and which trials a scheduler lets go on; no cluster is needed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from noprop_dist import TrainConfig, UserError
from noprop_dist.record.store import Store
from noprop_dist.sweep.journal import FAILED, FINISHED, Journal, Outcome, Trial
from noprop_dist.sweep.on_ray.drive import Sources
from noprop_dist.sweep.on_ray.schedulers import AshaByBlock, remember, scheduler_of
from noprop_dist.sweep.on_ray.search import JournalSearch, OptunaSource, RandomSource
from noprop_dist.sweep.options import SweepConfig
from noprop_dist.sweep.search import Search
from noprop_dist.sweep.space import Dimension, Settings

SPACE = {"lr": Dimension("loguniform", (1e-4, 1e-1)), "block": Dimension("choice", ("a", "b"))}
WIDE = {"x": Dimension("uniform", (0.0, 1.0))}
GOOD = Outcome(FINISHED, 1, 1.0, {"val_accuracy": 0.9})
CONTROLLER: Any = None


def anything(_: Settings) -> None:
    """Nothing is refused."""


def journal_of(folder: Path, config: TrainConfig, options: SweepConfig, space: Any) -> Journal:
    journal = Journal(Store(folder))
    journal.open(config, options, space)
    return journal


def ended(number: int, settings: Settings, value: float, status: str = FINISHED) -> Trial:
    return Trial(number, settings, Outcome(status, 1, 1.0, {"val_accuracy": value}))


def test_random_settings_depend_on_seed_and_number_alone() -> None:
    first, again = (RandomSource(SPACE, 3, anything) for _ in range(2))
    drawn = [first.draw(number) for number in range(5)]
    assert [again.draw(number) for number in reversed(range(5))] == drawn[::-1]
    assert len({settings["lr"] for settings in drawn}) == 5
    assert RandomSource(SPACE, 4, anything).draw(0) != drawn[0]


def test_settings_that_contradict_each_other_are_drawn_again() -> None:
    def only_small(settings: Settings) -> None:
        if settings["x"] > 0.1:
            raise UserError("x is too large.")

    source = RandomSource(WIDE, 0, only_small)
    assert all(source.draw(number)["x"] <= 0.1 for number in range(20))

    def never(_: Settings) -> None:
        raise UserError("nothing fits.")

    with pytest.raises(UserError, match="no settings of the space can be trained: nothing fits"):
        RandomSource(WIDE, 0, never).draw(0)


def test_optuna_learns_from_trials_of_this_call_and_of_earlier_ones() -> None:
    source = OptunaSource(WIDE, 0, "val_accuracy", "max")
    for number in range(15):  # drawn by an earlier process
        x = number / 15
        source.learn(ended(number, {"x": x}, 1 - abs(x - 0.8)))
    source.learn(ended(15, {"x": 0.5}, 0.0, FAILED))
    found = []
    for number in range(16, 46):
        settings = source.draw(number)
        found.append(settings["x"])
        source.learn(ended(number, settings, 1 - abs(settings["x"] - 0.8)))
    assert sum(abs(x - 0.8) < 0.15 for x in found) > 15  # by chance it would be 9


def test_trials_that_were_left_come_first_then_new_ones(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, TrainConfig(), SweepConfig(), WIDE)
    for number in (0, 1, 3):
        journal.add(number, {"x": number / 10})
    journal.end(1, GOOD)
    search = JournalSearch(journal, lambda number: {"x": number / 10}, 5)
    given = [search.suggest(str(i)) for i in range(5)]
    assert given[:4] == [{"trial": n, "x": n / 10} for n in (0, 3, 2, 4)]
    assert given[4] == JournalSearch.FINISHED
    again = journal_of(tmp_path, TrainConfig(), SweepConfig(), WIDE)
    assert sorted(again.trials) == [0, 1, 2, 3, 4]


def test_blocks_get_the_same_settings_in_turn(tmp_path: Path) -> None:
    config = TrainConfig(num_blocks=3, checkpoint_dir=str(tmp_path))
    options = SweepConfig(per_block=True, samples=2)
    journal = journal_of(tmp_path, config, options, WIDE)
    splits: Any = None
    search = Search(config, options, WIDE, splits, journal, anything)
    assert search.count == 6
    drawn = [Sources(search).draw(number) for number in range(6)]
    assert [settings["block"] for settings in drawn] == [1, 2, 3, 1, 2, 3]
    values = [settings["x"] for settings in drawn]
    assert values[:3] == [values[0]] * 3
    assert values[3:] == [values[3]] * 3
    assert values[0] != values[3]


def asha(config: TrainConfig) -> AshaByBlock:
    options = SweepConfig(reduction=2)
    made = scheduler_of(options, config, WIDE, "val_accuracy", "max")
    assert isinstance(made, AshaByBlock)
    return made


def told(scheduler: AshaByBlock, name: str, value: float, **settings: Any) -> str:
    trial: Any = SimpleNamespace(trial_id=name, config=settings)
    scheduler.on_trial_add(CONTROLLER, trial)
    report = {"epoch": 1, "val_accuracy": value}
    return scheduler.on_trial_result(CONTROLLER, trial, report)


def test_successive_halving_compares_blocks_with_their_own_kind() -> None:
    scheduler = asha(TrainConfig(epochs=4))
    assert told(scheduler, "a", 0.9, block=1) == "CONTINUE"
    assert told(scheduler, "b", 0.1, block=2) == "CONTINUE"  # the first of its block
    assert told(scheduler, "c", 0.5, block=1) == "STOP"
    assert told(scheduler, "d", 0.2, block=2) == "CONTINUE"


def test_successive_halving_remembers_trials_of_an_earlier_call(tmp_path: Path) -> None:
    config = TrainConfig(epochs=4)
    journal = journal_of(tmp_path, config, SweepConfig(reduction=2), WIDE)
    journal.add(0, {"x": 0.1})
    journal.store.write("trials/0000/reports.json", b'[{"epoch": 1, "val_accuracy": 0.9}]')
    journal.end(0, GOOD)
    assert told(asha(config), "new", 0.5) == "CONTINUE"
    scheduler = asha(config)
    remember(scheduler, journal)
    assert told(scheduler, "new", 0.5) == "STOP"
