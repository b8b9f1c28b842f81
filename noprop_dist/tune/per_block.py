"""From trials of single blocks to networks: the best of each block, and one setting for all."""

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import yaml

from noprop_dist.config import TrainConfig
from noprop_dist.engine.evaluate import EvalResult, eval_units, merge, run_eval
from noprop_dist.engine.finish import TEST_DRAWS
from noprop_dist.engine.job import Job, make_job
from noprop_dist.engine.snapshot import Shared, Snapshot, average_shared
from noprop_dist.engine.splits import Splits
from noprop_dist.errors import UserError
from noprop_dist.model.network import NoPropNetwork
from noprop_dist.record.network_files import save_network
from noprop_dist.record.own_parts import write_own_parts
from noprop_dist.record.result import Accuracy, accuracy_over
from noprop_dist.record.store import Store, inside
from noprop_dist.tune.block_trial import BlockState
from noprop_dist.tune.reports import BLOCK_METRIC
from noprop_dist.tune.search import Search
from noprop_dist.tune.space import BLOCK, Settings, Space, settle
from noprop_dist.tune.sweep_folder import FINISHED, SweepFolder, trial_path
from noprop_dist.tune.trial_table import Row

Blocks = dict[int, Snapshot]  # by t


@dataclass(frozen=True)
class Assembled:
    """A network of blocks that were trained alone.

    Attributes:
        val_accuracy: z_T on validation images, a fraction.
        test_accuracy: z_T on test images, over noise draws.
    """

    val_accuracy: float
    test_accuracy: Accuracy


@dataclass(frozen=True)
class PerBlock:
    """What tuning every block alone has bought.

    Attributes:
        best_of_each: every block with its own settings and stopping epoch.
        one_for_all: the best single setting with every block trained to the end; None where no
            setting was. The steps of search are the same where all settings were.
        one_for_all_settings: what that setting is.
        num_settings: that were tried.
        num_on_all: of them, those with which every block was trained to the end.
        blocks: by t, the best trial's number, epoch, validation loss and settings.
    """

    best_of_each: Assembled
    one_for_all: Assembled | None
    one_for_all_settings: Settings
    num_settings: int
    num_on_all: int
    blocks: dict[int, dict[str, Any]]


def assemble(search: Search, rows: list[Row]) -> PerBlock:
    """Assemble, evaluate and write ``model/`` (the best of each block) and ``blocks.yaml``.

    The single setting is chosen by validation accuracy, as a sweep of whole networks would; only
    the two networks that are chosen see the test split.

    Args:
        search: whose trials have all ended.
        rows: its trials, best first.

    Raises:
        UserError: a block has no trial that could be trained.
    """
    store, config = search.folder.store, search.config
    best = _best_trials(rows, config.num_blocks)
    chosen = {t: _state(store, row["trial"]).best for t, row in best.items()}
    evaluator = _Evaluator(config, search.splits)
    job, network = evaluator.job, evaluator.network(chosen)
    write_own_parts(store, search.splits.own)
    save_network(store, network, job.normalisation, job.class_names, job.fingerprint["data"])
    blocks = {
        t: {
            "trial": row["trial"],
            "epoch": row["best_epoch"],
            BLOCK_METRIC: row[BLOCK_METRIC],
            "settings": {name: row[name] for name in search.space},
        }
        for t, row in best.items()
    }
    store.write("blocks.yaml", yaml.safe_dump(blocks, sort_keys=False).encode())
    one, settings = None, {}
    num_settings, groups = _tried_on_all(search.folder, config.num_blocks)
    if groups:
        # One after the other: all of them may not fit into memory.
        winner = max(groups, key=lambda group: evaluator.val_accuracy(_latest(store, group)))
        one = evaluator.assembled(_latest(store, winner))
        settings = settle(_without_block(search.folder.trials[winner[1]].settings), config)
    return PerBlock(evaluator.assembled(chosen), one, settings, num_settings, len(groups), blocks)


def middle(found: PerBlock, space: Space) -> Settings:
    """The median over blocks of each one's best, or what most of them have."""
    settings: Settings = {}
    for name, dimension in space.items():
        values = [block["settings"][name] for block in found.blocks.values()]
        numbers = dimension.kind != "choice"
        settings[name] = statistics.median_low(values) if numbers else statistics.mode(values)
    return settings


def _latest(store: Store, numbers: Mapping[int, int]) -> Blocks:
    return {t: _state(store, number).latest for t, number in numbers.items()}


def _state(store: Store, number: int) -> BlockState:
    state = BlockState.load(Store(inside(store.root, trial_path(number))))
    if state is None:
        raise UserError(
            f"{store.root}/{trial_path(number)} has lost its checkpoint: restore it, or "
            "delete that folder to train the block again."
        )
    return state


def _best_trials(rows: list[Row], num_blocks: int) -> dict[int, Row]:
    best: dict[int, Row] = {}
    for row in rows:
        if row[BLOCK_METRIC] is not None:
            best.setdefault(row[BLOCK], row)
    missing = [t for t in range(1, num_blocks + 1) if t not in best]
    if missing:
        raise UserError(
            f"block {missing[0]} has no trial that could be trained: see results.csv for the "
            "reasons, and give more --samples or another --space."
        )
    return best


def _tried_on_all(folder: SweepFolder, num_blocks: int) -> tuple[int, list[dict[int, int]]]:
    """How many settings were tried, and by t the trials of those that every block finished."""
    groups: dict[str, dict[int, int]] = {}
    for trial in folder.ended:
        group = groups.setdefault(json.dumps(_without_block(trial.settings), sort_keys=True), {})
        if trial.outcome is not None and trial.outcome.status == FINISHED:
            group.setdefault(trial.settings[BLOCK], trial.number)
    return len(groups), [group for group in groups.values() if len(group) == num_blocks]


def _without_block(settings: Settings) -> Settings:
    return {k: v for k, v in settings.items() if k != BLOCK}


class _Evaluator:
    """Evaluates networks of single blocks in this process."""

    def __init__(self, config: TrainConfig, splits: Splits) -> None:
        self.splits, self.device = splits, torch.device("cpu")
        self.job: Job = make_job(config, splits, self.device)

    @staticmethod
    def _parts(blocks: Blocks) -> tuple[dict[int, dict[str, torch.Tensor]], Shared]:
        ends = {t: blocks[t].epoch_end(0.0) for t in sorted(blocks)}
        shared = average_shared([end.shared for end in ends.values()])
        return {t: end.weights for t, end in ends.items()}, shared

    def network(self, blocks: Blocks) -> NoPropNetwork:
        return NoPropNetwork.assemble(self.job.spec, *self._parts(blocks))

    def _evaluate(self, blocks: Blocks, split: str, draws: int) -> EvalResult:
        rows = getattr(self.splits, split)
        units = eval_units(0, split, len(rows), *self._parts(blocks), draws)
        return merge([run_eval(unit, self.job, rows, self.device) for unit in units])

    def val_accuracy(self, blocks: Blocks) -> float:
        return self._evaluate(blocks, "val", 1).accuracy()[0]

    def assembled(self, blocks: Blocks) -> Assembled:
        test = self._evaluate(blocks, "test", TEST_DRAWS)
        return Assembled(self.val_accuracy(blocks), accuracy_over(test.accuracy(), test.num_rows))
