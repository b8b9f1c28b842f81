"""Training what a network is compared with: without z, and of fewer blocks at equal operations."""

from dataclasses import replace
from typing import Any

from noprop_dist.ablate.options import AblateOptions
from noprop_dist.config import TrainConfig
from noprop_dist.errors import UserError
from noprop_dist.model.own_block import standing_for
from noprop_dist.record.folder import home_of
from noprop_dist.record.progress import say
from noprop_dist.record.store import inside
from noprop_dist.training import train
from noprop_dist.use.opening import OpenRun
from noprop_dist.use.rows import config_here

FEWER = (1, 2, 5)
# What concerns the run itself, and neither its network nor its data.
OF_THE_RUN: dict[str, Any] = {
    "name": None, "resume_from": None, "history": None, "tensorboard": False, "tracker": "none",
    "plots": False, "quiet": True,
}  # fmt: skip


def trained_others(run: OpenRun, options: AblateOptions) -> list[str]:
    """Their run folders, in ``ablation/`` of the run; one that has finished is not trained again.

    Raises:
        UserError: the run's options are not known, or its data is not there.
    """
    if run.config is None:
        raise UserError(f"{run.name} does not say what it was trained with: leave --train out.")
    config = config_here(run)
    code = run.trained.network.spec.block_code  # what the user named, wherever it lies
    if options.dataset is not None:
        config = replace(config, dataset=options.dataset)
    folders = []
    with standing_for(config.block, code):
        for name, changes in _kinds(config):
            folder = inside(home_of(run.name), f"ablation/{name}")
            say(f"training {name} in {folder}")
            train(replace(config, **(OF_THE_RUN | changes), run_dir=folder))
            folders.append(folder)
    return folders


def _kinds(config: TrainConfig) -> list[tuple[str, dict[str, Any]]]:
    """Names and the options that differ."""
    kinds: list[tuple[str, dict[str, Any]]] = []
    if config.objective != "none":
        kinds.append(("without-z", {"objective": "none"}))
    work = config.num_blocks * config.epochs
    for fewer in FEWER:
        if config.split_depth is not None:  # the same layers in fewer blocks: as many operations
            whole, epochs = config.split_depth % fewer == 0, config.epochs
        else:
            whole, epochs = work % fewer == 0, work // fewer
        if fewer < config.num_blocks and whole:
            kinds.append((f"blocks-{fewer}", {"num_blocks": fewer, "epochs": epochs}))
    return kinds
