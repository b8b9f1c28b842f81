"""Training what a network is compared with: without z, and of fewer blocks at equal operations."""

from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from noprop_dist.ablate.options import AblateOptions
from noprop_dist.config import TrainConfig
from noprop_dist.config.model_options import meaningless_to
from noprop_dist.engine.job import check_fit
from noprop_dist.engine.resume import check_same_options, finished_result
from noprop_dist.errors import UserError
from noprop_dist.model.own_block import BlockCode, standing_for
from noprop_dist.record.folder import home_of
from noprop_dist.record.own_parts import OWN, given_parts, read_own_parts
from noprop_dist.record.progress import say
from noprop_dist.record.run_config import read_config
from noprop_dist.record.store import Store, inside
from noprop_dist.text import how_many
from noprop_dist.training import prepare, train
from noprop_dist.use.opening import OpenRun
from noprop_dist.use.rows import config_here

FEWER = (1, 2, 5)
# What concerns the run itself, and neither its network nor its data.
OF_THE_RUN: dict[str, Any] = {
    "name": None, "resume_from": None, "init_from": None, "history": None, "tensorboard": False,
    "tracker": "none", "plots": False, "quiet": True,
}  # fmt: skip


@dataclass(frozen=True)
class Rivals:
    """What a network is compared with, checked and not yet trained.

    Attributes:
        configs: the options of each, by its name.
        notes: what is left out or begins in another way, a sentence each.
        class_embed: float32 (K, D), class embeddings given in Python, the run's and theirs.
        code: of the run's block, where it is a class of the user's own.
    """

    configs: dict[str, TrainConfig] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    class_embed: Tensor | None = None
    code: BlockCode | None = None

    def train(self) -> list[str]:
        """Their run folders; one that has finished is not trained again."""
        for name, config in self.configs.items():
            with standing_for(config.block, self.code):
                say(f"training {name} in {config.folder}")
                train(config, class_embed=self.class_embed)
        return [config.folder for config in self.configs.values()]


def rivals_of(run: OpenRun, options: AblateOptions) -> Rivals:
    """What to train in ``ablation/`` of the run; trains nothing.

    Raises:
        UserError: the run's options are not known, its data is not there or another, or one of the
            folders holds another run.
    """
    if run.config is None:
        raise UserError(f"{run.name} does not say what it was trained with: leave --train out.")
    config = config_here(run)
    places = {"dataset": options.dataset, "data_dir": options.data_dir}
    changed = OF_THE_RUN | {k: v for k, v in places.items() if v is not None}
    kinds, notes = _kinds(config)
    home = home_of(run.name)
    configs = {
        name: replace(config, **(changed | changes), run_dir=inside(home, f"ablation/{name}"))
        for name, changes in kinds.items()
    }
    code = run.trained.network.spec.block_code  # what the user named, wherever it lies
    rivals = Rivals(configs, notes, read_own_parts(Store(home)).class_embed, code)
    with standing_for(config.block, code):
        _check(run, rivals)
    return rivals


def _kinds(config: TrainConfig) -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    """The options that differ, by name; and notes."""
    kinds: dict[str, dict[str, Any]] = {}
    notes = []
    if config.init_from is not None:
        notes.append(
            f"the run began with the weights of {config.init_from}, and what is trained beside it "
            "begins without"
        )
    if config.objective != "none":
        kinds["without-z"] = {"objective": "none"} | meaningless_to("none")
    fit, why = _numbers_of_blocks(config)
    for fewer, epochs in fit.items():
        kinds[f"blocks-{fewer}"] = {"num_blocks": fewer, "epochs": epochs}
    left_out = [str(n) for n in FEWER if n < config.num_blocks and n not in fit]
    if left_out:
        plural = "s" if left_out != ["1"] else ""
        notes.append(f"a run of {' or '.join(left_out)} block{plural} is left out: {why}")
    return kinds, tuple(notes)


def _numbers_of_blocks(config: TrainConfig) -> tuple[dict[int, int], str]:
    """Fewer blocks and their epochs, for as many operations; and why others are none."""
    blocks, depth, epochs = config.num_blocks, config.split_depth, config.epochs
    fewer = [n for n in FEWER if n < blocks]
    if config.noise_schedule == OWN:
        return {}, f"the noise schedule that was given in Python is one of {blocks} blocks"
    if depth is not None:  # the same layers in fewer blocks
        fit = {n: epochs for n in fewer if depth % n == 0}
        return fit, f"--split-depth {depth} cannot be cut into as many layers each"
    fit = {n: blocks * epochs // n for n in fewer if blocks * epochs % n == 0}
    return fit, f"{blocks} blocks of {how_many(epochs, 'epoch')} are no whole number of its epochs"


def _check(run: OpenRun, rivals: Rivals) -> None:
    """Refuse before anything is trained what could not be, or not be compared."""
    splits = None
    for config in rivals.configs.values():
        config, own = given_parts(config, class_embed=rivals.class_embed)
        if splits is None:
            config, splits = prepare(config, own=own)
            if splits.hashes["data"] != run.trained.data_sha256:
                raise UserError(
                    f"{config.dataset} is not what {run.name} was trained on, and what is trained "
                    "on other rows cannot be compared with it: leave --train out."
                )
        check_fit(config, splits)
        store = Store(config.folder)
        there = read_config(store)
        if there is not None:
            ending = "move it away, or leave --train out."
            check_same_options(config, there.to_dict(), store.root, ending, may_grow=True)
        finished_result(config, splits, store)
