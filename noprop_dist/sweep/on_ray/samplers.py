"""Where the settings of a new trial come from."""

from collections.abc import Callable
from typing import Any, Protocol

from noprop_dist.errors import UserError
from noprop_dist.maths.keys import key, numpy_generator
from noprop_dist.sweep.search import Search
from noprop_dist.sweep.space import BLOCK, Dimension, Settings, Space
from noprop_dist.sweep.sweep_folder import FAILED, Trial

DRAWS = 1000  # of settings that contradict each other, before the space is to blame

Check = Callable[[Settings], None]  # raises UserError for settings that cannot be trained


class Sampler(Protocol):
    """Draws settings."""

    def draw(self, number: int) -> Settings:
        """The settings of a new trial."""

    def learn(self, trial: Trial) -> None:
        """A trial has ended."""


class RandomSampler:
    """By chance, from the key (seed, "sweep", number): the same whatever else goes on.

    Args:
        space: to draw from.
        seed: of the sweep.
        check: settings that it refuses are drawn again.
    """

    def __init__(self, space: Space, seed: int, check: Check) -> None:
        self._space, self._seed, self._check = space, seed, check

    def draw(self, number: int) -> Settings:
        """See ``Sampler``."""

        def settings(attempt: int) -> Settings:
            generator = numpy_generator(self._seed, "sweep", number, attempt)
            return {name: d.draw(generator) for name, d in self._space.items()}

        return _first_good(settings, self._check)

    def learn(self, trial: Trial) -> None:
        """See ``Sampler``; chance has no memory."""


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
        try:
            import optuna
        except ModuleNotFoundError as error:
            if error.name != "optuna":
                raise
            raise UserError(
                "--search optuna needs Optuna, which is not installed: pip install "
                "'noprop-dist[optuna]', or give --search random."
            ) from error
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._optuna: Any = optuna  # its stubs know less than it does
        self._metric, self._check = metric, check
        self._study = self._optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=seed % 2**32),
            direction="maximize" if mode == "max" else "minimize",
        )
        self._space = {name: _distribution(optuna, d) for name, d in space.items()}

    def draw(self, number: int) -> Settings:
        """See ``Sampler``; what is drawn counts once it is learned."""
        ask = self._study.ask
        return _first_good(lambda _: dict(ask(fixed_distributions=self._space).params), self._check)

    def learn(self, trial: Trial) -> None:
        """See ``Sampler``; a trial of an earlier call counts alike."""
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


class SamplerByBlock:
    """One sampler, or with ``--per-block`` one for every block.

    By chance, all blocks get the same settings in turn, so that each of them can also be judged as
    one setting for all.

    Args:
        search: what is to be searched.

    Raises:
        UserError: Optuna is not installed, or no settings of the space can be trained.
    """

    def __init__(self, search: Search) -> None:
        self._blocks = search.config.num_blocks if search.options.per_block else 0
        self._samplers = {t: _sampler(search, t) for t in range(1, self._blocks + 1) or [0]}
        for trial in search.folder.ended:
            self.learn(trial)
        if search.options.search == "random":
            self.draw(len(search.folder.trials))  # a space of contradictions shows at once

    def draw(self, number: int) -> Settings:
        """See ``Sampler``."""
        if not self._blocks:
            return self._samplers[0].draw(number)
        turn, place = divmod(number, self._blocks)
        return self._samplers[place + 1].draw(turn) | {BLOCK: place + 1}

    def learn(self, trial: Trial) -> None:
        """See ``Sampler``."""
        self._samplers[trial.settings.get(BLOCK, 0)].learn(trial)


def _sampler(search: Search, t: int) -> Sampler:
    seed = search.config.seed
    if search.options.search == "optuna":
        # A call that goes on must not draw what the one before it has drawn.
        drawn = key(seed, "optuna", t, len(search.folder.trials))
        return OptunaSampler(search.space, drawn, search.metric, search.mode, search.check)
    return RandomSampler(search.space, seed, search.check)
