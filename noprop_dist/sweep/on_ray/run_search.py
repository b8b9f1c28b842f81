"""A search on the cluster: what fits, who draws settings, who is told."""

import time
from dataclasses import replace

import ray

from noprop_dist.distributed.cluster import (
    WorkerNeeds,
    connected,
    count_slots,
    is_private,
    probe,
)
from noprop_dist.engine.cost import SPARE, WORKER_BYTES, Cost, check_memory
from noprop_dist.engine.job import check_fit
from noprop_dist.errors import UserError
from noprop_dist.host import free_bytes
from noprop_dist.maths.keys import key
from noprop_dist.record.progress import say
from noprop_dist.signals import StopSignals
from noprop_dist.sweep.block_trial import BLOCK_METRIC
from noprop_dist.sweep.network_trial import BLOCK, METRIC
from noprop_dist.sweep.on_ray.recorder import Watch
from noprop_dist.sweep.on_ray.samplers import (
    JournalSearch,
    OptunaSource,
    RandomSource,
    Source,
    all_at_once,
)
from noprop_dist.sweep.on_ray.schedulers import Limits, remember, scheduler_of
from noprop_dist.sweep.on_ray.tuning import Plan, run_trials
from noprop_dist.sweep.search import Search, Spent
from noprop_dist.sweep.space import Settings, most_epochs, settle
from noprop_dist.sweep.sweep_folder import Trial
from noprop_dist.sweep.sweep_options import SweepConfig
from noprop_dist.sweep.sweep_progress import make_view


def run_search(search: Search, signals: StopSignals) -> Spent:
    """Run the trials that are left, on the cluster of ``RAY_ADDRESS`` or a private one.

    Raises:
        UserError: the cluster cannot be reached or does not hold one trial, Optuna is not
            installed, no settings of the space can be trained, or something went wrong that is no
            trial's fault.
    """
    config, options, journal = search.config, search.options, search.journal
    sources = Sources(search)
    private = is_private()
    with connected(replace(config, workers=None, spares=None), search.splits.nbytes) as needs:
        plan = _plan(search, needs)
        at_once = trials_at_once(plan, options)
        if private:
            at_once = _within_memory(plan, search, at_once)
        if not config.quiet:
            say(f"data: {search.splits.told}")
        limits = Limits(options.time_budget)
        scheduler = scheduler_of(options, config, search.space, plan.metric, plan.mode)
        remember(scheduler, journal)
        longest = most_epochs(search.space, config)
        view = make_view(quiet=config.quiet, count=search.count, epochs=longest)
        watch = Watch(
            journal,
            plan.metric,
            plan.mode,
            epochs=lambda settings: settings.get("epochs", config.epochs),
            settle=lambda settings: settle(settings, config),
            clear=not (plan.changes or plan.per_block),
            learn=lambda number: sources.learn(journal.trials[number]),
            fail=limits.fail,
            view=view,
        )
        for trial in journal.ended:
            view.known(trial, settle(trial.settings, config))
        began = time.time()
        with signals.asking(limits.ask), view:
            trials = (
                all_at_once(journal, sources.draw, search.count)
                if plan.changes
                else JournalSearch(journal, sources.draw, search.count, limits.fail)
            )
            left = search.count - len(journal.ended)
            run_trials(plan, trials, scheduler, watch, limits, at_once, left)
        if limits.failure is not None:
            raise limits.failure
        slots = at_once * (plan.workers or plan.threads_in_trial)
    return Spent(began, time.time() - began, slots, limits.asked)


def _plan(search: Search, needs: WorkerNeeds) -> Plan:
    config, options, local = search.config, search.options, search.journal.store.local
    device, precision = probe(config, needs)
    return Plan(
        base=config,
        folder=str(local.absolute()) if local else config.folder,
        needs=needs,
        device=device,
        precision=precision,
        workers=options.workers_per_trial,
        splits_ref=ray.put(search.splits),
        per_block=options.per_block,
        changes=options.scheduler == "pbt",
    )


def trials_at_once(plan: Plan, options: SweepConfig) -> int:
    """How many trials the cluster holds, at most as many as are wanted.

    Raises:
        UserError: it does not hold one.
    """
    if plan.workers:
        fit = count_slots(plan.needs) // plan.workers
        what = f"{plan.workers} workers of {plan.needs} each"
    else:
        whole = replace(plan.needs, cpus=plan.needs.cpus * plan.threads_in_trial)
        fit, what = count_slots(whole), str(whole)
    if fit < 1:
        raise UserError(
            f"a trial needs {what}, and the cluster holds {count_slots(plan.needs)} workers of "
            f"{plan.needs}: ask for less with --workers-per-trial, --workers or "
            "--cpus-per-worker, or add nodes."
        )
    return min(fit, options.max_concurrent or fit)


def _within_memory(plan: Plan, search: Search, at_once: int) -> int:
    """How many trials at once this machine's memory holds, at most ``at_once``.

    Raises:
        UserError: it does not hold one.
    """

    def needs(cost: Cost, trials: int) -> int:
        if plan.per_block:
            one = cost.unit + 2 * cost.snapshot
        elif plan.workers:
            one = cost.on_ray(plan.workers, 1, 0)
        else:
            one = cost.here(plan.threads_in_trial)
        return search.splits.nbytes + trials * (WORKER_BYTES + one)

    config, spec, free = search.config, check_fit(search.config, search.splits), free_bytes()
    cost = Cost.of(config, spec)
    fit = [n for n in range(1, at_once + 1) if needs(cost, n) <= SPARE * free]
    if not fit:
        check_memory(config, spec, free, 1, needs)
    return max(fit)


class Sources:
    """Where settings come from: one source, or with ``--per-block`` one for every block.

    By chance, all blocks get the same settings in turn, so that each of them can also be judged as
    one setting for all.

    Args:
        search: what is to be searched.

    Raises:
        UserError: Optuna is not installed, or no settings of the space can be trained.
    """

    def __init__(self, search: Search) -> None:
        self._blocks = search.config.num_blocks if search.options.per_block else 0
        self._sources: dict[int, Source] = {
            t: _source(search, t) for t in range(1, self._blocks + 1) or [0]
        }
        for trial in search.journal.ended:
            self.learn(trial)
        if search.options.search == "random":
            self.draw(len(search.journal.trials))  # a space of contradictions shows at once

    def draw(self, number: int) -> Settings:
        """The settings of a new trial."""
        if not self._blocks:
            return self._sources[0].draw(number)
        turn, place = divmod(number, self._blocks)
        return self._sources[place + 1].draw(turn) | {BLOCK: place + 1}

    def learn(self, trial: Trial) -> None:
        """A trial has ended."""
        self._sources[trial.settings.get(BLOCK, 0)].learn(trial)


def _source(search: Search, t: int) -> Source:
    seed = search.config.seed
    if search.options.search == "optuna":
        metric, mode = (BLOCK_METRIC, "min") if t else (METRIC, "max")
        # A call that goes on must not draw what the one before it has drawn.
        drawn = key(seed, "optuna", t, len(search.journal.trials))
        return OptunaSource(search.space, drawn, metric, mode, search.check)
    return RandomSource(search.space, seed, search.check)
