"""What may train next, and what a checkpoint keeps of it."""

from pathlib import Path

import pytest
import torch

from noprop_dist.engine.job import Job
from noprop_dist.engine.rounds import Rounds
from noprop_dist.engine.snapshot import SHARED_NAMES
from noprop_dist.engine.splits import Splits
from noprop_dist.engine.unit import run_unit
from noprop_dist.model.readout import readout_logits
from noprop_dist.model.registry import make_objective
from noprop_dist.record.checkpoint import load_checkpoint, save_checkpoint
from noprop_dist.record.store import Store
from runs import prepared

CPU = torch.device("cpu")


def prepare(**changes: object) -> tuple[Job, Splits, Rounds]:
    job, splits, rounds = prepared(**({"max_train_images": 110} | changes))
    assert job.steps_per_epoch == 3
    return job, splits, rounds


def advance(rounds: Rounds, splits: Splits, t: int, max_steps: int | None = None) -> int | None:
    """Train block t's next unit; the epoch that this completes for all."""
    unit = rounds.next_unit(t, max_steps)
    assert unit is not None
    snapshot = run_unit(unit, rounds.job, splits.train, CPU).snapshot
    return rounds.take(snapshot, 1.0)


def finish(rounds: Rounds, splits: Splits) -> Rounds:
    """Train and close everything that is left, without evaluation."""
    while rounds.round < rounds.job.config.epochs:
        for t in rounds.active:
            if rounds.next_unit(t) is not None:
                advance(rounds, splits, t)
        while rounds.is_complete(rounds.round):
            rounds.close(None)
    return rounds


@pytest.mark.parametrize("objective", ["dt", "ct", "fm", "ranges", "none"])
@pytest.mark.parametrize(
    "embedding",
    [
        {"embedding_type": "one-hot"},
        {"embedding_type": "learned", "embedding_dim": 5},
        {"embedding_type": "prototype"},
    ],
)
def test_the_readout_begins_with_every_class_at_the_end_of_its_chain(
    objective: str, embedding: dict[str, object]
) -> None:
    job, _, rounds = prepare(objective=objective, **embedding)
    w, weight, bias = (rounds.shared[name] for name in SHARED_NAMES)
    z = make_objective(job.spec).embedding(w)
    logits = readout_logits(z, weight, bias, w, kind="softmax")
    assert logits.argmax(dim=1).tolist() == list(range(10))


def test_blocks_with_fixed_embeddings_run_ahead_and_survive_a_checkpoint(tmp_path: Path) -> None:
    job, splits, rounds = prepare()
    for _ in range(3):
        advance(rounds, splits, 1)
    assert rounds.next_unit(1) is None
    advance(rounds, splits, 2)
    advance(rounds, splits, 2, max_steps=1)
    advance(rounds, splits, 3, max_steps=2)
    parts, state = rounds.save()
    save_checkpoint(Store(tmp_path), "step-1", parts, state, keep=1)
    loaded = load_checkpoint(Store(tmp_path), "step-1")
    restored = Rounds.restore(job, loaded.parts, loaded.state)
    assert [restored.latest[t].step for t in (1, 2, 3)] == [9, 4, 2]
    first, second = finish(rounds, splits), finish(restored, splits)
    for t in rounds.blocks:
        ours, theirs = first.final()[0][t], second.final()[0][t]
        assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert first.history.train_loss_history == second.history.train_loss_history


@pytest.mark.parametrize(
    "changes", [{"embedding_type": "learned"}, {"lr_schedule": "plateau"}], ids=["learned", "lr"]
)
def test_blocks_wait_where_a_round_decides_something(changes: dict[str, object]) -> None:
    _, splits, rounds = prepare(**changes)
    assert advance(rounds, splits, 1) is None
    assert rounds.next_unit(1) is None
    advance(rounds, splits, 2)
    assert advance(rounds, splits, 3) == 0
    if "lr_schedule" in changes:
        assert rounds.next_unit(1) is None
        rounds.close(None)
    assert rounds.next_unit(1) is not None


def test_frozen_embeddings_wait_for_nobody() -> None:
    _, splits, rounds = prepare(embedding_type="learned", freeze_after=1)
    for t in rounds.blocks:
        advance(rounds, splits, t)
    start = rounds.shared["class_embed"]
    advance(rounds, splits, 1)
    advance(rounds, splits, 1)
    assert torch.equal(rounds.latest[1].tensors["shared.class_embed"], start)


def test_memory_bounds_how_far_a_block_runs_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    _, splits, rounds = prepare(epochs=5)
    monkeypatch.setattr("noprop_dist.engine.rounds.AHEAD_BYTES", 1)
    advance(rounds, splits, 1)
    advance(rounds, splits, 1)
    assert rounds.next_unit(1) is None
    monkeypatch.setattr("noprop_dist.engine.rounds.AHEAD_BYTES", 2**30)
    assert rounds.next_unit(1) is not None


def test_block_that_is_given_up_holds_nobody_back() -> None:
    _, splits, rounds = prepare(embedding_type="learned")
    advance(rounds, splits, 1)
    advance(rounds, splits, 3)
    before = rounds.shared["class_embed"]
    assert rounds.give_up(2, "it broke") == [0]
    assert not torch.equal(rounds.shared["class_embed"], before)
    assert rounds.next_unit(2) is None
    assert rounds.next_unit(1) is not None
    weights = rounds.weights(0)
    assert weights[2] is weights[1]
    finish(rounds, splits)
    assert rounds.save()[1]["set_aside"] == {"2": "it broke"}


def test_units_never_cross_the_end_of_an_epoch() -> None:
    _, splits, rounds = prepare()
    advance(rounds, splits, 1, max_steps=2)
    unit = rounds.next_unit(1, max_steps=100)
    assert unit is not None
    assert unit.num_steps == 1


def test_block_given_up_after_a_round_was_complete_changes_nothing_of_it(tmp_path: Path) -> None:
    """Blocks that begin the next round before and after it start from one average."""
    job, splits, rounds = prepare(embedding_type="learned")
    for t in rounds.blocks:
        ended = advance(rounds, splits, t)
    assert ended == 0
    early, weights = rounds.next_unit(1), rounds.weights(0)
    assert rounds.give_up(2, "it broke") == []
    late = rounds.next_unit(3)
    assert early is not None
    assert late is not None
    assert early.shared is late.shared
    assert rounds.average(0)["class_embed"].equal(early.shared["class_embed"])  # type: ignore[index]
    assert rounds.weights(0)[2] is weights[2]
    rounds.close(None)
    assert list(rounds.history.blocks) == ["1", "2", "3"]
    parts, state = rounds.save()
    save_checkpoint(Store(tmp_path), "step-1", parts, state, keep=1)
    loaded = load_checkpoint(Store(tmp_path), "step-1")
    restored = Rounds.restore(job, loaded.parts, loaded.state)
    finish(rounds, splits)
    finish(restored, splits)
    ours, theirs = rounds.final()[0], restored.final()[0]
    assert all(torch.equal(ours[t][k], theirs[t][k]) for t in ours for k in ours[t])
    assert ours[2] is ours[1]
