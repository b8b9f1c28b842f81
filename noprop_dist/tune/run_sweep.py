"""A sweep from its options to its best settings."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from noprop_dist.config import TrainConfig
from noprop_dist.config.fields import check_types
from noprop_dist.data.given import Given
from noprop_dist.engine.splits import Splits, load_splits, of_given_data
from noprop_dist.errors import UserError, needing_ray
from noprop_dist.model.block import Block
from noprop_dist.model.own_block import block_name
from noprop_dist.record.places import check_places, in_a_lasting_place
from noprop_dist.record.store import Store
from noprop_dist.signals import StopSignals
from noprop_dist.tune.search import Search
from noprop_dist.tune.space import Dimension, most_epochs, read_space
from noprop_dist.tune.sweep_folder import SweepFolder
from noprop_dist.tune.sweep_options import SweepConfig
from noprop_dist.tune.sweep_results import SweepResult, write_report

FORM = "{}-sweep"  # of the name of a sweep that was given none


class SweepStoppedError(Exception):
    """The sweep was asked to stop; the same command goes on.

    Attributes:
        result: what it has so far.
    """

    def __init__(self, result: SweepResult) -> None:
        super().__init__(result.folder)
        self.result = result


def sweep(
    config: TrainConfig,
    options: SweepConfig | None = None,
    *,
    data: Given | None = None,
    block: str | type[Block] | None = None,
    space: Mapping[str, Dimension] | None = None,
    **changes: Any,
) -> SweepResult:
    """Search settings; go on where an earlier call was stopped or killed.

    Args:
        config: the options of every trial; ``run_dir`` or ``name`` is the sweep's own.
        options: what to search, and how; None takes the defaults.
        data: instead of the data set that ``config`` names; see ``train``.
        block: in the place of ``config.block``; see ``train``.
        space: what to search, by option, instead of the file that ``options`` name: see
            ``choice``, ``uniform``, ``loguniform`` and ``randint``.
        **changes: fields of ``options`` by name, such as ``samples``.

    Raises:
        UserError: bad input, in one sentence, or no trial could be trained.
        SweepStoppedError: Ctrl-C or a termination signal; call again to go on.
        KeyboardInterrupt: a second one.
    """
    check_types(SweepConfig, changes)
    config = replace(config, block=block_name(block, config.block))
    if data is not None:
        config = of_given_data(config)
    options = replace(options or SweepConfig(), **changes)
    options.check_with(config)
    check_places(config, FORM)
    source = options.space if space is None else space
    dimensions = read_space(source, config, per_block=options.per_block)
    options.check_length(most_epochs(dimensions, config))
    for schedule in dimensions["lr_schedule"].values if "lr_schedule" in dimensions else ():
        options.check_with(replace(config, lr_schedule=schedule))
    with StopSignals() as signals:
        search = _search(config, options, dimensions, load_splits(config, data))
        folder = search.folder
        with folder.store.lock():
            hashes = search.splits.hashes
            begun_with = hashes["data"] + hashes.get("block", "")
            folder.open(search.config, options, dimensions, begun_with)
            _check_count(search)
            left = len(folder.ended) < search.count
            seconds, asked = _run_on_ray(search, signals) if left else (0.0, False)
            result = write_report(search, seconds)
            # Single blocks keep theirs: more samples may be asked for, and assembled with them.
            for trial in folder.ended if result.complete and not options.per_block else ():
                folder.clear(trial.number)
    _check_found(result)
    if asked and not result.complete:
        raise SweepStoppedError(result)
    return result


def _search(
    config: TrainConfig, options: SweepConfig, dimensions: dict[str, Dimension], splits: Splits
) -> Search:
    """The search in its place.

    Raises:
        UserError: there is nothing to choose by.
    """
    if not len(splits.val):
        raise UserError(
            f"--val-fraction {config.val_fraction} leaves no validation image of "
            f"{len(splits.train)} to choose by: give more."
        )
    config = in_a_lasting_place(config.placed(splits.hashes, FORM))
    return Search(config, options, dimensions, splits, SweepFolder(Store(config.folder)))


def _check_found(result: SweepResult) -> None:
    """Refuse to end without a network.

    Raises:
        UserError: every trial failed.
    """
    if result.complete and result.best is None and result.per_block is None:
        why = next(row["reason"] for row in result.rows)
        raise UserError(
            f"none of {len(result.rows)} trials could be trained ({why.rstrip('.')}): see "
            f"{result.folder}/results.csv, and give another --space."
        )


def _check_count(search: Search) -> None:
    """Refuse to end with fewer trials than there are.

    Raises:
        UserError: fewer are asked for.
    """
    folder, options = search.folder, search.options
    begun = max(folder.trials, default=-1) + 1
    samples = -(-begun // (search.count // options.samples))
    if search.count < begun:
        raise UserError(
            f"--samples {options.samples} is less than {folder.store.root} has begun: give "
            f"--samples {samples} or more."
        )


def _run_on_ray(search: Search, signals: StopSignals) -> tuple[float, bool]:
    with needing_ray("a sweep needs Ray: install ray[default,tune]."):
        from noprop_dist.tune.on_ray.run_search import run_search
    return run_search(search, signals)
