"""One network of runs that trained some of its blocks each, on machines that need not meet."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from noprop_dist.config import TrainConfig
from noprop_dist.engine.resume import BEGUN_WITH, check_same_options
from noprop_dist.engine.rounds import stem
from noprop_dist.errors import UserError
from noprop_dist.model.own_block import BlockCode, standing_for
from noprop_dist.model.spec import ModelSpec
from noprop_dist.record.checkpoint import Loaded, find_checkpoint, save_checkpoint
from noprop_dist.record.folder import home_of
from noprop_dist.record.history import History
from noprop_dist.record.own_parts import read_own_parts, write_own_parts
from noprop_dist.record.places import check_places
from noprop_dist.record.result import TrainResult
from noprop_dist.record.run_config import config_of
from noprop_dist.record.store import Store
from noprop_dist.training import prepare, train


def merge(runs: Sequence[str], *, block: str | None = None, **changes: Any) -> TrainResult:
    """Put trained blocks together and evaluate the network, as the end of one run would.

    The blocks' bits, and the network's, are those of one run on the parts' kind of device.

    Args:
        runs: run folders of ``train_blocks``, which together hold every block once; or their URIs.
        block: of runs whose block is a class of one's own, that class: its code is run.
        changes: options of the whole run that differ from the parts', such as ``run_dir``.

    Raises:
        UserError: the runs do not go together, are not finished, or a block is missing or twice.
    """
    if not runs:
        raise UserError("give the run folders of noprop train --blocks to merge.")
    found = [(run, _part(run)) for run in runs]
    first_run, first = found[0]
    config = config_of(first.state["config"], first_run)
    for run, part in found[1:]:
        _check_same(config, found[0], part, run)
    _check_complete(config, found)
    whole = {"blocks": None, "name": None, "run_dir": None, "resume_from": None}
    config = replace(config, **(whole | changes))
    check_places(config)
    with standing_for(config.block, _code(first, first_run, block)):
        own = read_own_parts(Store(home_of(first_run)))
        if not config.is_placed:
            config, _ = prepare(config, own=own)
        store = Store(config.folder)
        parts, state = _joined([part for _, part in found])
        if find_checkpoint(store.root)[1] is None:
            write_own_parts(store, own)
            name = f"step-{sum(state['steps'].values()):010d}"
            save_checkpoint(store, name, parts, state | {"config": config.to_dict()}, keep=1)
        return train(config)


def _part(run: str) -> Loaded:
    _, loaded = find_checkpoint(run)
    if loaded is None:
        raise UserError(f"{run} holds no trained blocks: give the folder of noprop train --blocks.")
    if loaded.state["round"] < loaded.state["config"]["epochs"]:
        raise UserError(
            f"{run} has trained {loaded.state['round']} of {loaded.state['config']['epochs']} "
            "epochs: let it finish, by the command that began it."
        )
    return loaded


def _check_same(config: TrainConfig, first: tuple[str, Loaded], part: Loaded, run: str) -> None:
    """Refuse blocks that are not of the first's run."""
    theirs = part.state["config"] | {"blocks": config.blocks}
    check_same_options(config, theirs, run, "merge runs of the same options.")
    first_run, one = first[0], first[1].state["fingerprint"]
    other = part.state["fingerprint"]
    kinds = {"data": "on other data", "precision": "in another number format"}
    for key, what in kinds.items():
        if one[key] != other[key]:
            raise UserError(f"{run} was trained {what} than {first_run}: train it again.")
    if one["test"] != other["test"]:
        raise UserError(
            f"{run} has other test rows than {first_run}, and one network has one test split: "
            "train it again on the same data."
        )
    for key, what in BEGUN_WITH.items():
        if one.get(key) != other.get(key):
            there = f"with other {what} than {first_run}"
            if key not in other:
                there = f"without {what}, unlike {first_run}"
            elif key not in one:
                there = f"with {what}, unlike {first_run}"
            raise UserError(f"{run} began {there}: train it again.")


def _code(first: Loaded, run: str, block: str | None) -> BlockCode | None:
    """Run no code because a folder names it: the user names it, and it must be the parts'."""
    code = BlockCode.read(block) if block is not None else None
    return ModelSpec.from_dict(first.state["network"]["spec"]).with_code(code, run).block_code


def _check_complete(config: TrainConfig, found: Sequence[tuple[str, Loaded]]) -> None:
    """Refuse a block that is missing, or there twice."""
    where: dict[int, str] = {}
    for run, part in found:
        for t in map(int, part.state["steps"]):
            if t in where:
                raise UserError(f"block {t} is in {where[t]} and in {run}: leave one of them out.")
            where[t] = run
    missing = [str(t) for t in range(1, config.num_blocks + 1) if t not in where]
    if missing:
        raise UserError(
            f"blocks {', '.join(missing)} of {config.num_blocks} are missing: train them with "
            f"--blocks {','.join(missing)}, and merge them too."
        )


def _joined(found: Sequence[Loaded]) -> tuple[dict[str, Any], dict[str, Any]]:
    """One run's last checkpoint from the parts'."""
    state = dict(found[0].state)
    parts = {"shared": found[0].parts["shared"]}
    for key in ("steps", "rates", "set_aside"):
        state[key] = {t: value for part in found for t, value in part.state[key].items()}
    for part in found:
        names = [stem("block", int(t)) for t in part.state["steps"]]
        parts |= {name: part.parts[name] for name in names}
    state["history"] = _history(found).to_dict()
    state["train_seconds"] = sum(part.state["train_seconds"] for part in found)
    state["num_complete"] = state["round"]
    return parts, state


def _history(found: Sequence[Loaded]) -> History:
    """The blocks' curves; what needs all blocks at every epoch is not known."""
    own = [History(**part.state["history"]) for part in found]
    joined = History()
    blocks = {t: lists for history in own for t, lists in history.blocks.items()}
    joined.blocks = dict(sorted(blocks.items(), key=lambda item: int(item[0])))
    for epoch, lr in enumerate(own[0].lr_history):
        there = [lists for lists in blocks.values() if epoch < len(lists["loss"])]
        joined.train_loss_history.append(sum(b["loss"][epoch] for b in there) / len(there))
        joined.train_accuracy_history.append(sum(b["accuracy"][epoch] for b in there) / len(there))
        joined.val_accuracy_history.append(None)
        joined.val_accuracy_mean_softmax_history.append(None)
        joined.lr_history.append(lr)
    return joined
