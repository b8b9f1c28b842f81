"""Where memory is short fewer blocks train at once, before a block is given up."""

from threading import Barrier, Thread

import pytest
import torch

from noprop_dist.engine.live_block import LiveBlock
from noprop_dist.engine.runner import UnitRunner, WorkFailedError
from noprop_dist.engine.unit import Unit, UnitResult, run_unit
from noprop_dist.record.checkpoint import sha256_of_tensors
from runs import prepared

CPU = torch.device("cpu")


def test_fewer_blocks_at_once_where_memory_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for two: of three units at once one fails, and is done again when another is over."""
    made, splits, rounds = prepared()
    expected = {
        t: run_unit(Unit(rounds.latest[t], 3), made, splits.train, CPU).snapshot for t in (1, 2, 3)
    }
    at_work, together = set[int](), Barrier(3, timeout=60)
    compute, notes = LiveBlock.compute, list[str]()

    def crowded(live: LiveBlock, x: torch.Tensor, y: torch.Tensor) -> None:
        if live.t not in at_work:
            at_work.add(live.t)
            if not notes and not together.broken and live.step == 0:
                together.wait()
            if live.t == 3 and not notes and len(at_work) == 3:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
        compute(live, x, y)

    monkeypatch.setattr(LiveBlock, "compute", crowded)
    runner = UnitRunner(made, splits, CPU, at_once=3, note=notes.append)
    done: dict[int, UnitResult] = {}

    def train(t: int) -> None:
        result = runner.run(Unit(rounds.latest[t], 3))
        assert isinstance(result, UnitResult)
        done[t] = result

    threads = [Thread(target=train, args=(t,)) for t in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert notes == ["memory is short on cpu: 2 blocks at once from now on"]
    for t, snapshot in expected.items():
        found = sha256_of_tensors(done[t].snapshot.tensors)
        assert found == sha256_of_tensors(snapshot.tensors)


def test_one_block_that_does_not_fit_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    made, splits, rounds = prepared()

    def full(live: LiveBlock, x: torch.Tensor, y: torch.Tensor) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(LiveBlock, "compute", full)
    runner = UnitRunner(made, splits, CPU, at_once=1)
    with pytest.raises(WorkFailedError, match=r"it ran out of memory .* smaller --batch-size"):
        runner.run(Unit(rounds.latest[1], 1))


def test_another_error_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made, splits, rounds = prepared()

    def broken(live: LiveBlock, x: torch.Tensor, y: torch.Tensor) -> None:
        raise RuntimeError("shapes do not go together")

    monkeypatch.setattr(LiveBlock, "compute", broken)
    runner = UnitRunner(made, splits, CPU, at_once=3)
    with pytest.raises(RuntimeError, match="shapes do not go together"):
        runner.run(Unit(rounds.latest[1], 1))
