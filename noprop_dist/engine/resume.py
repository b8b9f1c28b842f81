"""Where a run begins: afresh, or at the newest good checkpoint of the same run."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from noprop_dist.config import FREE_FIELDS, TrainConfig
from noprop_dist.config.fields import flag
from noprop_dist.config.former_names import by_new_names
from noprop_dist.data import normalise
from noprop_dist.data.given import GIVEN
from noprop_dist.engine.first_weights import begin_with_weights
from noprop_dist.engine.job import Job
from noprop_dist.engine.longer import check_growth
from noprop_dist.engine.rounds import Rounds
from noprop_dist.engine.snapshot import Shared, first_shared
from noprop_dist.engine.splits import Splits
from noprop_dist.errors import UserError
from noprop_dist.maths.embedding import learned_embedding, one_hot_embedding, prototype_index
from noprop_dist.maths.keys import torch_generator
from noprop_dist.model.block_names import same_block
from noprop_dist.model.registry import make_objective
from noprop_dist.record.checkpoint import Loaded, find_checkpoint, load_newest
from noprop_dist.record.progress import say
from noprop_dist.record.result import TrainResult, read_result
from noprop_dist.record.store import Store
from noprop_dist.run_files import BACKBONE, HISTORY, OWN_BLOCK, RESULT

# What a run begins with beside its options and its rows, by its name in a fingerprint.
BEGUN_WITH = {
    "own": "noise schedule or class embeddings given in Python",
    "init": "weights given by --init-from",
    "features": f"weights of its --features, which {BACKBONE} keeps for --features-weights",
    "block": f"code of its block, of which {OWN_BLOCK} is a copy",
}
ANOTHER_RUN = "give the same options, or another --name or --run-dir."


@dataclass(frozen=True)
class Start:
    """Where a run began.

    Attributes:
        checkpoint: what it goes on from, or None.
        warnings: what the user should know of it: damaged checkpoints that were passed over, ...
        told: what else is worth a line.
    """

    checkpoint: str | None = None
    warnings: tuple[str, ...] = ()
    told: tuple[str, ...] = ()


def start_afresh(job: Job, splits: Splits) -> Rounds:
    """Every block before its first step.

    Raises:
        UserError: prototypes of a class that has no training image.
    """
    rounds = Rounds(job, first_shared_of(job, splits))
    rounds.start()
    return rounds


def start_or_resume(job: Job, splits: Splits, store: Store) -> tuple[Rounds, Start]:
    """The state to go on from, and what it is; see ``find_start``."""
    loaded, start = find_start(job, store)
    if loaded is not None:
        return Rounds.restore(job, loaded.parts, loaded.state), start
    rounds = start_afresh(job, splits)
    if splits.own.network is not None:
        start = Start(told=begin_with_weights(rounds, splits.own.network))
    return rounds, start


def find_start(job: Job, store: Store) -> tuple[Loaded | None, Start]:
    """The checkpoint to go on from, None where the run begins afresh.

    Raises:
        UserError: a checkpoint of other options or other data, or none that is good.
    """
    source, loaded, warnings = _find(job.config, store)
    if loaded is None:
        if store.exists(RESULT):
            raise UserError(
                f"{store.root} holds a finished run of fewer epochs and no checkpoint to go on "
                "from: give another --name or --run-dir."
            )
        return None, Start()
    ending = ANOTHER_RUN if source.root == store.root else "give the options of that run."
    check_same_options(job.config, loaded.state["config"], source.root, ending, may_grow=True)
    told = check_growth(job, loaded.state, source.root)
    there = loaded.state["fingerprint"]
    if there["precision"] != job.precision:
        raise UserError(
            f"{source.root} holds a run in {there['precision']}, and this one would go on in "
            f"{job.precision}: give --precision {there['precision']}, or another --name."
        )
    hashes = {k: v for k, v in job.fingerprint.items() if k != "test"}
    check_same_data(job.config, hashes, there, source.root)
    warnings += [
        f"the run so far used {k} {there[k]}, now {job.fingerprint[k]}: the weights may differ in "
        "their last bits from an unbroken run's"
        for k in ("device", "torch")
        if there[k] != job.fingerprint[k]
    ]
    return loaded, Start(loaded.name, tuple(warnings), told)


def named_checkpoint(resume_from: str) -> tuple[Store, Loaded]:
    """The checkpoint of ``--resume-from``, and the run folder that it is in.

    Raises:
        UserError: there is none.
    """
    source, named = find_checkpoint(resume_from)
    if named is None:
        raise UserError(
            f"--resume-from {resume_from} holds no checkpoint: give a run folder or one of the "
            "folders in its checkpoints/."
        )
    return source, named


def _find(config: TrainConfig, store: Store) -> tuple[Store, Loaded | None, list[str]]:
    """The checkpoint to go on from: the one named inside this run, this run's own, or another's."""
    if config.resume_from is not None:
        source, named = named_checkpoint(config.resume_from)
        if source.root == store.root or not (own := load_newest(store)):
            return source, named, list(named.problems)
        passed = f"--resume-from is passed over: {store.root} has gone on from it already"
        return store, own, [passed, *own.problems]
    loaded = load_newest(store)
    return store, loaded, list(loaded.problems) if loaded else []


def finished_result(config: TrainConfig, splits: Splits, store: Store) -> TrainResult | None:
    """What an earlier call left, if it finished."""
    result = read_result(store)
    if result is None:
        return None
    check_same_options(config, result.config, store.root, may_grow=True)
    check_same_data(config, splits.hashes, result.fingerprint, store.root)
    if config.epochs > result.config["epochs"]:
        return None  # it goes on; until it has finished again, these are the numbers there are
    if config.history is not None:
        path = Path(config.history)
        Store(path.parent, "--history").write(path.name, store.read(HISTORY))
    if not config.quiet:
        say(f"data: {splits.told}")
        say(f"{store.root} holds this run, finished: nothing to train")
    return result


def check_same_data(
    config: TrainConfig, hashes: dict[str, str], there: dict[str, str], where: str
) -> None:
    """Refuse a run on other rows, or that began with something else.

    Args:
        config: the options.
        hashes: of the data that is here, as far as it matters, and of what else it began with.
        there: the other run's fingerprint.
        where: its folder.

    Raises:
        UserError: they are not.
    """
    for part, what in BEGUN_WITH.items():
        if there.get(part) != hashes.get(part):
            how = "without" if part not in there else "with other" if part in hashes else "with"
            raise UserError(
                f"{where} holds a run that began {how} {what}: give the same, or another --name or "
                "--run-dir."
            )
    rows = {part: mine for part, mine in hashes.items() if part in ("data", "test")}
    if any(there.get(part, mine) != mine for part, mine in rows.items()):
        other = "than is given now" if config.dataset == GIVEN else f"than {config.dataset} has now"
        raise UserError(
            f"{where} holds a run on other data {other}: restore the data, or give another --name "
            "or --run-dir."
        )


def check_same_options(
    config: TrainConfig,
    other: dict[str, Any],
    where: str,
    ending: str = ANOTHER_RUN,
    *,
    may_grow: bool = False,
) -> None:
    """Refuse a run of other options, apart from those that change no weight.

    Args:
        config: the options.
        other: those of the run that is there.
        where: its folder.
        ending: of the sentence.
        may_grow: whether there may be more epochs now; see ``check_growth``.

    Raises:
        UserError: names the fields that differ, ends with ``ending``.
    """
    mine = config.to_dict()
    # A run of a version that lacked an option did what its default does.
    theirs: dict[str, Any] = {f.name: f.default for f in fields(TrainConfig)}
    theirs |= by_new_names(TrainConfig, other)
    free = FREE_FIELDS
    if "auto" in (mine["precision"], theirs["precision"]):
        free |= {"precision"}  # what it came to is compared by those who know
    if may_grow and mine["epochs"] > theirs["epochs"]:
        free |= {"epochs"}
    if same_block(mine["block"], theirs["block"]):
        free |= {"block"}
    differing = [
        f"{flag(k)} {theirs[k]} there, {mine[k]} now"
        for k in mine
        if k not in free and mine[k] != theirs[k]
    ]
    if differing:
        raise UserError(
            f"{where} holds a run of another configuration ({'; '.join(differing)}): {ending}"
        )


def first_shared_of(job: Job, splits: Splits) -> Shared:
    """What blocks share before the first step, as ``first_class_embed``."""
    return first_shared(first_class_embed(job, splits), make_objective(job.spec))


def first_class_embed(job: Job, splits: Splits) -> torch.Tensor:
    """The class embeddings to start from, (K, D) float32.

    Raises:
        UserError: prototypes of a class that has no training image.
    """
    spec = job.spec
    if splits.own.class_embed is not None:
        return splits.own.class_embed
    if spec.embedding_type == "one-hot":
        return one_hot_embedding(spec.num_classes)
    if spec.embedding_type == "learned":
        generator = torch_generator(job.config.seed, "embedding")
        return learned_embedding(spec.num_classes, spec.embed_dim, generator)
    prototypes = []
    for k, name in enumerate(job.class_names):
        rows = (splits.train.labels == k).nonzero()[0]
        if not len(rows):
            raise UserError(
                f"--embedding-type prototype needs a training image of every class, and class "
                f"'{name}' has none: add one, or choose another embedding."
            )
        # A class at a time: all images in float32 would take four times the data set's memory.
        images = torch.from_numpy(splits.train.take(rows)[0])
        flat = normalise(images, job.normalisation).flatten(1)
        prototypes.append(flat[prototype_index(flat)])
    return torch.stack(prototypes)
