"""Vectors that a frozen network makes of pictures, computed once and kept in the cache.

B rows of a batch, F features.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
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


def features_of(
    splits: Mapping[str, Split], backbone: Backbone, shown: Shown = not_shown
) -> dict[str, Split]:
    """The features of some splits by name, float32 vectors with the pictures' labels.

    They are known by the pictures and labels themselves, the backbone's weights, the kind of device
    and PyTorch's version.

    Args:
        splits: of pictures.
        backbone: on the device that computes.
        shown: shows how far it has come.

    Raises:
        UserError: the cache cannot be written to, or holds no more.
    """
    place, version = backbone.mean.device.type, torch.__version__
    told = f"{sha256_of_rows(*splits.values())} {backbone.spec.sha256} {place} {version}"
    counts = tuple(map(len, splits.values()))
    key = hashlib.sha256(f"features {told} {counts}".encode()).hexdigest()[:32]
    stored = find_stored(key) or _compute(key, splits, backbone, shown)
    return dict(zip(splits, Split.all_stored(stored), strict=True))


def seen(backbone: Backbone | None, split: Split, shown: Shown = not_shown) -> Split:
    """Rows as blocks see them: of pictures their features, where there is a backbone."""
    if backbone is None or split.is_vector:
        return split
    return features_of({"": split}, backbone, shown)[""]


def _compute(key: str, splits: Mapping[str, Split], backbone: Backbone, shown: Shown) -> StoredRows:
    waiting = "waiting for another process that computes these features"
    with made_in_cache(key, lambda: shown(waiting, 0)) as begin:
        if found := find_stored(key):  # made meanwhile
            return found
        shape, counts = (backbone.count_features(),), tuple(map(len, splits.values()))
        manifest = Manifest(shape, counts, (), dtype="float32")
        folder = begin(manifest.num_bytes)
        rows = RowsWriter(folder)
        with shown("computing features", manifest.num_rows) as done:
            for batch in _batches(list(splits.values()), backbone):
                for vector in batch:
                    rows.add(vector)
                done(len(batch))
        chunks = rows.close(np.concatenate([split.labels for split in splits.values()]))
        manifest = replace(manifest, chunks=chunks)
        write_manifest(folder, manifest)
    return StoredRows(str(cache_folder() / key), manifest)


def _batches(splits: list[Split], backbone: Backbone) -> Iterator[Array]:
    """Features of all rows in order, float32 (B, F) at a time, a few batches ahead."""
    device = backbone.mean.device
    threads = count_cores() if device.type == "cpu" else 1
    waiting: deque[Future[Array]] = deque()

    def compute(pictures: Array) -> Array:
        with torch.inference_mode():
            found: Array = backbone(torch.from_numpy(pictures).to(device)).cpu().numpy()
            return found

    # One thread a batch: their number changes the last bits.
    with ThreadPoolExecutor(threads, "features", torch.set_num_threads, (1,)) as pool:
        for split in splits:
            for pictures, _ in split.batches(BATCH):
                waiting.append(pool.submit(compute, pictures))
                if len(waiting) > threads + 1:
                    yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
