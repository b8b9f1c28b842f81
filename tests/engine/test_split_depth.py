"""One deep network cut into blocks: what a block is, and what it takes to train one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from noprop_dist import TrainConfig, UserError, load_network, train
from noprop_dist.data import Split
from noprop_dist.data.dataset import Dataset
from noprop_dist.engine.cost import Cost
from noprop_dist.engine.job import make_job, make_spec
from noprop_dist.engine.live_block import LiveBlock
from noprop_dist.engine.snapshot import first_shared, first_snapshot
from noprop_dist.engine.splits import make_splits
from noprop_dist.maths.embedding import one_hot_embedding
from noprop_dist.model.init import init_block
from noprop_dist.model.registry import make_block
from noprop_dist.model.rehearsal import count_flops
from runs import small

BATCH, DEPTH, BLOCKS = 16, 12, 3


def peak_of_training(folder: Path, block: str, num_blocks: int) -> tuple[int, Cost]:
    """Bytes that PyTorch's allocator has given out at most in two steps of block 1, in float32.

    Weights, what the optimiser keeps and gradients are among them, as all of it is made meanwhile;
    what oneDNN takes past the allocator is not.
    """
    config = TrainConfig(
        block=block, num_blocks=num_blocks, split_depth=DEPTH, objective="ranges",
        batch_size=BATCH, device="cpu", precision="fp32", val_fraction=0,
    )  # fmt: skip
    x = np.zeros((BATCH, 3, 32, 32), dtype=np.uint8)
    rows = Split.from_arrays(x, np.arange(BATCH) % 10)
    dataset = Dataset("black", tuple("0123456789"), rows, rows, photographs=False)
    job = make_job(config, make_splits(config, dataset), torch.device("cpu"))
    snapshot = first_snapshot(job, 1, first_shared(one_hot_embedding(10)))
    batch = torch.from_numpy(rows.take(np.arange(BATCH))[0])
    labels = torch.arange(BATCH) % 10
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        live = LiveBlock(job, snapshot, torch.device("cpu"))
        for _ in range(2):
            live.train_step(batch, labels)
    trace = folder / f"{block}-{num_blocks}.json"
    profiler.export_chrome_trace(str(trace))
    events = [e for e in json.loads(trace.read_text())["traceEvents"] if e["name"] == "[memory]"]
    changes = [e["args"]["Bytes"] for e in sorted(events, key=lambda e: float(e["ts"]))]
    return int(np.cumsum(changes).max()), Cost.of(config, job.spec)


@pytest.mark.parametrize("block", ["vit-tiny", "resnet"])
def test_a_block_takes_its_share_of_the_whole_network_s_memory(block: str, tmp_path: Path) -> None:
    whole, cost_of_whole = peak_of_training(tmp_path, block, 1)
    part, cost_of_part = peak_of_training(tmp_path, block, BLOCKS)
    assert part <= 1.2 / BLOCKS * whole, f"{part / whole:.3f} of {whole:,} bytes"
    for measured, told in ((whole, cost_of_whole.unit), (part, cost_of_part.unit)):
        assert 0.6 * told < measured < 1.1 * told, f"{measured / told:.3f} of {told:,} bytes"


@pytest.mark.parametrize("block", ["conv", "resnet9", "resnet", "vit-tiny", "vit-small"])
def test_operations_are_those_of_pytorch_s_counter(block: str) -> None:
    spec = make_spec(TrainConfig(block=block, objective="fm"), (3, 32, 32), 10)
    made = init_block(make_block(spec, 1), torch.Generator()).train()
    with FlopCounterMode(display=False) as counter:
        inputs = torch.ones(2, 10), torch.ones(2, 3, 32, 32), torch.Generator(), torch.ones(2)
        logits = made(*inputs)
        forward = counter.get_total_flops()
        logits.sum().backward()
    told = count_flops(spec)
    assert (2 * told.forward, 2 * told.training) == (forward, counter.get_total_flops())


def test_a_cut_network_trains_and_tells_what_it_takes(tmp_path: Path) -> None:
    config = small(tmp_path / "run", block="vit-tiny", split_depth=6, objective="ranges", epochs=1)
    result = train(config)
    assert result.cost["network_training_flops"] == 3 * result.cost["block_training_flops"]
    network = load_network(result.folder).network
    assert [len(block.layers) for block in network.blocks] == [2, 2, 2]  # type: ignore[arg-type]
    held = sum(p.numel() for p in network.parameters())
    assert held == result.cost["network_parameters"]


def test_what_cannot_be_cut_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"12 cannot be cut into 5 .*give --num-blocks 1, .*or 12, "
    ):
        TrainConfig(split_depth=12, num_blocks=5)
    with pytest.raises(UserError, match="so does --block-options depth=2: leave one"):
        TrainConfig(split_depth=12, num_blocks=3, block_options="depth=2")
    for block in ("conv", "auto"):
        with pytest.raises(UserError, match=f"--block {block} takes no depth: give --block resnet"):
            train(small(tmp_path / "run", block=block, split_depth=6))
