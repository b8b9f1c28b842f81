"""What a run takes is known from shapes, and what does not fit is refused with what would."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from noprop_dist import TrainConfig, UserError, host, train
from noprop_dist.cli import main
from noprop_dist.data import load_dataset
from noprop_dist.engine.cost import SPARE, Cost, blocks_that_fit
from noprop_dist.engine.job import make_spec
from noprop_dist.engine.local import LocalBackend
from noprop_dist.engine.snapshot import first_shared, first_snapshot
from noprop_dist.maths.embedding import one_hot_embedding
from noprop_dist.model.init import init_block
from noprop_dist.model.registry import make_block
from pets import class_folders
from runs import prepared, small


def cost(shape: tuple[int, ...], **options: object) -> Cost:
    config = TrainConfig(**options)  # type: ignore[arg-type]
    return Cost.of(config, make_spec(config, shape, 10))


@pytest.mark.parametrize("ema", [None, 0.9])
def test_a_snapshot_takes_what_its_tensors_do(ema: float | None) -> None:
    job, _, _ = prepared(ema_decay=ema)
    snapshot = first_snapshot(job, 1, first_shared(one_hot_embedding(10)))
    held = sum(tensor.nbytes for tensor in snapshot.tensors.values())
    assert Cost.of(job.config, job.spec).snapshot == pytest.approx(held, rel=0.01)


@pytest.mark.parametrize(
    "block", ["conv", "conv-pooled", "resnet18", "resnet9", "vit-tiny", "vit-small"]
)
def test_activations_are_what_a_step_keeps(block: str) -> None:
    told = cost((3, 72, 72), block=block, batch_size=4)
    made = init_block(make_block(told.spec, 1), torch.Generator()).train()
    weights = {p.untyped_storage().data_ptr() for p in made.parameters()}
    kept: dict[int, int] = {}
    alive: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        alive.append(tensor)
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        made(torch.zeros(4, 10), torch.zeros(4, 3, 72, 72), torch.Generator())
    assert told.activations == pytest.approx(sum(kept.values()), rel=0.02)


def test_a_pooled_block_does_not_grow_with_the_image() -> None:
    plain = [cost((3, side, side), block="conv").parameters for side in (64, 224, 512)]
    pooled = [cost((3, side, side), block="auto").parameters for side in (32, 64, 224, 512)]
    assert plain[2] > 50 * plain[0]
    assert max(pooled[2:]) < 1.1 * pooled[0]
    assert [cost((3, s, s)).spec.block for s in (32, 64, 65, 224)] == [
        "conv", "conv", "conv-pooled", "conv-pooled",
    ]  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> str:
    return str(class_folders(tmp_path / "photos", per_class=12, size=128))


def dry_run(photos: str, *flags: str) -> list[str]:
    args = ["train", "--dataset", photos, "--executor", "local", "--batch-size", "16"]
    return [*args, "--dry-run", "--json", *flags]


@pytest.mark.usefixtures("short_tries")
def test_a_run_that_does_not_fit_is_refused_with_what_would(
    photos: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(dry_run(photos)) == 0
    fits = json.loads(capsys.readouterr().out)
    assert fits["block"] == "conv-pooled"
    assert fits["memory_needed_bytes"] < 2**30
    monkeypatch.setattr("noprop_dist.engine.local.free_bytes", lambda: 2**30)
    assert main(dry_run(photos, "--block", "conv")) == 2
    said = capsys.readouterr().err
    assert "10 blocks of 33,947,992 parameters for samples of 3x128x128" in said
    assert "and 1.0 GiB are free: give --block conv-pooled, or --image-size" in said
    for advice in re.split(", or ", said.strip().rpartition("give ")[2].rstrip(".")):
        assert main(dry_run(photos, "--block", "conv", *advice.split())) == 0, advice
    capsys.readouterr()
    monkeypatch.setattr("noprop_dist.engine.local.free_bytes", lambda: 2**20)
    assert main(dry_run(photos)) == 2
    assert "use a larger machine" in capsys.readouterr().err


def test_what_can_be_decoded_neither_into_memory_nor_to_disk_is_refused_before(
    photos: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NOPROP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NOPROP_CACHE_GIB", "0.001")
    monkeypatch.setattr("noprop_dist.data.decoding.free_bytes", lambda: 2**20)
    with pytest.raises(UserError, match=r"take 1.7 MiB, .* may hold 1.0 MiB: give .*--image-size"):
        load_dataset(photos)
    assert load_dataset(photos, image_size=69).train.sample_shape == (3, 69, 69)


def test_control_groups_bound_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mb = 1_000_000
    (tmp_path / "meminfo").write_text("MemTotal: 9000000 kB\nMemAvailable:   8000000 kB\n")
    monkeypatch.setattr(host, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(host, "CONTROL_GROUPS", [(tmp_path, "memory", "most", "used")])
    monkeypatch.setattr(host, "OWN_GROUPS", tmp_path / "own")
    assert host.free_bytes() == 8_000_000 * 1024

    def group(place: Path, limit: str, stat: str) -> None:
        place.mkdir(exist_ok=True)
        (place / "most").write_text(limit + "\n")
        (place / "used").write_text(f"{30 * mb}\n")
        (place / "memory.stat").write_text(stat)

    group(tmp_path, "max", "cache 1\n")
    assert host.free_bytes() == 8_000_000 * 1024
    group(tmp_path, f"{50 * mb}", f"cache 1\ninactive_file {10 * mb}\n")
    assert host.free_bytes() == 30 * mb
    # A batch system's group for a job, and its own for a step of it, which bounds nothing.
    (tmp_path / "own").write_text("5:cpu:/other\n4:memory:/job/step\n0::/user\n")
    group(tmp_path / "job", f"{40 * mb}", f"inactive_file 0\ntotal_inactive_file {5 * mb}\n")
    group(tmp_path / "job" / "step", "max", "inactive_file 0\n")
    assert host.free_bytes() == 15 * mb


def test_as_many_units_run_at_once_as_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig(num_blocks=10)
    told, here = cost((3, 32, 32), num_blocks=10), LocalBackend(torch.device("cpu"), "fp32")
    monkeypatch.setattr("noprop_dist.engine.local.count_cores", lambda: 4)
    for fit in (1, 3):
        free = int(told.here(fit) / SPARE) + 1
        monkeypatch.setattr("noprop_dist.engine.local.free_bytes", lambda free=free: free)
        assert here.slots(config, told.spec) == fit
        assert here.slots(replace(config, workers=4), told.spec) == 4  # as was asked for


def test_fewer_units_at_once_train_the_same_and_the_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"max_train_images": 200, "epochs": 1, "num_blocks": 2, "quiet": False}
    both = train(small(tmp_path / "both", **options))
    assert "at once" not in capsys.readouterr().err
    one = int(cost((1, 8, 8), num_blocks=2, batch_size=32).here(1) / SPARE) + 1
    monkeypatch.setattr("noprop_dist.engine.local.free_bytes", lambda: one)
    alone = train(small(tmp_path / "alone", **options))
    assert "1 of 2 blocks at once: memory has no room for more" in capsys.readouterr().err
    assert alone.block_sha256 == both.block_sha256


@pytest.mark.parametrize("fit", [1, 3, 10])
def test_as_many_blocks_as_a_gpu_s_memory_holds(fit: int) -> None:
    config = TrainConfig(num_blocks=10)
    told = cost((3, 32, 32), num_blocks=10)
    free = int(told.on_gpu(fit) / SPARE) + 1
    assert blocks_that_fit(config, told.spec, free, 10, Cost.on_gpu) == fit
    assert blocks_that_fit(config, told.spec, 2**20, 10, Cost.on_gpu) == 1
    # Data and PyTorch's own have room beside them.
    assert free > 1.5 * (fit * told.unit + told.coordinator)
