"""A run that is trained for more epochs than it was begun with."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from noprop_dist.config import TrainConfig
from noprop_dist.engine.job import Job
from noprop_dist.errors import UserError
from noprop_dist.maths.learning_rate import LR_SCHEDULES
from noprop_dist.record.folder import checkpoint_names, is_complete
from noprop_dist.record.progress import say
from noprop_dist.record.result import read_result
from noprop_dist.record.store import Store
from noprop_dist.run_files import CONFIG
from noprop_dist.text import how_many


def check_growth(job: Job, state: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """What more epochs than before mean, in sentences; none where there are no more.

    Args:
        job: the run.
        state: of the checkpoint that it goes on from.
        where: the run folder of that.

    Raises:
        UserError: the run was ended by early stopping; or it did not train all its epochs, with a
            learning rate that depends on how many they are.
    """
    config, before = job.config, state["config"]["epochs"]
    if config.epochs == before:
        return ()
    patience = config.early_stopping_patience
    if patience is not None and state["waited"] >= patience:
        raise UserError(
            f"{where} was ended after epoch {state['round']} by --early-stopping-patience "
            f"{patience}, whatever --epochs: give --init-from {where} and another --name to train "
            "its weights further."
        )
    # Blocks are ahead then, who was fast the furthest, at a rate of the old length.
    if job.lr_schedule.knows_end and state["round"] < before:
        stands, way_out = f"was ended after epoch {state['round']} of {before} by a callback", ""
        if not state.get("ended", False):
            stands = f"is at epoch {state['round']} of {before}"
            way_out = f"--epochs {before} first, or "
        raise UserError(
            f"{where} {stands}, and --lr-schedule {config.lr_schedule} cannot be stated anew from "
            f"there: give {way_out}--init-from {where} and another --name to train its weights "
            "further."
        )
    told = f"--epochs {config.epochs} instead of {before}"
    if job.lr_schedule.knows_end:
        rate = job.lr(max(state["steps"].values())) * state["lr_scale"]
        told += (
            f": the {config.lr_schedule} of the learning rate is stated anew over all of them and "
            f"goes on at {rate:.1e}; a run of {how_many(config.epochs, 'epoch')} from the start "
            "has other weights"
        )
    return (told,)


def after_a_shorter_run(
    config: TrainConfig, hashes: Mapping[str, str], store: Store
) -> TrainConfig:
    """The options of an unnamed run, which goes on from the longest of fewer epochs.

    Only where that gives the weights of a run from the start; else a line tells how to ask for it.

    Args:
        config: the options, placed.
        hashes: that named the run; see ``TrainConfig.placed``.
        store: its folder.
    """
    folder = store.local
    if folder is None or store.exists(CONFIG) or config.resume_from is not None:
        return config
    if config.early_stopping_patience is not None:  # it may have ended the shorter run
        return config
    if folder.name != config.name_for(hashes) or not folder.parent.is_dir():
        return config
    there = {path.name for path in folder.parent.iterdir()}
    for epochs in range(config.epochs - 1, 0, -1):
        if (name := config.name_for(hashes, epochs=epochs)) in there:
            shorter = str(folder.parent / name)
            if any(is_complete(Store(shorter), c) for c in checkpoint_names(Store(shorter))):
                break
    else:
        return config
    if not LR_SCHEDULES[config.lr_schedule].knows_end:
        say(f"going on after {how_many(epochs, 'epoch')} of {shorter}")
        return replace(config, resume_from=shorter)
    if not _has_all_epochs(Store(shorter)):
        return config
    say(
        f"{shorter} is this run with {how_many(epochs, 'epoch')}; with --lr-schedule "
        f"{config.lr_schedule} {config.epochs} begin anew, and --resume-from {shorter} would go "
        "on there instead"
    )
    return config


def _has_all_epochs(store: Store) -> bool:
    """Whether a run has finished, with as many epochs as it was begun with."""
    with suppress(UserError):  # another run's damage is no matter here
        result = read_result(store)
        return result is not None and result.epochs == result.config["epochs"]
    return False
