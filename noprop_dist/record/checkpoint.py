"""Checkpoints: safetensors files and a manifest, written last, that vouches for every one of them.

No pickle is read or written. A checkpoint without a manifest, or whose files do not match it, does
not exist as far as loading goes.
"""

import hashlib
import json
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from noprop_dist import faults
from noprop_dist.errors import UserError
from noprop_dist.record.folder import checkpoint_names, is_complete
from noprop_dist.record.store import Store, above
from noprop_dist.run_files import CHECKPOINTS

FORMAT = 3

Parts = Mapping[str, Mapping[str, Tensor]]


class CheckpointDamagedError(Exception):
    """A checkpoint that is torn, truncated, altered or mixed; the message names the file."""


@dataclass(frozen=True)
class Loaded:
    """A good checkpoint, and a sentence for each damaged newer one."""

    name: str
    parts: dict[str, dict[str, Tensor]]
    state: dict[str, Any]
    problems: tuple[str, ...]


def save_checkpoint(
    store: Store, name: str, parts: Parts, state: Mapping[str, Any], *, keep: int
) -> str:
    """Write ``checkpoints/<name>`` and delete all but the ``keep`` newest.

    A finished checkpoint is never written over: a second one of the same name becomes
    ``<name>.001``. Checkpoints that sort after the new one are deleted too: the run that writes it
    had passed over them as damaged, and they must not count among the newest.

    Args:
        store: the run folder.
        name: starts with ``step-`` and sorts by age, such as ``step-00000120``.
        parts: by file stem, named CPU tensors.
        state: anything JSON can hold.
        keep: how many to keep, at least 1.

    Returns:
        The name it was given.

    Raises:
        UserError: the folder cannot be written to; the earlier checkpoints are untouched.
    """
    name = _free_name(store, name)
    folder = f"{CHECKPOINTS}/{name}"
    files = {}
    try:
        for part, tensors in parts.items():
            _reach_fault(name, part)
            # A file holds row-major tensors; the reader puts memory formats right.
            data = save({k: v.cpu().contiguous() for k, v in tensors.items()})
            files[f"{part}.safetensors"] = _write(store, folder, f"{part}.safetensors", data)
        data = json.dumps(state).encode()
        files["state.json"] = _write(store, folder, "state.json", data)
        manifest = json.dumps({"format": FORMAT, "files": files}, indent=1)
        store.write(f"{folder}/manifest.json", manifest.encode())
    except UserError:
        with suppress(UserError):  # what went wrong first is what there is to say
            store.delete_tree(folder)
        raise
    keep_newest(store, keep, name)
    return name


def keep_newest(store: Store, keep: int, last: str | None = None) -> None:
    """Delete all checkpoints but the newest complete ones.

    Args:
        store: the run folder.
        keep: how many to keep, at least 1.
        last: the newest that counts; None: any.
    """
    names = checkpoint_names(store)
    kept = [n for n in names if (last is None or n <= last) and is_complete(store, n)][-keep:]
    for other in names:
        if other not in kept:
            store.delete_tree(f"{CHECKPOINTS}/{other}")


def _reach_fault(name: str, part: str) -> None:
    """A fault point before each file; its step is the sum over blocks, which the name tells."""
    steps, number = (text.rpartition("-")[2] for text in (name.split(".")[0], part))
    block = int(number) if number.isdigit() else 0
    if steps.isdigit():
        faults.reach("checkpoint", block=block, step=int(steps))


def _write(store: Store, folder: str, file: str, data: bytes) -> dict[str, Any]:
    store.write(f"{folder}/{file}", data)
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _free_name(store: Store, name: str) -> str:
    """``name``, or it with the next number where finished checkpoints have it."""
    there = checkpoint_names(store)
    taken = [n for n in there if n.split(".")[0] == name and is_complete(store, n)]
    number = max((int(n.partition(".")[2] or 0) for n in taken), default=-1) + 1
    free = f"{name}.{number:03d}" if number else name
    if free in there:  # an unfinished one
        store.delete_tree(f"{CHECKPOINTS}/{free}")
    return free


class CheckpointWriter:
    """Writes checkpoints in a thread: tensors of a snapshot never change, so nobody need wait.

    Args:
        store: the run folder.
        keep: how many checkpoints to keep, at least 1.
    """

    def __init__(self, store: Store, keep: int) -> None:
        self._store, self._keep = store, keep
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[str] | None = None

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is being written, or waits to be taken."""
        return self._writing is not None

    def start(self, name: str, parts: Parts, state: Mapping[str, Any]) -> None:
        """Begin to write, as ``save_checkpoint`` does; not while busy."""
        assert not self.busy, "the last checkpoint was not taken"
        self._writing = self._pool.submit(
            save_checkpoint, self._store, name, parts, state, keep=self._keep
        )

    def take(self, wait: bool = False) -> str | None:
        """The name of a checkpoint written since the last call, or None.

        Raises:
            UserError: it could not be written.
        """
        if self._writing is None or not (wait or self._writing.done()):
            return None
        writing, self._writing = self._writing, None
        return writing.result()

    def close(self) -> None:
        """Let a checkpoint that is being written be finished."""
        self._pool.shutdown(wait=True)


def load_checkpoint(store: Store, name: str) -> Loaded:
    """Read one checkpoint and check every file against the manifest.

    Raises:
        CheckpointDamagedError: a file is missing, truncated or altered.
        UserError: the store cannot be reached.
    """
    folder = f"{CHECKPOINTS}/{name}"
    if not is_complete(store, name):
        raise CheckpointDamagedError(f"{folder} was never finished (it has no manifest.json)")
    try:
        file = "manifest.json"
        manifest = json.loads(store.read(f"{folder}/{file}"))
        files = manifest["files"]
        if manifest["format"] != FORMAT:
            raise CheckpointDamagedError(
                f"{folder}/manifest.json has the format {manifest['format']}, not {FORMAT}"
            )
        parts, state = {}, None
        for file, entry in files.items():
            data = store.read(f"{folder}/{file}")
            if len(data) != entry["bytes"] or hashlib.sha256(data).hexdigest() != entry["sha256"]:
                raise CheckpointDamagedError(f"{folder}/{file} is truncated or was altered")
            if file == "state.json":
                state = json.loads(data)
            else:
                parts[file.removesuffix(".safetensors")] = load(data)
    except UserError:
        raise
    except FileNotFoundError as error:
        raise CheckpointDamagedError(f"{folder}/{file} is missing") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise CheckpointDamagedError(f"{folder}/{file} cannot be read ({error})") from error
    if state is None:
        raise CheckpointDamagedError(f"{folder}/manifest.json names no state.json")
    return Loaded(name, parts, state, ())


def load_newest(store: Store) -> Loaded | None:
    """The newest good checkpoint of a run folder, or None where none was ever finished.

    Raises:
        UserError: finished checkpoints are there and every one is damaged.
    """
    problems: list[str] = []
    for name in reversed(checkpoint_names(store)):
        try:
            loaded = load_checkpoint(store, name)
        except CheckpointDamagedError as error:
            problems.append(f"{error}; falling back to the one before it")
            continue
        return Loaded(name, loaded.parts, loaded.state, tuple(problems))
    # A run killed during its first checkpoint has nothing to lose: it starts afresh.
    if any(is_complete(store, name) for name in checkpoint_names(store)):
        raise UserError(
            f"every checkpoint in {store.root} is damaged ({problems[0].split(';')[0]}): delete "
            "the folder or give another --run-dir."
        )
    return None


def find_checkpoint(path: str) -> tuple[Store, Loaded | None]:
    """What ``path`` names: the newest good checkpoint of a run folder, or that one checkpoint.

    Returns:
        The run folder, and the checkpoint or None where there is none.

    Raises:
        UserError: what is there is damaged.
    """
    parent, name = above(path)
    run, folder = above(parent)
    if folder != CHECKPOINTS:
        store = Store(path)
        return store, load_newest(store)
    store = Store(run or ".")
    if not store.list(f"{CHECKPOINTS}/{name}"):
        return store, None
    try:
        return store, load_checkpoint(store, name)
    except CheckpointDamagedError as error:
        raise UserError(f"{error}: give another checkpoint, or the run folder {run}.") from error


def sha256_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """A hash of names, dtypes, shapes and values, whatever the device or memory format."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
