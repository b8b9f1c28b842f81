"""Opening a run: its trained network, or what its newest checkpoint holds, with its options."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from noprop_dist.config import TrainConfig
from noprop_dist.engine.evaluate import Weights
from noprop_dist.engine.rounds import nearest_blocks, stem
from noprop_dist.engine.snapshot import Shared, Snapshot, average_shared
from noprop_dist.errors import UserError
from noprop_dist.model.network import named_tensors
from noprop_dist.model.own_block import BlockCode
from noprop_dist.record.backbones import tensors_beside
from noprop_dist.record.checkpoint import Loaded, find_checkpoint
from noprop_dist.record.folder import SUFFIX, home_of, is_network_file
from noprop_dist.record.network_files import Precision, asked_precision, load_network, rebuild
from noprop_dist.record.run_config import config_of, read_config
from noprop_dist.record.store import Store, inside
from noprop_dist.record.trained import TrainedNetwork
from noprop_dist.run_files import CHECKPOINTS, MODEL


@dataclass(frozen=True)
class OpenRun:
    """A network to use, and where it comes from.

    Attributes:
        name: what the user called it.
        trained: the network.
        config: the options that it was trained with, or None where only the network is there.
        notes: what the user should know of it, a sentence each.
    """

    name: str
    trained: TrainedNetwork
    config: TrainConfig | None
    notes: tuple[str, ...] = ()

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.config.seed if self.config else 0

    @property
    def shape(self) -> tuple[int, ...]:
        """(C, H, W) of an image or (F,) of a vector."""
        return self.trained.sample_shape


def open_run(
    path: str,
    device: str = "auto",
    precision: Precision = "run",
    block: str | None = None,
) -> OpenRun:
    """The network of a run.

    Args:
        path: a run folder or its URI, ``model/`` or one of ``checkpoints/`` in it, or an
            exported safetensors file.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto", "fp32" or "bf16"; "run": what the run was asked for.
        block: as of ``load_network``.

    Raises:
        UserError: there is no network, or not one that this version reads.
    """
    if is_network_file(path):
        return OpenRun(path, load_network(path, device, precision, block=block), None)
    if path.endswith(SUFFIX) and "://" not in path and not Path(path).exists():
        raise UserError(f"{path}: there is no such file.")
    store = Store(path)
    if store.exists(f"{MODEL}/network.json") or store.exists("network.json"):
        config = read_config(Store(home_of(path)))
        asked = asked_precision(precision, config)
        return OpenRun(path, load_network(path, device, asked, block=block), config)
    source, loaded = find_checkpoint(path)
    if loaded is None:
        there = store.local is None or store.local.exists()
        raise UserError(
            f"{path} holds no trained network and no checkpoint: give the folder of a run that has "
            "trained for an epoch."
            if there
            else f"{path}: there is no such run folder."
        )
    where = inside(source.root, f"{CHECKPOINTS}/{loaded.name}")
    config = config_of(loaded.state["config"], where)
    if config.blocks is not None:
        raise UserError(
            f"{path} has blocks {config.blocks} of {config.num_blocks} alone: noprop merge makes a "
            "network of such runs."
        )
    tensors, state = newest_network(loaded, where), loaded.state
    asked = asked_precision(precision, config)
    code = BlockCode.read(block) if block is not None else None
    tensors |= tensors_beside(state["network"], home_of(path))
    trained = rebuild(state["network"], tensors, device, asked, where, code)
    fewest, most = min(state["steps"].values()), max(state["steps"].values())
    steps = f"{most}" if fewest == most else f"{fewest} to {most}"
    note = f"{path} has no finished network: using {loaded.name}, blocks of {steps} steps"
    return OpenRun(path, trained, config, (*loaded.problems, note))


def newest_network(loaded: Loaded, where: str) -> dict[str, Tensor]:
    """The state dict of a checkpoint's network.

    It holds the best epoch's weights under early stopping, else the newest ones. Those of two
    blocks may be some steps apart. As at the end of a run, weights are the averaged ones where the
    run averages them, the shared part is the mean over blocks, and the nearest neighbour stands in
    for a block that was set aside.

    Args:
        loaded: the checkpoint.
        where: what to call it.

    Raises:
        UserError: every block was set aside.
    """
    state = loaded.state
    steps = {int(t): step for t, step in state["steps"].items()}
    if state["config"]["early_stopping_patience"] is not None and state["best"] is not None:
        weights: Weights = {t: loaded.parts[stem("best", t)] for t in steps}
        shared: Shared = loaded.parts["best-shared"]
    else:
        weights, shared = _latest(loaded, steps, where)
    return named_tensors(weights, shared)


def _latest(loaded: Loaded, steps: dict[int, int], where: str) -> tuple[Weights, Shared]:
    aside = {int(t) for t in loaded.state["set_aside"]}
    ends = {
        t: Snapshot(t, steps[t], loaded.parts[stem("block", t)]).epoch_end(0.0)
        for t in sorted(steps.keys() - aside)
    }
    if not ends:
        raise UserError(f"{where} holds no trained block: all were set aside.")
    stand_in = nearest_blocks(list(ends), list(steps))
    shared = average_shared([end.shared for end in ends.values()])
    return {t: ends[stand_in[t]].weights for t in steps}, shared


def cpu_threads(run: OpenRun) -> int:
    """Threads of one piece of work, which change the last bits: as in training."""
    on_cpu = run.trained.device == torch.device("cpu")
    return run.config.cpus_per_worker if run.config and on_cpu else 1
