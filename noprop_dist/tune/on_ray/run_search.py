"""A search on the cluster: how many trials at once, and all that Ray Tune needs for them."""

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
from noprop_dist.distributed.sent_data import for_nodes
from noprop_dist.engine.cost import SPARE, WORKER_BYTES, Cost, check_memory
from noprop_dist.engine.job import check_fit
from noprop_dist.errors import UserError
from noprop_dist.host import free_bytes
from noprop_dist.record.progress import say
from noprop_dist.signals import StopSignals
from noprop_dist.tune.on_ray.callbacks import TrialRecorder, TrialSearcher
from noprop_dist.tune.on_ray.samplers import Sampler
from noprop_dist.tune.on_ray.schedulers import Limits, scheduler_of
from noprop_dist.tune.on_ray.tuning import Plan, run_trials
from noprop_dist.tune.search import Search
from noprop_dist.tune.sweep_progress import make_progress
from noprop_dist.tune.trial_table import row_of


def run_search(search: Search, signals: StopSignals) -> tuple[float, bool]:
    """Run the trials that are left, on the cluster of ``RAY_ADDRESS`` or a private one.

    Returns:
        The seconds that it took, Ray's start not counted, and whether it was asked to stop.

    Raises:
        UserError: the cluster cannot be reached or does not hold one trial, Optuna is not
            installed, no settings of the space can be trained, or something went wrong that is no
            trial's fault.
    """
    config, options, folder = search.config, search.options, search.folder
    sampler = Sampler(search)
    private = is_private()
    with connected(replace(config, workers=None, spares=None), search.splits.nbytes) as needs:
        plan = _plan(search, needs)
        at_once = trials_at_once(plan)
        if private:
            at_once = _within_memory(plan, search, at_once)
        if not config.quiet:
            say(f"data: {search.splits.told}")
        limits = Limits(options.time_budget)
        progress = make_progress(search)
        for trial in folder.ended:
            progress.rows[trial.number] = row_of(trial, config)
        searcher = TrialSearcher(search, sampler.draw, limits.fail)
        recorder = TrialRecorder(search, sampler.learn, limits.fail, progress)
        began, left = time.monotonic(), search.count - len(folder.ended)
        with signals.asking(limits.ask), progress:
            run_trials(plan, searcher, scheduler_of(search), recorder, limits, at_once, left)
        if limits.failure is not None:
            raise limits.failure
        return time.monotonic() - began, limits.asked


def _plan(search: Search, needs: WorkerNeeds) -> Plan:
    config, options, local = search.config, search.options, search.folder.store.local
    found = probe(config, needs)
    return Plan(
        base=config,
        options=options,
        folder=str(local.absolute()) if local else config.folder,
        needs=needs,
        device=found.device,
        precision=found.precision,
        gpu_bytes=found.gpu_bytes,
        splits_ref=ray.put(for_nodes(search.splits)),
        code=search.splits.own.code,
    )


def trials_at_once(plan: Plan) -> int:
    """How many trials the cluster holds, at most as many as are wanted.

    Raises:
        UserError: it does not hold one.
    """
    workers = plan.options.workers_per_trial
    if workers:
        fit = count_slots(plan.needs) // workers
        what = f"{workers} workers of {plan.needs} each"
    else:
        whole = replace(plan.needs, cpus=plan.needs.cpus * plan.threads_in_trial)
        fit, what = count_slots(whole), str(whole)
    if fit < 1:
        raise UserError(
            f"a trial needs {what}, and the cluster holds {count_slots(plan.needs)} workers of "
            f"{plan.needs}: ask for less with --workers-per-trial, --workers or "
            "--cpus-per-worker, or add nodes."
        )
    return min(fit, plan.options.max_concurrent or fit)


def _within_memory(plan: Plan, search: Search, at_once: int) -> int:
    """How many trials at once this machine's memory holds, at most ``at_once``.

    Raises:
        UserError: it does not hold one.
    """

    def needs(cost: Cost, trials: int) -> int:
        if search.options.per_block:
            one = cost.unit + 2 * cost.snapshot
        elif search.options.workers_per_trial:
            one = cost.on_ray(search.options.workers_per_trial, 1, 0)
        else:
            one = cost.here(plan.threads_in_trial)
        return search.splits.nbytes + trials * (WORKER_BYTES + one)

    config, spec, free = search.config, check_fit(search.config, search.splits), free_bytes()
    cost = Cost.of(config, spec)
    fit = [n for n in range(1, at_once + 1) if needs(cost, n) <= SPARE * free]
    if not fit:
        check_memory(config, spec, free, 1, needs)
    return max(fit)
