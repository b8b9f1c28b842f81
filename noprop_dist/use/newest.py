"""The network of a run that has not ended: what its newest checkpoint holds, assembled."""

from torch import Tensor

from noprop_dist.engine.evaluate import Weights
from noprop_dist.engine.rounds import nearest_blocks, stem
from noprop_dist.engine.snapshot import Shared, Snapshot, average_shared
from noprop_dist.errors import UserError
from noprop_dist.model.network import named_tensors
from noprop_dist.record.checkpoint import Loaded


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
        UserError: it was written by a version that kept no description of the network in it.
    """
    state = loaded.state
    if "network" not in state:
        raise UserError(
            f"{where} was written by an older version, which did not describe the network in it: "
            "let the run go on until its next checkpoint."
        )
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
