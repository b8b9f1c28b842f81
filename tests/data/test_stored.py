"""Decoded images on disk: the same rows as in memory, a cache that mends itself and is bounded."""

import pickle
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from noprop_dist.config import TrainConfig
from noprop_dist.data import Split, load_dataset
from noprop_dist.data.stored import StoredRows, check_sums
from noprop_dist.engine.splits import load_splits
from noprop_dist.errors import UserError
from noprop_dist.training import train
from pets import class_folders, encoded
from runs import small


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where images are decoded to from now on."""
    monkeypatch.setattr("noprop_dist.data.decoding.MEMORY_SHARE", 0)
    monkeypatch.setenv("NOPROP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Small pictures, the first one grey, one of them bad."""
    root = class_folders(tmp_path / "photos")
    grey = np.arange(144, dtype=np.uint8).reshape(12, 12)
    (root / "cat/000.png").write_bytes(encoded(grey))
    (root / "dog/003.png").write_bytes(b"no image")
    return root


def config(photos: Path) -> TrainConfig:
    return TrainConfig(dataset=str(photos), skip_bad_images=True, quiet=True)


def entry(cache: Path) -> Path:
    (folder,) = (path for path in cache.iterdir() if path.is_dir())
    return folder


def all_rows(split: Split) -> np.ndarray:
    return split.take(np.arange(len(split)))[0]


@pytest.mark.parametrize("share", [0, 1])
def test_what_is_left_out_and_colour_that_comes_late_move_no_row(
    photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, share: int
) -> None:
    for name in ("cat/001", "cat/006", "dog/000"):
        (photos / f"{name}.png").write_bytes(b"")
    wanted = load_dataset(str(photos), skip_bad_images=True)
    monkeypatch.setenv("NOPROP_CACHE", f"{cache}-other")
    monkeypatch.setattr("noprop_dist.data.decoding.MEMORY_SHARE", share)
    monkeypatch.setattr("noprop_dist.data.decoding.LOOKED_INTO", 1)  # it is grey
    monkeypatch.setattr("noprop_dist.data.decoding.CHUNK_BYTES", 2 * 12 * 12 * 3)
    for module in ("decoded", "shards"):
        monkeypatch.setattr(f"noprop_dist.data.{module}.SHARD_ROWS", 5)
    found = load_dataset(str(photos), skip_bad_images=True)
    assert found.num_skipped == wanted.num_skipped == 4
    for there, here in ((found.train, wanted.train), (found.test, wanted.test)):
        assert np.array_equal(all_rows(there), all_rows(here))
        assert np.array_equal(there.labels, here.labels)


def test_where_no_image_that_is_looked_at_is_good_others_still_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = class_folders(tmp_path / "photos")
    monkeypatch.setattr("noprop_dist.data.decoding.LOOKED_AT", 1)
    (root / "cat/000.png").write_bytes(b"")
    found = load_dataset(str(root), skip_bad_images=True)
    assert found.num_skipped == 1
    assert found.train.sample_shape == (3, 224, 224)


def test_rows_on_disk_are_those_in_memory(
    photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = load_splits(config(photos))
    assert stored.train.stored is not None
    assert stored.num_skipped == 1
    assert f"decoded in {entry(cache)}" in stored.told
    assert stored.nbytes < stored.train.nbytes / 10
    assert len(pickle.dumps(stored)) < stored.train.nbytes / 2
    with monkeypatch.context() as patch:  # the next run decodes nothing
        patch.setattr("noprop_dist.data.decoding.decode", None)
        again = load_splits(config(photos))
    monkeypatch.setattr("noprop_dist.data.decoding.MEMORY_SHARE", 1)
    monkeypatch.setenv("NOPROP_CACHE", f"{cache}-other")
    held = load_splits(config(photos))
    assert held.train.stored is None
    assert held.hashes == stored.hashes == again.hashes
    assert stored.num_skipped == again.num_skipped == held.num_skipped
    order = np.array([5, 0, 5, 2])
    for split in (stored.train, pickle.loads(pickle.dumps(stored)).train):
        assert all(
            np.array_equal(*pair)
            for pair in zip(split.take(order), held.train.take(order), strict=True)
        )
    joined = Split.join([stored.val, stored.train])
    assert joined.stored is stored.train.stored
    assert np.array_equal(all_rows(joined), all_rows(Split.join([held.val, held.train])))


def test_a_network_is_the_same_from_disk_and_from_memory(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = class_folders(tmp_path / "photos")
    options = {"dataset": str(photos), "batch_size": 8, "epochs": 1, "num_blocks": 2}
    stored = train(small(tmp_path / "stored", **options))
    assert entry(cache)
    monkeypatch.setattr("noprop_dist.data.decoding.MEMORY_SHARE", 1)
    monkeypatch.setenv("NOPROP_CACHE", f"{cache}-other")
    assert train(small(tmp_path / "held", **options)).block_sha256 == stored.block_sha256


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "rows").write_bytes((folder / "rows").read_bytes()[:-1]),
        lambda folder: (folder / "rows").write_bytes(bytes((folder / "rows").stat().st_size)),
        lambda folder: (folder / "manifest.json").write_text("[1]"),
        lambda folder: (folder / "manifest.json").write_text('{"shape": 3}'),
        lambda folder: (folder / "manifest.json").unlink(),
    ],
)
def test_a_broken_cache_is_made_again(
    photos: Path, cache: Path, damage: Callable[[Path], object]
) -> None:
    hashes = load_splits(config(photos)).hashes
    damage(entry(cache))
    again = load_splits(config(photos))
    assert again.hashes == hashes
    assert "again: what was there was damaged" in again.told
    assert "again" not in load_splits(config(photos)).told


def test_changed_pictures_and_other_sizes_are_decoded_anew(photos: Path, cache: Path) -> None:
    before = load_splits(config(photos))
    (photos / "cat/001.png").write_bytes(encoded(np.zeros((12, 12, 3), np.uint8)))
    after = load_splits(config(photos))
    assert after.hashes != before.hashes
    assert load_splits(replace(config(photos), image_size=8)).train.sample_shape == (3, 8, 8)
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 3


def test_the_cache_is_bounded_and_what_is_in_use_stays(
    photos: Path,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    used = load_splits(config(photos)).train
    all_rows(used)  # from here on it is mapped
    load_splits(replace(config(photos), image_size=11))
    sizes = [sum(f.stat().st_size for f in p.iterdir()) for p in cache.iterdir() if p.is_dir()]
    monkeypatch.setenv("NOPROP_CACHE_GIB", str((sum(sizes) + 1000) / 2**30))
    load_splits(replace(config(photos), image_size=10, quiet=False))
    told = capsys.readouterr().err
    assert re.search(rf"removed \S+ .iB of older entries of {cache}, at most ", told), told
    shapes = {p.name for p in cache.iterdir() if p.is_dir()}
    assert len(shapes) == 2
    assert Path(used.stored.folder).name in shapes
    monkeypatch.setenv("NOPROP_CACHE_GIB", "0.00001")
    with pytest.raises(UserError, match=r"NOPROP_CACHE to a folder .* NOPROP_CACHE_GIB"):
        load_splits(replace(config(photos), image_size=9))
    for size in ("much", "-1", "nan"):
        monkeypatch.setenv("NOPROP_CACHE_GIB", size)
        with pytest.raises(UserError, match=f"NOPROP_CACHE_GIB={size} is no size"):
            load_splits(replace(config(photos), image_size=9))


def test_a_machine_without_the_file_fetches_it_once(
    photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = load_splits(config(photos)).train
    monkeypatch.setattr("noprop_dist.data.stored.CHUNK", 4096)
    made = replace(train.stored.manifest, chunks=check_sums(entry(cache) / "rows"))
    asked = []

    def fetch(path: str, start: int, count: int) -> bytes:
        asked.append(start)
        with (entry(cache) / Path(path).name).open("rb") as file:
            file.seek(start)
            return file.read(count)

    there = StoredRows(f"/elsewhere/{entry(cache).name}", made, fetch)
    own = cache.with_name("own")
    monkeypatch.setenv("NOPROP_CACHE", str(own))
    for _ in range(2):
        sent = train.stored_as(pickle.loads(pickle.dumps(replace(there, fetch=None))))
        sent = train.stored_as(replace(sent.stored, fetch=fetch))
        assert np.array_equal(all_rows(sent), all_rows(train))
    assert asked == list(range(0, made.num_bytes, 4096))
    (entry(own) / "rows").unlink()
    with pytest.raises(RuntimeError, match="has changed while it was sent"):
        all_rows(train.stored_as(replace(there, fetch=lambda path, start, count: b"other")))


def test_a_cache_that_cannot_be_written_is_said(
    photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write_bytes(b"")
    for place in (cache, "/proc/x"):
        monkeypatch.setenv("NOPROP_CACHE", str(place))
        with pytest.raises(UserError, match=r"cannot be kept in .*: set NOPROP_CACHE to a folder"):
            load_splits(config(photos))


def test_pictures_of_several_sizes_are_fitted_as_torchvision_does(tmp_path: Path) -> None:
    from torchvision.transforms import v2

    rng = np.random.default_rng(0)
    sizes = [(90, 60), (61, 100), (80, 80), (64, 70)]  # width, height
    pictures = []
    for i, name in enumerate(["a", "a", "b", "b"]):
        small = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
        pictures.append(Image.fromarray(small).resize(sizes[i], Image.Resampling.BICUBIC))
        path = tmp_path / "photos/train" / name / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pictures[-1].save(path)
    (tmp_path / "photos/test").symlink_to(tmp_path / "photos/train")
    data = load_dataset(str(tmp_path / "photos"))
    side = 62  # the median of the shorter sides 60, 61, 64 and 80
    assert data.train.sample_shape == (3, side, side)
    theirs = v2.Compose([v2.Resize(side), v2.CenterCrop(side), v2.PILToTensor()])
    for ours, picture in zip(all_rows(data.train), pictures, strict=True):
        difference = torch.from_numpy(ours).float() - theirs(picture).float()
        # They round the longer side and where the crop begins to whole pixels: half a pixel here.
        assert difference.abs().mean() < 4
