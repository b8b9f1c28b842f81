"""Vectors that a frozen network makes of pictures, computed once and kept in the cache.

B rows of a batch, F features.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

import numpy as np
import torch

from noprop_dist.data.account import Shown, not_shown
from noprop_dist.data.cache import cache_folder, made_in_cache
from noprop_dist.data.shards import Array, Split, sha256_of_rows
from noprop_dist.data.stored import Manifest, RowsWriter, StoredRows, find_stored, write_manifest
from noprop_dist.host import count_cores
from noprop_dist.model.backbone import Backbone

BATCH = 64  # pictures that are computed as one; the same everywhere, as it may change the last bits

# Splits of pictures, a backbone -> while that lasts, the kind of device that computes, and its
# features of all rows in order, float32 (B, F) at a time, which are computed as they are taken.
Computing = Callable[
    [Sequence[Split], Backbone], AbstractContextManager[tuple[str, Iterator[Array]]]
]


def in_threads(
    splits: Sequence[Split], backbone: Backbone
) -> AbstractContextManager[tuple[str, Iterator[Array]]]:
    """This process, on the backbone's device; see ``Computing``."""
    return nullcontext((backbone.mean.device.type, _batches(splits, backbone)))


def features_of(
    splits: Mapping[str, Split],
    backbone: Backbone,
    shown: Shown = not_shown,
    computing: Computing = in_threads,
) -> dict[str, Split]:
    """The features of some splits by name, float32 vectors with the pictures' labels.

    They are known by the pictures and labels themselves, the backbone's weights, the kind of device
    and PyTorch's version.

    Args:
        splits: of pictures.
        backbone: on the device that computes, where that is this process's.
        shown: shows how far it has come.
        computing: what computes them, where they are not in the cache.

    Raises:
        UserError: the cache cannot be written to, or holds no more.
    """
    with computing(list(splits.values()), backbone) as (place, batches):
        told = f"{sha256_of_rows(*splits.values())} {backbone.spec.sha256} {place}"
        told = f"{told} {torch.__version__} {tuple(map(len, splits.values()))}"
        key = hashlib.sha256(f"features {told}".encode()).hexdigest()[:32]
        stored = find_stored(key) or _compute(key, splits, backbone, batches, shown)
    return dict(zip(splits, Split.all_stored(stored), strict=True))


def seen(backbone: Backbone | None, split: Split, shown: Shown = not_shown) -> Split:
    """Rows as blocks see them: of pictures their features, where there is a backbone."""
    if backbone is None or split.is_vector:
        return split
    return features_of({"": split}, backbone, shown)[""]


def _compute(
    key: str,
    splits: Mapping[str, Split],
    backbone: Backbone,
    batches: Iterator[Array],
    shown: Shown,
) -> StoredRows:
    with made_in_cache(key, shown, "computes these features") as begin:
        if found := find_stored(key):  # made meanwhile
            return found
        shape, counts = (backbone.count_features(),), tuple(map(len, splits.values()))
        manifest = Manifest(shape, counts, (), dtype="float32")
        folder = begin(manifest.num_bytes)
        told = shown("computing features", manifest.num_rows)
        with RowsWriter(folder) as rows, told as done:
            for batch in batches:
                rows.add(batch)
                done(len(batch))
            chunks = rows.close(np.concatenate([split.labels for split in splits.values()]))
        manifest = replace(manifest, chunks=chunks)
        write_manifest(folder, manifest)
    return StoredRows(str(cache_folder() / key), manifest)


def make_features(backbone: Backbone, pictures: Array) -> Array:
    """Uint8 (B, C, H, W) -> float32 (B, F), on the backbone's device."""
    with torch.inference_mode():
        x = torch.from_numpy(pictures).to(backbone.mean.device)
        found: Array = backbone(x).cpu().numpy()
    return found


def _batches(splits: Sequence[Split], backbone: Backbone) -> Iterator[Array]:
    """See ``Computing``; a few batches ahead."""
    threads = count_cores() if backbone.mean.device.type == "cpu" else 1
    waiting: deque[Future[Array]] = deque()
    # One thread a batch: their number changes the last bits.
    with ThreadPoolExecutor(threads, "features", torch.set_num_threads, (1,)) as pool:
        for split in splits:
            for pictures, _ in split.batches(BATCH):
                waiting.append(pool.submit(make_features, backbone, pictures))
                if len(waiting) > threads + 1:
                    yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
