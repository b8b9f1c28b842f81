"""Where the settings of a new trial come from."""

from collections.abc import Callable
from typing import Any

from noprop_dist.errors import UserError, needing
from noprop_dist.maths.keys import key, numpy_generator
from noprop_dist.tune.search import Search
from noprop_dist.tune.space import BLOCK, Dimension, Settings, Space
from noprop_dist.tune.sweep_folder import FAILED, Trial

DRAWS = 1000  # of settings that contradict each other, before the space is to blame

Check = Callable[[Settings], None]  # raises UserError for settings that cannot be trained


def by_chance(space: Space, seed: int, number: int, check: Check) -> Settings:
    """Settings from the key (seed, "sweep", number): the same whatever else goes on.

    Args:
        space: to draw from.
        seed: of the sweep.
        number: of the trial.
        check: settings that it refuses are drawn again.

    Raises:
        UserError: all are refused.
    """

    def draw(attempt: int) -> Settings:
        generator = numpy_generator(seed, "sweep", number, attempt)
        return {name: dimension.draw(generator) for name, dimension in space.items()}

    return _first_good(draw, check)


class OptunaSampler:
    """By Optuna's tree of Parzen estimators, from the trials that have ended.

    Args:
        space: to draw from.
        seed: of the estimators.
        metric: what is searched for, a key of an outcome's best report.
        mode: "max" or "min".
        check: settings that it refuses are drawn again.

    Raises:
        UserError: Optuna is not installed.
    """

    def __init__(self, space: Space, seed: int, metric: str, mode: str, check: Check) -> None:
        with needing(
            "optuna",
            "--search optuna needs Optuna, which is not installed: pip install "
            "'noprop-dist[optuna]', or give --search random.",
        ):
            import optuna
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna: Any = optuna  # its stubs know less than it does
        self._metric, self._check = metric, check
        self._study = self._optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=seed % 2**32),
            direction="maximize" if mode == "max" else "minimize",
        )
        self._space = {name: _distribution(optuna, d) for name, d in space.items()}

    def draw(self) -> Settings:
        """The settings of a new trial, which count once they are learned."""
        ask = self._study.ask
        return _first_good(lambda _: dict(ask(fixed_distributions=self._space).params), self._check)

    def learn(self, trial: Trial) -> None:
        """A trial has ended, in this call or an earlier one."""
        assert trial.outcome is not None
        states, best = self._optuna.trial.TrialState, trial.outcome.best
        failed = trial.outcome.status == FAILED or self._metric not in best
        told = self._optuna.trial.create_trial(
            state=states.FAIL if failed else states.COMPLETE,
            value=None if failed else best[self._metric],
            params={name: trial.settings[name] for name in self._space},
            distributions=self._space,
        )
        self._study.add_trial(told)


def _first_good(draw: Callable[[int], Settings], check: Check) -> Settings:
    refused: UserError | None = None
    for attempt in range(DRAWS):
        settings = draw(attempt)
        try:
            check(settings)
        except UserError as error:
            refused = error
        else:
            return settings
    raise UserError(f"no settings of the space can be trained: {refused}") from refused


def _distribution(optuna: Any, dimension: Dimension) -> Any:
    """A dimension as Optuna knows it."""
    kinds = optuna.distributions
    if dimension.kind == "choice":
        return kinds.CategoricalDistribution(dimension.values)
    if dimension.kind == "randint":
        return kinds.IntDistribution(*dimension.values)
    return kinds.FloatDistribution(*dimension.values, log=dimension.kind == "loguniform")


class Sampler:
    """Draws settings, with ``--per-block`` for every block.

    By chance, all blocks get the same settings in turn, so that each of them can also be judged as
    one setting for all. Each has an Optuna of its own.

    Args:
        search: what is to be searched.

    Raises:
        UserError: Optuna is not installed, or no settings of the space can be trained.
    """

    def __init__(self, search: Search) -> None:
        self._search = search
        self._blocks = search.config.num_blocks if search.options.per_block else 0
        self._optuna: dict[int, OptunaSampler] = {}
        if search.options.search == "optuna":
            self._optuna = {t: _optuna(search, t) for t in range(1, self._blocks + 1) or [0]}
            for trial in search.folder.ended:
                self.learn(trial)
        else:
            self.draw(len(search.folder.trials))  # a space of contradictions shows at once

    def draw(self, number: int) -> Settings:
        """The settings of a new trial."""
        search, t = self._search, 0
        if self._blocks:
            number, place = divmod(number, self._blocks)
            t = place + 1
        if self._optuna:
            settings = self._optuna[t].draw()
        else:
            settings = by_chance(search.space, search.config.seed, number, search.check)
        return settings | ({BLOCK: t} if t else {})

    def learn(self, trial: Trial) -> None:
        """A trial has ended; chance has no memory."""
        if self._optuna:
            self._optuna[trial.settings.get(BLOCK, 0)].learn(trial)


def _optuna(search: Search, t: int) -> OptunaSampler:
    # A call that goes on must not draw what the one before it has drawn.
    seed = key(search.config.seed, "optuna", t, len(search.folder.trials))
    return OptunaSampler(search.space, seed, search.metric, search.mode, search.check)
