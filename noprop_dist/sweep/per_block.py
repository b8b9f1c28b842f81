"""From trials of single blocks to networks: the best of each block, and one setting for all."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import yaml

from noprop_dist.config import TrainConfig
from noprop_dist.engine.evaluate import EvalResult, eval_units, merge, run_eval
from noprop_dist.engine.finish import TEST_DRAWS
from noprop_dist.engine.job import Job, Splits, resolve_job
from noprop_dist.engine.snapshot import Shared, Snapshot, average_shared
from noprop_dist.errors import UserError
from noprop_dist.model.network import NoPropNetwork
from noprop_dist.record.export import save_network
from noprop_dist.record.result import Accuracy, accuracy_over
from noprop_dist.record.store import Store, inside
from noprop_dist.sweep.block_trial import BLOCK_METRIC, BlockState
from noprop_dist.sweep.network_trial import BLOCK
from noprop_dist.sweep.space import Settings, settle
from noprop_dist.sweep.sweep_folder import FAILED, FINISHED, Journal, Trial, trial_path

Blocks = dict[int, Snapshot]  # by t
FOUND = "per_block.json"


@dataclass(frozen=True)
class Assembled:
    """A network of blocks that were trained alone.

    Attributes:
        val_accuracy: z_T on validation images, a fraction.
        test_accuracy: z_T on test images, over noise draws.
        unit_steps: steps that its blocks took.
    """

    val_accuracy: float
    test_accuracy: Accuracy
    unit_steps: int


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
        trials: the trials that it was made from.
    """

    best_of_each: Assembled
    one_for_all: Assembled | None
    one_for_all_settings: Settings
    num_settings: int
    num_on_all: int
    blocks: dict[int, dict[str, Any]]
    trials: list[int]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "PerBlock":
        """The inverse of ``asdict``, through JSON."""

        def network(found: dict[str, Any]) -> Assembled:
            return Assembled(**(found | {"test_accuracy": Accuracy(**found["test_accuracy"])}))

        one = values["one_for_all"]
        return cls(
            network(values["best_of_each"]),
            None if one is None else network(one),
            values["one_for_all_settings"],
            values["num_settings"],
            values["num_on_all"],
            {int(t): block for t, block in values["blocks"].items()},
            values["trials"],
        )


def assemble(journal: Journal, config: TrainConfig, splits: Splits) -> PerBlock:
    """Assemble, evaluate and write ``model/`` (the best of each block) and ``blocks.yaml``.

    What an earlier call found in the same trials is read again.

    The single setting is chosen by validation accuracy, as a sweep of whole networks would; the
    test split is looked at once for each of the two networks.

    Raises:
        UserError: a block has no trial that could be trained.
    """
    store = journal.store
    trials = [trial.number for trial in journal.ended]
    if store.exists(FOUND):
        try:
            found = PerBlock.from_dict(json.loads(store.read(FOUND)))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{store.root}/{FOUND} is not what a sweep writes ({error}): delete it, and the "
                "same command makes it again."
            ) from error
        if found.trials == trials:
            return found
    judge = _Judge(config, splits)
    best = _best_trials(journal, config.num_blocks)
    chosen = {t: _state(store, trial.number).best for t, trial in best.items()}
    job, network = judge.job, judge.network(chosen)
    save_network(store, network, job.normalisation, job.class_names, job.fingerprint["data"])
    blocks = {t: _entry(trial, config) for t, trial in best.items()}
    store.write("blocks.yaml", yaml.safe_dump(blocks, sort_keys=False).encode())
    one, settings = None, {}
    num_settings, groups = _tried_on_all(journal, config.num_blocks)
    if groups:
        # One after the other: all of them may not fit into memory.
        winner = max(groups, key=lambda numbers: judge.val_accuracy(_latest(store, numbers)))
        one = judge.judge(_latest(store, winner))
        settings = settle(_without_block(journal.trials[winner[1]].settings), config)
    tried = num_settings, len(groups)
    found = PerBlock(judge.judge(chosen), one, settings, *tried, blocks, trials)
    store.write(FOUND, json.dumps(asdict(found), indent=1).encode())
    return found


def _trained(trial: Trial) -> bool:
    outcome = trial.outcome
    return outcome is not None and outcome.status != FAILED and bool(outcome.best)


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


def _best_trials(journal: Journal, num_blocks: int) -> dict[int, Trial]:
    best: dict[int, Trial] = {}
    for trial in journal.ended:
        if _trained(trial):
            t = trial.settings[BLOCK]
            if t not in best or _loss(trial) < _loss(best[t]):
                best[t] = trial
    missing = [t for t in range(1, num_blocks + 1) if t not in best]
    if missing:
        raise UserError(
            f"block {missing[0]} has no trial that could be trained: see results.csv for the "
            "reasons, and give more --samples or another --space."
        )
    return dict(sorted(best.items()))


def _loss(trial: Trial) -> float:
    assert trial.outcome is not None
    return trial.outcome.best[BLOCK_METRIC]


def _entry(trial: Trial, config: TrainConfig) -> dict[str, Any]:
    assert trial.outcome is not None
    settings = _without_block(settle(trial.settings, config))
    best = trial.outcome.best
    return {
        "trial": trial.number,
        "epoch": int(best["epoch"]),
        BLOCK_METRIC: best[BLOCK_METRIC],
        "settings": settings,
    }


def _tried_on_all(journal: Journal, num_blocks: int) -> tuple[int, list[dict[int, int]]]:
    """How many settings were tried, and by t the trials of those that every block finished."""
    groups: dict[str, dict[int, int]] = {}
    for trial in journal.ended:
        group = groups.setdefault(json.dumps(_without_block(trial.settings), sort_keys=True), {})
        if trial.outcome is not None and trial.outcome.status == FINISHED:
            group.setdefault(trial.settings[BLOCK], trial.number)
    return len(groups), [group for group in groups.values() if len(group) == num_blocks]


def _without_block(settings: Settings) -> Settings:
    return {k: v for k, v in settings.items() if k != BLOCK}


class _Judge:
    """Evaluates networks in this process."""

    def __init__(self, config: TrainConfig, splits: Splits) -> None:
        self.splits, self.device = splits, torch.device("cpu")
        self.job: Job = resolve_job(config, splits, self.device)

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
        return self._evaluate(blocks, "val", 1).accuracy_z_T[0]

    def judge(self, blocks: Blocks) -> Assembled:
        test = self._evaluate(blocks, "test", TEST_DRAWS)
        steps = sum(snapshot.step for snapshot in blocks.values())
        return Assembled(self.val_accuracy(blocks), accuracy_over(test.accuracy_z_T), steps)
