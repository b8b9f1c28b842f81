"""A search on the cluster: what fits, who draws settings, who is told."""

import time
from dataclasses import replace

import ray

from noprop_dist.distributed.cluster import connected, count_slots, probe
from noprop_dist.errors import UserError
from noprop_dist.record.progress import say
from noprop_dist.signals import StopSignals
from noprop_dist.sweep.on_ray.search import JournalSearch, OptunaSource, RandomSource, Source
from noprop_dist.sweep.on_ray.tuning import Limits, Plan, remember, run_trials, scheduler_of
from noprop_dist.sweep.on_ray.watch import Watch
from noprop_dist.sweep.options import SweepConfig
from noprop_dist.sweep.search import Search, Spent
from noprop_dist.sweep.trial import METRIC


def run_search(search: Search, signals: StopSignals) -> Spent:
    """Run the trials that are left, on the cluster of ``RAY_ADDRESS`` or a private one.

    Raises:
        UserError: the cluster cannot be reached or does not hold one trial, Optuna is not
            installed, or no settings of the space can be trained.
    """
    config, options, journal = search.config, search.options, search.journal
    source = _source(search)
    for trial in journal.ended:
        source.learn(trial)
    with connected(replace(config, workers=None, spares=None), search.splits.nbytes) as needs:
        device, precision = probe(config, needs)
        plan = Plan(
            base=config,
            folder=config.folder,
            needs=needs,
            device=device,
            precision=precision,
            workers=options.workers_per_trial,
            splits_ref=ray.put(search.splits),
            metric=METRIC,
            mode="max",
            changes=options.scheduler == "pbt",
        )
        at_once = trials_at_once(plan, options)
        limits = Limits(options.time_budget)
        scheduler = scheduler_of(options, plan, search.space)
        remember(scheduler, journal)
        watch = Watch(
            journal,
            plan.metric,
            plan.mode,
            epochs=lambda settings: settings.get("epochs", config.epochs),
            ending=limits.stop_all,
            learn=lambda number: source.learn(journal.trials[number]),
            say=(lambda text: None) if config.quiet else say,
        )
        began = time.time()
        with signals.asking(limits.ask):
            trials = JournalSearch(journal, source.draw, options.samples)
            count = options.samples - len(journal.ended)
            run_trials(plan, trials, scheduler, watch, limits, at_once, count)
        slots = at_once * (plan.workers or plan.threads_in_trial)
    return Spent(began, time.time() - began, slots, limits.asked, limits.over)


def trials_at_once(plan: Plan, options: SweepConfig) -> int:
    """How many trials the cluster holds, at most as many as are wanted.

    Raises:
        UserError: it does not hold one.
    """
    if plan.workers:
        fit, what = (
            count_slots(plan.needs) // plan.workers,
            f"{plan.workers} workers of {plan.needs}",
        )
    else:
        whole = replace(plan.needs, cpus=plan.needs.cpus * plan.threads_in_trial)
        fit, what = count_slots(whole), str(whole)
    if fit < 1:
        raise UserError(
            f"a trial needs {what} and the cluster holds {count_slots(plan.needs)} workers of "
            f"{plan.needs}: ask for less with --workers-per-trial, --workers or --cpus-per-worker, "
            "or add nodes."
        )
    return min(fit, options.max_concurrent or fit)


def _source(search: Search) -> Source:
    seed = search.config.seed
    if search.options.search == "optuna":
        return OptunaSource(search.space, seed, METRIC, "max")
    return RandomSource(search.space, seed, search.check)
