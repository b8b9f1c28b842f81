"""A run that begins with the weights of another network, as far as their shapes agree."""

from noprop_dist.engine.job import Job
from noprop_dist.engine.rounds import Rounds
from noprop_dist.engine.snapshot import SHARED_NAMES, Snapshot, part
from noprop_dist.errors import UserError
from noprop_dist.maths.embedding_types import IS_TRAINED
from noprop_dist.record.trained import TrainedNetwork


def begin_with_weights(rounds: Rounds, source: TrainedNetwork) -> tuple[str, ...]:
    """Put a network's weights into blocks before their first step; optimisers begin afresh.

    Fixed class embeddings stay those of the run.

    Returns:
        Sentences about what begins anew.

    Raises:
        UserError: the network has other blocks, another number of them, or the same classes in
            another order.
    """
    _check_order(rounds.job, source)
    spec, theirs = rounds.job.spec, source.network.spec
    for flag, here, other in (
        ("--num-blocks", spec.num_blocks, theirs.num_blocks),
        ("--block", spec.block, theirs.block),
    ):
        if here != other:
            raise UserError(
                f"--init-from {rounds.job.config.init_from} holds a network of {flag} {other}, and "
                f"this one has {here}: give {flag} {other}."
            )
    there = source.network.state_dict()
    shared = {name: there[name] for name in SHARED_NAMES}
    anew = set()
    if any(shared[name].shape != rounds.shared[name].shape for name in SHARED_NAMES):
        shared, anew = {}, {"readout"}
    elif not IS_TRAINED[spec.embedding_type]:
        del shared["class_embed"]
    rounds.shared = rounds.shared | shared
    for t in rounds.blocks:
        begun, own = rounds.latest[t], part(there, f"blocks.{t - 1}")
        mine = begun.part("block")
        others = {_layer(k) for k, v in mine.items() if k not in own or own[k].shape != v.shape}
        kept = {k: own[k] for k in mine if _layer(k) not in others}
        new = {f"block.{k}": v for k, v in kept.items()}
        new |= {f"ema.{k}": v for k, v in kept.items() if f"ema.{k}" in begun.tensors}
        new |= {f"shared.{k}": v.clone() for k, v in rounds.shared.items()}
        rounds.latest[t] = Snapshot(t, begun.step, begun.tensors | new)
        anew |= others
    return _told(rounds, source, anew)


def _check_order(job: Job, source: TrainedNetwork) -> None:
    """Refuse classes of the same names in another order.

    What is learned of a class goes by its place in every layer that has such an axis, and which
    these are is known of no block of the user's own.
    """
    mine, theirs = job.class_names, source.class_names
    if mine == theirs or sorted(mine) != sorted(theirs):
        return
    k = next(k for k, name in enumerate(mine) if name != theirs[k])
    raise UserError(
        f"--init-from {job.config.init_from} holds a network of the same classes in another order "
        f"(class {k} is '{theirs[k]}' there and '{mine[k]}' here), and what it learned of a class "
        "goes by its place: number the labels of this data in the order of that network's classes."
    )


def _layer(name: str) -> str:
    """The layer of a tensor, which begins anew as a whole."""
    return name.rpartition(".")[0]


def _told(rounds: Rounds, source: TrainedNetwork, anew: set[str]) -> tuple[str, ...]:
    job = rounds.job
    told = [f"the weights begin as those of {job.config.init_from}"]
    if anew:
        told[0] += f", but for layers of another shape, which begin anew: {', '.join(sorted(anew))}"
    mine, theirs = job.class_names, source.class_names
    if mine != theirs and len(mine) == len(theirs):
        told.append(
            f"its {len(mine)} classes have other names ('{theirs[0]}' is '{mine[0]}' here): the "
            "head begins with what it learned of them, in their order"
        )
    return tuple(told)
