"""The comparison as a whole: every method with every seed, the table and the picture."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import torch
from rich.console import Console

from noprop_dist.compare.compare_options import (
    NOPROP,
    SEQUENTIAL,
    CompareOptions,
    check_comparable,
    heading,
)
from noprop_dist.compare.comparison import Comparison, common_target, summarise
from noprop_dist.compare.comparison_table import markdown, terminal_table, title
from noprop_dist.compare.measurements import REMEDY, Measured, Results
from noprop_dist.compare.method_rows import Facts
from noprop_dist.compare.picture import plot_comparison
from noprop_dist.config import TrainConfig
from noprop_dist.draw.style import save_figure
from noprop_dist.engine.job import Job, check_fit, make_job
from noprop_dist.engine.splits import Splits, load_splits
from noprop_dist.errors import UserError, needing_ray
from noprop_dist.record.folder import Reader
from noprop_dist.record.places import check_places, in_a_lasting_place
from noprop_dist.record.progress import Heartbeat, say
from noprop_dist.record.result import versions
from noprop_dist.record.store import Store
from noprop_dist.signals import StopSignals
from noprop_dist.text import duration, how_many, last_part, printable

FORM = "compare-{}"  # of the name of a comparison that was given none
WIDE = 110
PICTURE = "comparison.png"
Plan = list[tuple[str, int, bool]]  # method, seed, alone


def compare(config: TrainConfig, options: CompareOptions) -> Comparison:
    """Train every method with every seed, measure, and write the table and the picture.

    What is finished is kept in the folder: the same command goes on after it, and one with more
    methods or seeds adds to it.

    Args:
        config: the options of every run; ``run_dir`` is the comparison's folder.
        options: the comparison's own.

    Raises:
        UserError: bad input, in one sentence.
        StoppedError: Ctrl-C or a termination signal while NoProp trains.
        KeyboardInterrupt: such a signal at another time.
    """
    check_comparable(config, options)
    check_places(config, FORM)
    asked = {"workers_asked_for": config.workers, "efficiency_epochs": options.efficiency_epochs}
    with StopSignals():
        config, splits = _prepare(config, config.seed)
        store = Store(config.folder)
        results = Results(store)
        known = results.check(config, asked, _data_of(splits))
        with store.lock(tell=say):
            plan = _plan(config, options, results.settings()["workers"] if known else None)
            if not known or _missing(results, plan):
                _measure(config, options, results, store, splits, asked)
            settings = results.settings()
            job = make_job(config, splits, torch.device(settings["device"]), settings["precision"])
            return _write(job, splits, options, results, store)


def _prepare(config: TrainConfig, seed: int) -> tuple[TrainConfig, Splits]:
    config = replace(config, seed=seed)
    splits = load_splits(config)
    check_fit(config, splits)
    return in_a_lasting_place(config.placed(splits.hashes, FORM)), splits


def _data_of(splits: Splits) -> str:
    """A hash of what all methods begin with: the rows, and the code of an own block."""
    return "".join(splits.hashes.get(part, "") for part in ("data", "test", "block"))


def _plan(config: TrainConfig, options: CompareOptions, workers: int | None) -> Plan:
    """What is to be measured, cheap things last: seed by seed, then on one device."""
    seeds = range(config.seed, config.seed + options.seeds)
    plan = [(method, seed, False) for seed in seeds for method in options.names]
    if options.efficiency_epochs and workers != 1:
        plan += [(name, config.seed, True) for name in options.names if name != SEQUENTIAL]
    return plan


def _missing(results: Results, plan: Plan) -> Plan:
    return [
        (method, seed, alone)
        for method, seed, alone in plan
        if results.get(method, seed, alone=alone) is None
    ]


def _measure(
    config: TrainConfig,
    options: CompareOptions,
    results: Results,
    store: Store,
    splits: Splits,
    asked: dict[str, int | None],
) -> None:
    """Train what is missing on the cluster.

    Raises:
        UserError: Ray is not installed, or lacks what the run needs.
    """
    with needing_ray(
        "Ray is not installed, and a comparison trains on its workers: install ray[default,train]."
    ):
        from noprop_dist.compare.on_ray.methods import count_workers, measure
        from noprop_dist.compare.on_ray.twin_training import check_share
        from noprop_dist.distributed.ray_backend import ray_backend
    tell = (lambda _: None) if config.quiet else say
    with ray_backend(config, splits.nbytes) as backend:
        backend.memory(config, check_fit(config, splits), splits.nbytes)
        workers = count_workers(config, backend)
        if not {NOPROP, SEQUENTIAL}.issuperset(options.names):
            check_share(config.batch_size, workers)
        where = {"workers": workers, "device": backend.device.type, "precision": backend.precision}
        results.claim(config, {**asked, **where}, _data_of(splits))
        tell(f"data: {splits.told}")
        for method, seed, alone in _missing(results, _plan(config, options, workers)):
            if seed != config.seed:
                config, splits = _prepare(config, seed)
            count = 1 if alone or method == SEQUENTIAL else workers
            epochs = min(options.efficiency_epochs, config.epochs) if alone else config.epochs
            devices = "one device" if count == 1 else f"{count} devices"
            told = heading(method, config.objective)
            tell(f"{told}: seed {seed}, {how_many(epochs, 'epoch')} on {devices}")
            here = replace(
                config,
                workers=count,
                epochs=epochs,
                warmup_epochs=min(config.warmup_epochs, epochs),
            )
            folder = f"runs/{method}-{seed}{'-alone' if alone else ''}"
            run = make_job(here, splits, backend.device, backend.precision)
            # Runs of ``train`` have a view of their own.
            own_view = method in (NOPROP, SEQUENTIAL)
            heard = nullcontext(tell) if own_view else _heard(tell, told)
            with heard as tell_of_it:
                measured = measure(method, backend, run, splits, store, folder, tell_of_it)
            results.put(measured, alone=alone)


@contextmanager
def _heard(tell: Callable[[str], None], what: str) -> Iterator[Callable[[str], None]]:
    """``tell``, and a line where ``what`` has said nothing for long."""
    begun = time.monotonic()
    heart = Heartbeat(lambda: tell(f"{what}: {duration(time.monotonic() - begun)} so far"))

    def heard(text: str) -> None:
        heart.spoken()
        tell(text)

    with heart:
        yield heard


def _write(
    job: Job, splits: Splits, options: CompareOptions, results: Results, store: Store
) -> Comparison:
    """``comparison.json``, ``comparison.md`` and ``comparison.png`` from what was measured."""
    config, settings = job.config, results.settings()
    seeds = range(config.seed, config.seed + options.seeds)
    measured: dict[str, list[Measured]] = {name: [] for name in options.names}
    alone: dict[str, Measured] = {}
    for method, seed, is_alone in _plan(config, options, settings["workers"]):
        found = results.get(method, seed, alone=is_alone)
        assert found is not None
        if is_alone:
            alone[method] = found
        else:
            measured[method].append(found)
    assert all(len(runs) == len(seeds) for runs in measured.values())
    facts = Facts(
        dataset=last_part(printable(config.dataset)),
        train_images=len(splits.train),
        val_images=len(splits.val),
        test_images=len(splits.test),
        num_blocks=job.spec.num_blocks,
        objective=job.spec.objective,
        embedding=job.spec.embedding_type,
        epochs=config.epochs,
        steps_per_epoch=job.steps_per_epoch,
        batch_size=config.batch_size,
        workers=settings["workers"],
        device=settings["device"],
        precision=settings["precision"],
        target_accuracy=options.target_accuracy or common_target(measured),
        efficiency_epochs=options.efficiency_epochs,
    )
    comparison = summarise(store.root, facts, measured, alone, versions())
    # Without the folder's name: it can be moved.
    numbers = {k: v for k, v in comparison.to_dict().items() if k != "folder"}
    store.write("comparison.json", json.dumps(numbers, indent=1).encode())
    store.write("comparison.md", markdown(comparison, None).encode())
    if config.plots and save_figure(store, PICTURE, lambda: plot_comparison(comparison)):
        store.write("comparison.md", markdown(comparison, PICTURE).encode())
    return comparison


def read_comparison(folder: str) -> Comparison:
    """A finished comparison, from its folder.

    Raises:
        UserError: ``comparison.json`` is gone, damaged or of another version.
    """
    reader = Reader(Store(folder), "a comparison", REMEDY)
    found = reader.typed("comparison.json", Comparison, {"folder": folder})
    if found is None:
        raise UserError(f"{folder} has no comparison.json: {REMEDY}.")
    return found


def show(comparison: Comparison) -> None:
    """The table and the sentences on standard output."""
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:  # in a file it may be wider than the 80 columns assumed there
        width = max(console.width, WIDE, 36 + 18 * len(comparison.rows))
        console = Console(highlight=False, markup=False, width=width)
    folder = printable(comparison.folder.rstrip("/"))
    console.print(title(comparison.facts), soft_wrap=True)
    console.print(terminal_table(comparison))
    for sentence in comparison.sentences:
        console.print("- " + sentence, soft_wrap=not console.is_terminal)
    console.print()
    for name in ("comparison.md", "comparison.json", PICTURE):
        if Store(comparison.folder).exists(name):
            console.print(f"{folder}/{name}", soft_wrap=True)
