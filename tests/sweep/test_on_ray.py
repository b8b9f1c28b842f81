"""Which settings come next, and which trials a scheduler lets go on; no cluster is needed."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import PopulationBasedTraining, TrialScheduler

from noprop_dist import TrainConfig, UserError
from noprop_dist.record.store import Store
from noprop_dist.sweep.network_trial import AGAIN
from noprop_dist.sweep.on_ray.recorder import Watch
from noprop_dist.sweep.on_ray.run_search import Sources
from noprop_dist.sweep.on_ray.samplers import (
    JournalSearch,
    OptunaSource,
    RandomSource,
    all_at_once,
)
from noprop_dist.sweep.on_ray.schedulers import (
    AshaByBlock,
    Limits,
    SweepEndedError,
    remember,
    scheduler_of,
)
from noprop_dist.sweep.search import Search
from noprop_dist.sweep.space import Dimension, Settings
from noprop_dist.sweep.sweep_folder import FAILED, FINISHED, Journal, Outcome, Trial
from noprop_dist.sweep.sweep_options import SweepConfig
from noprop_dist.sweep.sweep_progress import SweepView

SPACE = {"lr": Dimension("loguniform", (1e-4, 1e-1)), "block": Dimension("choice", ("conv", "mlp"))}
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
    source = OptunaSource(WIDE, 0, "val_accuracy", "max", anything)
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
    failures: list[UserError] = []
    search = JournalSearch(journal, lambda number: {"x": number / 10}, 5, failures.append)
    given = [search.suggest(str(i)) for i in range(5)]
    assert given[:4] == [{"trial": n, "x": n / 10} for n in (0, 3, 2, 4)]
    assert given[4] == JournalSearch.FINISHED
    again = journal_of(tmp_path, TrainConfig(), SweepConfig(), WIDE)
    assert sorted(again.trials) == [0, 1, 2, 3, 4]


def test_what_cannot_be_drawn_or_written_ends_the_sweep(tmp_path: Path) -> None:
    def broken(_: int) -> Settings:
        raise UserError("the disk is full.")

    failures: list[UserError] = []
    journal = journal_of(tmp_path, TrainConfig(), SweepConfig(), WIDE)
    assert JournalSearch(journal, broken, 5, failures.append).suggest("a") is None
    assert [str(error) for error in failures] == ["the disk is full."]
    limits = Limits(None)
    assert limits.stop_all() is False
    limits.fail(failures[0])
    with pytest.raises(SweepEndedError):
        limits.stop_all()
    assert limits.failure is failures[0]


class FakeTrial(SimpleNamespace):
    """What ``Watch`` sees of one of Tune's trials."""

    def tell(self, watch: Watch, **result: Any) -> None:
        watch.on_trial_result(0, [], self, result | {"config": self.config})


def watched(journal: Journal, failures: list[UserError]) -> Watch:
    return Watch(
        journal,
        "val_accuracy",
        "max",
        epochs=lambda _: 4,
        settle=dict,
        clear=True,
        learn=lambda _: None,
        fail=failures.append,
        view=SweepView(2, 4),
    )


def watched_trial(folder: Path) -> tuple[Journal, Watch, FakeTrial]:
    """One trial, with x = 0.1."""
    journal = journal_of(folder, TrainConfig(), SweepConfig(), WIDE)
    journal.add(0, {"x": 0.1})
    trial = FakeTrial(custom_trial_name="0", config={"trial": 0, "x": 0.1})
    return journal, watched(journal, []), trial


def test_a_trial_s_end_is_what_it_said(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, TrainConfig(), SweepConfig(), WIDE)
    failures: list[UserError] = []
    watch = watched(journal, failures)
    last: dict[int, dict[str, Any]] = {
        0: {"epoch": 4, "val_accuracy": 0.5},  # stopped at the last epoch: it has ended
        1: {"epoch": 2, "val_accuracy": 0.5},
        2: {"epoch": 2, "ended": True},  # out of patience
        3: {"epoch": 1, "failed": "NaN"},
        4: {"epoch": 1, "broken": "the disk is full."},
    }
    for number, result in last.items():
        journal.add(number, {"x": 0.1})
        trial = FakeTrial(custom_trial_name=str(number), config={"trial": number, "x": 0.1})
        trial.tell(watch, epoch=1, val_accuracy=0.6)
        trial.tell(watch, **result)
        watch.on_trial_complete(0, [], trial)
    outcomes = {number: trial.outcome for number, trial in journal.trials.items()}
    found = [outcome and outcome.status for outcome in outcomes.values()]
    assert found == ["finished", "stopped", "finished", "failed", None]
    assert [str(error) for error in failures] == ["the disk is full."]
    first = outcomes[0]
    assert first is not None
    assert (first.best["epoch"], first.best["val_accuracy"], first.epochs) == (1, 0.6, 4)


def test_a_trial_that_took_a_place_is_judged_by_its_new_settings(tmp_path: Path) -> None:
    journal, watch, trial = watched_trial(tmp_path)
    trial.tell(watch, epoch=1, val_accuracy=0.9)
    trial.config = {"trial": 7, "x": 0.2}
    trial.tell(watch, epoch=3, val_accuracy=0.7)
    trial.tell(watch, epoch=4, ended=True)
    watch.on_trial_complete(0, [], trial)
    outcome = journal.trials[0].outcome
    assert outcome is not None
    assert outcome.changed == {"x": 0.2}
    assert outcome.best["val_accuracy"] == 0.7


def test_settings_that_trained_nothing_are_nobody_s(tmp_path: Path) -> None:
    journal, watch, trial = watched_trial(tmp_path)
    trial.tell(watch, epoch=4, val_accuracy=0.9)
    trial.config = {"trial": 7, "x": 0.2}  # by the scheduler, after its last epoch
    watch.on_trial_complete(0, [], trial)
    outcome = journal.trials[0].outcome
    assert outcome is not None
    assert (outcome.best["val_accuracy"], outcome.changed) == (0.9, {})


def test_population_based_training_goes_on_with_the_settings_taken(tmp_path: Path) -> None:
    journal = journal_of(tmp_path, TrainConfig(), SweepConfig(), WIDE)
    journal.add(0, {"x": 0.1})
    taken = b'{"settings": {"x": 0.9}, "from": "trials/0001"}'
    journal.store.write("trials/0000-1/taken.json", taken)
    space = all_at_once(journal, lambda _: {"x": 0.5}, 2)
    value = {n: space["x"].func({"config": {"trial": n}}) for n in (0, 1)}
    assert value == {0: 0.9, 1: 0.5}
    assert journal.trials[0].settings == {"x": 0.1}


def test_population_based_training_keeps_to_the_ranges() -> None:
    options = SweepConfig(scheduler="pbt")
    pbt = scheduler_of(options, TrainConfig(), WIDE, "val_accuracy", "max")
    assert isinstance(pbt, PopulationBasedTraining)
    for _ in range(50):
        changed, _ = pbt._get_new_config(
            SimpleNamespace(config={"trial": 0, "x": 0.1}),
            SimpleNamespace(config={"trial": 1, "x": 0.95}),
        )
        assert 0 <= changed["x"] <= 1


def test_blocks_get_the_same_settings_in_turn(tmp_path: Path) -> None:
    config = TrainConfig(num_blocks=3, checkpoint_dir=str(tmp_path))
    options = SweepConfig(per_block=True, samples=2)
    journal = journal_of(tmp_path, config, options, WIDE)
    splits: Any = None
    search = Search(config, options, WIDE, splits, journal, anything)
    assert search.count == 6
    drawn = [Sources(search).draw(number) for number in range(6)]
    assert [settings["t"] for settings in drawn] == [1, 2, 3, 1, 2, 3]
    values = [settings["x"] for settings in drawn]
    assert values[:3] == [values[0]] * 3
    assert values[3:] == [values[3]] * 3
    assert values[0] != values[3]


def asha(config: TrainConfig) -> AshaByBlock:
    options = SweepConfig(reduction=2)
    made = scheduler_of(options, config, WIDE, "val_accuracy", "max")
    assert isinstance(made, AshaByBlock)
    return made


def told(
    scheduler: TrialScheduler, name: str, value: float, *, again: bool = False, **settings: Any
) -> str:
    trial: Any = SimpleNamespace(trial_id=name, config=settings)
    scheduler.on_trial_add(CONTROLLER, trial)
    report = {"epoch": 1, "val_accuracy": value} | ({AGAIN: True} if again else {})
    return scheduler.on_trial_result(CONTROLLER, trial, report)


def test_successive_halving_compares_blocks_with_their_own_kind() -> None:
    scheduler = asha(TrainConfig(epochs=4))
    assert told(scheduler, "a", 0.9, t=1) == "CONTINUE"
    assert told(scheduler, "b", 0.1, t=2) == "CONTINUE"  # the first of its block
    assert told(scheduler, "c", 0.5, t=1) == "STOP"
    assert told(scheduler, "d", 0.2, t=2) == "CONTINUE"


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


def test_what_was_decided_before_a_sweep_was_killed_is_not_decided_again() -> None:
    scheduler = asha(TrainConfig(epochs=4))
    assert told(scheduler, "ended", 0.9) == "CONTINUE"
    assert told(scheduler, "begun", 0.5, again=True) == "CONTINUE"
    assert told(scheduler, "new", 0.6) == "STOP"  # less than the better half
    pbt = scheduler_of(SweepConfig(scheduler="pbt"), TrainConfig(), WIDE, "val_accuracy", "max")
    trial: Any = SimpleNamespace(trial_id="a", config={"trial": 0, "x": 0.1})
    late = {"epoch": 25, "val_accuracy": 0.5, AGAIN: True}  # else it would look for a better one
    assert pbt.on_trial_result(CONTROLLER, trial, late) == "CONTINUE"
