import errno
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from noprop_dist.errors import UserError
from noprop_dist.record.checkpoint import (
    CheckpointDamagedError,
    load_checkpoint,
    load_newest,
    save_checkpoint,
    sha256_of_tensors,
)
from noprop_dist.record.store import Store

FILES = ["block-001.safetensors", "block-002.safetensors", "state.json", "manifest.json"]


def parts(value: float) -> dict[str, dict[str, Tensor]]:
    return {f"block-00{t}": {"w": torch.full((2, 3), value + t)} for t in (1, 2)}


def save(store: Store, step: int, keep: int = 3) -> str:
    return save_checkpoint(store, f"step-{step:04d}", parts(step), {"step": step}, keep=keep)


def newest_step(store: Store) -> int:
    loaded = load_newest(store)
    assert loaded is not None
    step: int = loaded.state["step"]
    for name, tensors in parts(step).items():
        assert torch.equal(loaded.parts[name]["w"], tensors["w"])
    return step


class Killed(BaseException):
    """Not an Exception: no clean-up meant for errors may run into it."""


@pytest.mark.parametrize("at", range(len(FILES)))
@pytest.mark.parametrize("step", ["open", "rename"])
def test_kill_around_any_file_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, at: int
) -> None:
    store = Store(tmp_path)
    save(store, 1)
    real, written = getattr(Path, step), []

    def killed(path: Path, *args: object, **kwargs: object) -> object:
        if path.name.endswith(".tmp"):
            written.append(path)
            if len(written) > at:
                raise Killed
        return real(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, step, killed)
        with pytest.raises(Killed):
            save(store, 2)
    with pytest.raises(CheckpointDamagedError, match=r"step-0002 was never finished"):
        load_checkpoint(store, "step-0002")
    assert newest_step(store) == 1
    assert save(store, 2) == "step-0002"
    assert newest_step(store) == 2
    assert sorted(store.list("checkpoints/step-0002")) == sorted(FILES)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["missing", "truncated", "altered", "mixed"])
def test_damaged_checkpoint_falls_back_and_says_so(tmp_path: Path, file: str, damage: str) -> None:
    store = Store(tmp_path)
    for step in (1, 2):
        save(store, step)
    path = tmp_path / "checkpoints/step-0002" / file
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "mixed":
        path.write_bytes((tmp_path / "checkpoints/step-0001" / file).read_bytes())
    else:
        changed = data[:-3] if damage == "truncated" else data[:-1] + bytes([data[-1] ^ 1])
        path.write_bytes(changed)
    loaded = load_newest(store)
    assert loaded is not None
    assert loaded.name == "step-0001"
    assert "step-0002" in loaded.problems[0]
    assert "falling back" in loaded.problems[0]


def test_only_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    save(Store(tmp_path), 1)
    (tmp_path / "checkpoints/step-0001/state.json").write_text("{}")
    with pytest.raises(UserError, match=r"every checkpoint in .* is damaged"):
        load_newest(Store(tmp_path))


def test_manifest_that_was_not_yet_renamed_does_not_count(tmp_path: Path) -> None:
    store = Store(tmp_path)
    save(store, 1)
    save(store, 2)
    shutil.copytree(tmp_path / "checkpoints/step-0002", tmp_path / "checkpoints/step-0003")
    (tmp_path / "checkpoints/step-0003/manifest.json").rename(
        tmp_path / "checkpoints/step-0003/.manifest.json.17.tmp"
    )
    loaded = load_newest(store)
    assert loaded is not None
    assert loaded.name == "step-0002"
    assert "step-0003 was never finished" in loaded.problems[0]


def test_files_of_two_checkpoints_in_one_folder_are_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for step in (1, 2, 3):
        save(store, step)
    old, mixed = (tmp_path / "checkpoints" / f"step-000{step}" for step in (2, 3))
    (mixed / "block-002.safetensors").write_bytes((old / "block-002.safetensors").read_bytes())
    with pytest.raises(CheckpointDamagedError, match=r"step-0003/block-002\.safetensors"):
        load_checkpoint(store, "step-0003")
    assert newest_step(store) == 2


@pytest.mark.parametrize("file", FILES)
def test_problem_names_the_file_and_older_ones_are_tried_in_turn(tmp_path: Path, file: str) -> None:
    store = Store(tmp_path)
    for step in (1, 2, 3):
        save(store, step)
    (tmp_path / "checkpoints/step-0003" / file).write_bytes(b"")
    (tmp_path / "checkpoints/step-0002/state.json").unlink()
    loaded = load_newest(store)
    assert loaded is not None
    assert loaded.name == "step-0001"
    assert f"step-0003/{file}" in loaded.problems[0]
    assert "step-0002/state.json is missing" in loaded.problems[1]


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": 3, "files": []}', '{"format": 99}', "9"])
def test_manifest_of_another_shape_is_damage(tmp_path: Path, text: str) -> None:
    store = Store(tmp_path)
    save(store, 1)
    (tmp_path / "checkpoints/step-0001/manifest.json").write_text(text)
    with pytest.raises(CheckpointDamagedError, match=r"step-0001/manifest\.json"):
        load_checkpoint(store, "step-0001")


def test_future_format_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    save(store, 1)
    (tmp_path / "checkpoints/step-0001/manifest.json").write_text('{"format": 99, "files": {}}')
    with pytest.raises(CheckpointDamagedError, match="format 99, not 3"):
        load_checkpoint(store, "step-0001")


@pytest.mark.parametrize("keep", [1, 2, 4])
def test_newest_are_kept_and_what_a_user_put_there_stays(tmp_path: Path, keep: int) -> None:
    store = Store(tmp_path)
    store.write("checkpoints/mine/notes.txt", b"")
    for step in range(6):
        save(store, step, keep=keep)
    expected = [f"step-{step:04d}" for step in range(6)][-keep:]
    assert store.list("checkpoints") == ["mine", *expected]


def test_unfinished_one_does_not_count_among_the_kept(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for step in (1, 2):
        save(store, step, keep=2)
    store.write("checkpoints/step-0003/state.json", b"{}")
    save(store, 4, keep=2)
    assert store.list("checkpoints") == ["step-0002", "step-0004"]


def test_finished_checkpoint_is_never_written_over(tmp_path: Path) -> None:
    store = Store(tmp_path)
    save(store, 1)
    before = store.read("checkpoints/step-0001/manifest.json")
    assert save(store, 1) == "step-0001.001"
    assert store.read("checkpoints/step-0001/manifest.json") == before
    assert newest_step(store) == 1
    assert [save(store, 1, keep=2) for _ in range(3)] == [f"step-0001.00{i}" for i in (2, 3, 4)]
    assert store.list("checkpoints") == ["step-0001.003", "step-0001.004"]


@pytest.mark.parametrize("uri", ["file", "mock"])
def test_uri_holds_checkpoints(tmp_path: Path, uri: str) -> None:
    store = Store(tmp_path.as_uri() if uri == "file" else "mock:///bucket/run")
    for step in (1, 2, 3):
        save(store, step, keep=2)
    assert store.list("checkpoints") == ["step-0002", "step-0003"]
    assert newest_step(store) == 3
    store.write("checkpoints/step-0003/block-001.safetensors", b"torn")
    assert newest_step(store) == 2


def test_full_disk_leaves_nothing_of_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    save(store, 1)
    rename = Path.rename

    def full(path: Path, target: Path) -> Path:
        if target.name == "state.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        with pytest.raises(UserError, match="No space left on device"):
            save(store, 2)
    assert store.list("checkpoints") == ["step-0001"]
    assert newest_step(store) == 1


def test_channels_last_tensor_comes_back_row_major_with_the_same_hash(tmp_path: Path) -> None:
    w = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    tensors = {"w": w.contiguous(memory_format=torch.channels_last), "half": w[0].bfloat16().mT}
    save_checkpoint(Store(tmp_path), "step-1", {"net": tensors}, {}, keep=1)
    loaded = load_checkpoint(Store(tmp_path), "step-1").parts["net"]
    assert loaded["w"].is_contiguous()
    assert torch.equal(loaded["w"], w)
    assert sha256_of_tensors(loaded) == sha256_of_tensors(tensors)


def test_hash_of_any_dtype_and_shape_sees_every_element() -> None:
    for x in [torch.zeros(()), torch.zeros(3, dtype=torch.bool), torch.zeros(4).bfloat16()]:
        y = x.clone()
        y.view(-1)[-1] = 1
        assert sha256_of_tensors({"x": x}) == sha256_of_tensors({"x": x.clone()})
        assert sha256_of_tensors({"x": x}) != sha256_of_tensors({"x": y})
    assert sha256_of_tensors({"x": torch.zeros(0, 3)}) != sha256_of_tensors({})


def test_hash_does_not_depend_on_the_order_of_names() -> None:
    a, b = torch.ones(2), torch.zeros(2)
    assert sha256_of_tensors({"a": a, "b": b}) == sha256_of_tensors({"b": b, "a": a})
    assert sha256_of_tensors({"a": a, "b": b}) != sha256_of_tensors({"a": b, "b": a})
