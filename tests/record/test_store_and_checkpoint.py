import errno
import json
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from noprop_dist.errors import UserError
from noprop_dist.record.checkpoint import load_newest, save_checkpoint, sha256_of_tensors
from noprop_dist.record.store import Store


def parts(value: float) -> dict[str, dict[str, Tensor]]:
    return {"block-001": {"w": torch.full((2, 3), value)}, "shared": {"s": torch.tensor([value])}}


def save(folder: Path, step: int, keep: int = 5) -> None:
    save_checkpoint(Store(folder), f"step-{step:04d}", parts(step), {"step": step}, keep=keep)


def newest(folder: Path) -> tuple[int, tuple[str, ...]]:
    loaded = load_newest(Store(folder))
    assert loaded is not None
    step: int = loaded.state["step"]
    assert loaded.parts["block-001"]["w"].tolist() == parts(step)["block-001"]["w"].tolist()
    return step, loaded.problems


def test_newest_checkpoint_comes_back(tmp_path: Path) -> None:
    assert load_newest(Store(tmp_path)) is None
    save(tmp_path, 1)
    save(tmp_path, 2)
    assert newest(tmp_path) == (2, ())


def test_old_checkpoints_are_deleted(tmp_path: Path) -> None:
    for step in range(5):
        save(tmp_path, step, keep=2)
    assert Store(tmp_path).list("checkpoints") == ["step-0003", "step-0004"]


FILES = ["block-001.safetensors", "shared.safetensors", "state.json", "manifest.json"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", ["missing", "truncated", "altered", "mixed"])
def test_damaged_checkpoint_falls_back_and_says_so(tmp_path: Path, file: str, damage: str) -> None:
    save(tmp_path, 1)
    save(tmp_path, 2)
    path = tmp_path / "checkpoints/step-0002" / file
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "mixed":
        path.write_bytes((tmp_path / "checkpoints/step-0001" / file).read_bytes())
    else:
        changed = data[:-3] if damage == "truncated" else data[:-1] + bytes([data[-1] ^ 1])
        path.write_bytes(changed)
    step, problems = newest(tmp_path)
    assert step == 1
    assert "step-0002" in problems[0]
    assert "falling back" in problems[0]


def test_only_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    save(tmp_path, 1)
    (tmp_path / "checkpoints/step-0001/state.json").write_text("{}")
    with pytest.raises(UserError, match=r"every checkpoint in .* is damaged"):
        load_newest(Store(tmp_path))


class Killed(BaseException):
    pass


@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_write_that_is_killed_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    save(tmp_path, 1)
    write, calls = Store.write, []

    def killed(self: Store, path: str, data: bytes) -> None:
        calls.append(path)
        if len(calls) > at:
            raise Killed
        write(self, path, data)

    monkeypatch.setattr(Store, "write", killed)
    with pytest.raises(Killed):
        save(tmp_path, 2)
    monkeypatch.undo()
    step, _ = newest(tmp_path)
    assert step == 1
    save(tmp_path, 2)
    assert newest(tmp_path)[0] == 2


@pytest.mark.parametrize(("code", "says"), [(errno.ENOSPC, "No space"), (errno.EROFS, "Read-only")])
def test_disk_that_fails_is_explained_and_left_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, says: str
) -> None:
    save(tmp_path, 1)

    def fail(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=rf"cannot be written to \({says}.*--checkpoint-dir"):
        save(tmp_path, 2)
    monkeypatch.undo()
    assert newest(tmp_path) == (1, ())
    assert Store(tmp_path).list("checkpoints") == ["step-0001"]


def test_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.write("a/b.txt", b"old")

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError):
        store.write("a/b.txt", b"new")
    assert store.read("a/b.txt") == b"old"
    assert store.list("a") == ["b.txt"]


def test_file_uri_is_the_folder(tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}")
    store.write("x.json", json.dumps([1]).encode())
    store.append_line("log", "one")
    store.append_line("log", "two")
    assert (tmp_path / "x.json").read_text() == "[1]"
    assert store.read("log") == b"one\ntwo\n"


def test_unknown_scheme_is_refused() -> None:
    with pytest.raises(UserError, match="no usable URI"):
        Store("carrier://pigeon")


def test_hash_sees_values_and_names_but_not_memory_formats() -> None:
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    nhwc = x.contiguous(memory_format=torch.channels_last)
    assert sha256_of_tensors({"a": x}) == sha256_of_tensors({"a": nhwc})
    others = [{"b": x}, {"a": x + 1}, {"a": x.double()}, {"a": x.view(6, 20)}]
    assert sha256_of_tensors({"a": x}) not in {sha256_of_tensors(o) for o in others}
