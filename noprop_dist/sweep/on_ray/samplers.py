"""Where the next trial's settings come from: trials that were interrupted first, then new draws."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from ray import tune
from ray.tune.search import Searcher

from noprop_dist.errors import UserError
from noprop_dist.maths.keys import numpy_generator
from noprop_dist.sweep.space import Settings, Space
from noprop_dist.sweep.sweep_folder import FAILED, Journal, Trial

DRAWS = 1000  # of settings that contradict each other, before the space is to blame

Check = Callable[[Settings], None]  # raises UserError for settings that cannot be trained


class Source(Protocol):
    """Draws settings."""

    def draw(self, number: int) -> Settings:
        """The settings of a new trial."""

    def learn(self, trial: Trial) -> None:
        """A trial has ended."""


class RandomSource:
    """By chance, from the key (seed, "sweep", number): the same whatever else goes on.

    Args:
        space: to draw from.
        seed: of the sweep.
        check: settings that it refuses are drawn again.
    """

    def __init__(self, space: Space, seed: int, check: Check) -> None:
        self._space, self._seed, self._check = space, seed, check

    def draw(self, number: int) -> Settings:
        """See ``Source``."""
        refused: UserError | None = None
        for attempt in range(DRAWS):
            generator = numpy_generator(self._seed, "sweep", number, attempt)
            settings = {name: d.draw(generator) for name, d in self._space.items()}
            try:
                self._check(settings)
            except UserError as error:
                refused = error
            else:
                return settings
        raise UserError(f"no settings of the space can be trained: {refused}") from refused

    def learn(self, trial: Trial) -> None:
        """See ``Source``; chance has no memory."""


class OptunaSource:
    """By Optuna's tree of Parzen estimators, from the trials that have ended.

    Args:
        space: to draw from.
        seed: of the sampler.
        metric: what is searched for, a key of an outcome's best report.
        mode: "max" or "min".
        check: settings that it refuses are drawn again.

    Raises:
        UserError: Optuna is not installed.
    """

    def __init__(self, space: Space, seed: int, metric: str, mode: str, check: Check) -> None:
        check_installed()
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = optuna.samplers.TPESampler(seed=seed % 2**32)
        direction = "maximize" if mode == "max" else "minimize"
        self._optuna: Any = optuna  # its stubs know less than it does
        self._metric, self._check = metric, check
        self._study = self._optuna.create_study(sampler=sampler, direction=direction)
        self._space = {name: _distribution(optuna, d) for name, d in space.items()}
        self._asked: list[Any] = []

    def draw(self, number: int) -> Settings:
        """See ``Source``."""
        refused: UserError | None = None
        for _ in range(DRAWS):
            asked = self._study.ask(fixed_distributions=self._space)
            try:
                self._check(asked.params)
            except UserError as error:
                refused = error
                self._study.tell(asked, state=self._optuna.trial.TrialState.FAIL)
            else:
                self._asked.append(asked)
                return dict(asked.params)
        raise UserError(f"no settings of the space can be trained: {refused}") from refused

    def learn(self, trial: Trial) -> None:
        """See ``Source``."""
        assert trial.outcome is not None
        states = self._optuna.trial.TrialState
        failed = trial.outcome.status == FAILED or self._metric not in trial.outcome.best
        state = states.FAIL if failed else states.COMPLETE
        value = None if failed else trial.outcome.best[self._metric]
        params = {name: trial.settings[name] for name in self._space}
        asked = next((a for a in self._asked if a.params == params), None)
        if asked is not None:
            self._asked.remove(asked)
            self._study.tell(asked, value, state=state)
        else:  # drawn by an earlier process
            past = self._optuna.trial.create_trial(
                state=state, value=value, params=params, distributions=self._space
            )
            self._study.add_trial(past)


def check_installed() -> None:
    """Raise the sentence that helps where Optuna is missing."""
    try:
        import optuna  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise UserError(
            "--search optuna needs Optuna, which is not installed: pip install "
            "'noprop-dist[optuna]', or give --search random."
        ) from error


def _distribution(optuna: Any, dimension: Any) -> Any:
    """A dimension as Optuna knows it."""
    kinds = optuna.distributions
    if dimension.kind == "choice":
        return kinds.CategoricalDistribution(dimension.values)
    if dimension.kind == "randint":
        return kinds.IntDistribution(*dimension.values)
    return kinds.FloatDistribution(*dimension.values, log=dimension.kind == "loguniform")


def all_at_once(journal: Journal, draw: Callable[[int], Settings], samples: int) -> dict[str, Any]:
    """The same trials as a space of Tune's own: population based training takes no searcher.

    Args:
        journal: where new trials are written down.
        draw: the settings of a new trial, by number.
        samples: trials in all.
    """
    for number in range(samples):
        if number not in journal.trials:
            journal.add(number, draw(number))
    by_number = {trial.number: journal.settings_now(trial.number) for trial in journal.open_trials}
    names = next(iter(by_number.values()))
    return {"trial": tune.grid_search(list(by_number))} | {
        name: tune.sample_from(partial(_look_up, by_number=by_number, name=name)) for name in names
    }


def _look_up(spec: Any, *, by_number: dict[int, Settings], name: str) -> Any:
    return by_number[spec["config"]["trial"]][name]


class JournalSearch(Searcher):
    """Gives Tune the trials of the journal that have not ended, then new ones.

    Args:
        journal: where new trials are written down before they begin.
        draw: the settings of a new trial, by number.
        samples: trials in all.
        fail: told what ends the sweep: Tune would go on without what it cannot have.
    """

    def __init__(
        self,
        journal: Journal,
        draw: Callable[[int], Settings],
        samples: int,
        fail: Callable[[UserError], None],
    ) -> None:
        super().__init__()
        self._journal, self._draw, self._fail = journal, draw, fail
        self._again = journal.open_trials
        self._new = iter(n for n in range(samples) if n not in journal.trials)

    def suggest(self, trial_id: str) -> Any:
        """See ``Searcher``: the settings and, as "trial", the number."""
        if self._again:
            trial = self._again.pop(0)
            return {"trial": trial.number, **trial.settings}
        number = next(self._new, None)
        if number is None:
            return Searcher.FINISHED
        try:
            settings = self._draw(number)
            self._journal.add(number, settings)
        except UserError as error:
            self._fail(error)
            return None
        return {"trial": number, **settings}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """See ``Searcher``; whoever watches the trials tells the source."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune writes a pickle of everything that it is given, which nobody reads."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """See ``Searcher``; the journal is all that is kept."""

    def restore(self, checkpoint_path: str) -> None:
        """See ``Searcher``; never called: the journal is read instead."""
